"""Whatever a page does, the next one is parsed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.extract.config import ExtractConfig
from tasks.extract.guard import Failure, Guard
from tasks.extract.page import Page
from tasks.extract.records import Record
from tests.unit.extract.archive_fixtures import PROSE, http


def test_the_next_item_is_served_after_every_kind_of_failure():
    guard = Guard(
        "tests.unit.extract.hostile_pages:misbehave",
        "ok",
        timeout_seconds=0.5,
        max_memory_bytes=2_000_000_000,
    )
    with guard:
        for item, reason in [
            ("hang", "timeout"),
            ("segfault", "crash"),
            ("exit", "crash"),
            ("memory", "memory"),
            ("error", "error"),
        ]:
            failure = guard.call(item)
            assert isinstance(failure, Failure)
            assert failure.reason == reason
            assert guard.call("fine") == "fine ok"


@pytest.mark.parametrize("poison", ["hang", "segfault", "exit", "memory", "error"])
def test_in_a_batch_a_poisoned_item_costs_itself_alone(poison: str):
    items = [f"page {n}" for n in range(9)]
    items[3] = items[7] = poison
    guard = Guard(
        "tests.unit.extract.hostile_pages:misbehave",
        "ok",
        timeout_seconds=0.5,
        max_memory_bytes=2_000_000_000,
    )
    with guard:
        answers = guard.call_all(items)
        assert guard.call_all([]) == []
    for item, answer in zip(items, answers, strict=True):
        assert isinstance(answer, Failure) if item == poison else answer == f"{item} ok"


def test_the_time_limit_is_each_items_own():
    with Guard(
        "tests.unit.extract.hostile_pages:take_half_a_second",
        None,
        timeout_seconds=1,
        max_memory_bytes=2_000_000_000,
    ) as guard:
        assert guard.call_all([1, 2, 3, 4]) == [1, 2, 3, 4]


def test_a_page_is_not_blamed_for_what_its_neighbours_left_behind():
    with Guard(
        "tests.unit.extract.hostile_pages:crash_second",
        None,
        timeout_seconds=5,
        max_memory_bytes=2_000_000_000,
    ) as guard:
        assert guard.call_all([1, 2, 3, 4]) == [1, 2, 3, 4]


def test_no_child_outlives_the_guard():
    with Guard(
        "tests.unit.extract.hostile_pages:misbehave",
        None,
        timeout_seconds=5,
        max_memory_bytes=2_000_000_000,
    ) as guard:
        guard.call("x")
        pid = guard._child.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    "bomb",
    [
        b"<div>" * 100_000 + PROSE.encode(),
        b"<p " + b" ".join(b"a%d=1" % n for n in range(200_000)) + b">" + PROSE.encode(),
    ],
)
def test_pages_that_hang_the_parser_cost_their_time_limit_and_no_more(bomb: bytes):
    config = ExtractConfig(source="s")
    calm, poison = (
        Record(
            type="response",
            url="u",
            record_id="1",
            date=None,
            content_type="application/http",
            payload=http(body),
        )
        for body in (f"<p>{PROSE}</p>".encode(), bomb)
    )
    with Guard(
        "tasks.extract.page:extract_page",
        config,
        timeout_seconds=2,
        max_memory_bytes=2_000_000_000,
    ) as guard:
        answer = guard.call(poison)
        assert isinstance(answer, Page) or answer.reason in {"timeout", "crash", "memory"}
        assert guard.call(calm).text == PROSE.strip()


ORPHANING_RUN = """
from tasks.extract.guard import Guard
guard = Guard(
    "tests.unit.extract.hostile_pages:misbehave", None, timeout_seconds=99,
    max_memory_bytes=2_000_000_000,
)
with guard:
    guard.call("x")
    print(guard._child.pid, flush=True)
    guard.call("hang")
"""


def test_a_hanging_child_dies_with_its_killed_parent():
    root = str(Path(__file__).parents[3])
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHANING_RUN],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    )
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and _is_running(child):
        time.sleep(0.02)
    assert not _is_running(child)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # a zombie only waits for somebody to read its status
