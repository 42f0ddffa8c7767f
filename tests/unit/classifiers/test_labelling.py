"""Labels from a real server on loopback: retries, a journal, answers that say nothing, the key."""

import json
import logging
from pathlib import Path

import pytest

from tasks.classifiers.config import LabelsConfig
from tasks.classifiers.labelling import Question, label, points_of
from tests.unit.classifiers.label_server import KEY, Reply, answering

QUESTIONS = [Question(n, f"d{n}", f"extract number {n}.") for n in range(12)]


def config(url: str, **changes) -> LabelsConfig:
    values = {"base_url": url, "model": "judge", "prompt": "Rate: {text}", "num_at_once": 3}
    return LabelsConfig(**values, **changes)


def number_in(prompt: str) -> int:
    return int(prompt.removesuffix(".").rpartition(" ")[2])


@pytest.mark.parametrize(
    ("answer", "points"),
    [
        ("Fine. Score: 3", 3),
        ("**Score:** 4/5", 4),
        ("Score 1 at first, but then\nscore: 2", 2),
        ("Score: 10", None),
        ("Score: 7", None),
        ("Good!", None),
        ("", None),
    ],
)
def test_points_are_read_from_the_end_of_an_answer(answer: str, points: int | None):
    assert points_of(answer) == points


def test_each_document_is_asked_about_once_as_the_interface_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LABELS_API_KEY", KEY)
    with answering(lambda p, _: Reply(content=f"So. Score: {number_in(p) % 6}")) as (url, asked):
        records = label(QUESTIONS, config(url), tmp_path / "journal.jsonl")
    assert records == [{"id": f"d{n}", "points": n % 6} for n in range(12)]
    assert len(asked) == 12
    assert {one.path for one in asked} == {"/v1/chat/completions"}
    assert {one.key for one in asked} == {f"Bearer {KEY}"}
    assert asked[0].body["model"] == "judge"
    assert asked[0].body["temperature"] == 0
    assert KEY not in (tmp_path / "journal.jsonl").read_text()


def test_a_host_that_is_busy_is_asked_again(tmp_path: Path):
    def reply(_prompt: str, before: int) -> Reply:
        busy = [
            Reply(429, headers=(("retry-after", "0"),)),
            Reply(503, headers=(("retry-after", "0"),)),
        ]
        return busy[before] if before < 2 else Reply(content="Score: 5")

    with answering(reply) as (url, asked):
        records = label(QUESTIONS, config(url), tmp_path / "journal.jsonl")
    assert {record["points"] for record in records} == {5}
    assert len(asked) == 3 * 12


def test_what_was_answered_before_a_failure_is_not_asked_again(tmp_path: Path):
    journal = tmp_path / "journal.jsonl"

    def fails_late(prompt: str, _before: int) -> Reply:
        is_late = number_in(prompt) >= 6
        return Reply(500, headers=(("retry-after", "0"),)) if is_late else Reply(content="Score: 1")

    with answering(fails_late) as (url, _):
        with pytest.raises(RuntimeError, match="2 tries; the last: status 500"):
            label(QUESTIONS, config(url, max_tries=2), journal)
    kept = {json.loads(line)["id"] for line in journal.read_text().splitlines()}
    assert len(kept) >= 3
    with journal.open("a") as file:
        file.write('{"id": "d11", "poi')  # a kill in the middle of a line
    with answering(lambda *_: Reply(content="Score: 1")) as (url, asked):
        records = label(QUESTIONS, config(url), journal)
    assert [record["points"] for record in records] == [1] * 12
    assert {f"d{number_in(one.body['messages'][0]['content'])}" for one in asked} == {
        f"d{n}" for n in range(12)
    } - kept
    with answering(lambda *_: Reply(content="Score: 4")) as (url, asked):
        assert label(QUESTIONS, config(url), journal) == records
    assert not asked


def test_an_answer_without_points_is_kept_as_it_is(tmp_path: Path):
    def reply(prompt: str, _before: int) -> Reply:
        return Reply(content="I cannot." if number_in(prompt) == 3 else "Score: 2")

    with answering(reply) as (url, _):
        records = label(QUESTIONS, config(url), tmp_path / "journal.jsonl")
    assert records[3] == {"id": "d3", "points": None, "answer": "I cannot."}
    assert sum(record["points"] is None for record in records) == 1


def test_a_refusal_is_said_at_once_and_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("LABELS_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with answering(lambda *_: Reply(401, f"Incorrect API key provided: {KEY}")) as (url, asked):
        with pytest.raises(ValueError, match=r"status 401.*LABELS_API_KEY") as found:
            label(QUESTIONS, config(url), tmp_path / "journal.jsonl")
    assert len(asked) <= 3 + 2  # those under way, and no second try of any
    assert KEY not in str(found.value)
    assert KEY not in caplog.text


def test_a_host_that_is_not_there_is_a_clear_failure(tmp_path: Path):
    with pytest.raises(RuntimeError, match=r"1 tries.*ConnectError"):
        label(QUESTIONS, config("http://127.0.0.1:9/v1", max_tries=1), tmp_path / "journal.jsonl")
