"""Crawl after crawl is decided as all at once would be, cut short or not, without the old texts."""

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as drawn
from hypothesis import strategies as st

from flows.params import DedupParams
from tasks.common.manifest import ArtifactRef, Manifest
from tasks.common.stage import Machine
from tasks.common.store import Store
from tasks.duplicates import stage as duplicates
from tasks.signatures import stage as signatures
from tests.stages import deduplicate, given, judge
from tests.unit.dedup.test_dedup_stage import read, text_of, version

POLICIES: list[dict[str, Any]] = [
    {"keep": "first"},
    {"keep": "newest"},
    {"keep": "longest"},
    {"keep": "quality"},
    {"keep": "source", "preferred_sources": ["there"]},
    {"keep": "first", "min_similarity": 0.6},
    {"keep": "newest", "one_per_url": True},
]
BANDS: dict[str, Any] = {"num_permutations": 12, "num_bands": 4, "rows_per_band": 3}


def edited(seed: int, edits: int) -> str:
    """A text with some words changed, so that its editions are more or less alike."""
    words = text_of(seed, 60).split()
    for place in range(edits):
        words[7 * place] = f"new{place}"
    return " ".join(words)


document = st.builds(
    lambda seed, edits, **fields: version(seed=seed, text=edited(seed, edits), **fields),
    page=st.sampled_from("abcde"),
    day=st.sampled_from([None, 1, 2, 3]),
    seed=st.integers(0, 3),
    edits=st.integers(0, 5),
    source=st.sampled_from(["here", "there"]),
    quality_score=st.sampled_from([None, 0.25, 0.75]),
)


class Cut(Exception):
    """A run that ends in the middle."""


def cut_short(work: Callable[..., Any], at: int) -> Callable[..., Any]:
    """The same, but for the ``at``-th call, which ends halfway: its files are there, in pieces."""
    calls = 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            work(*arguments)
            raise Cut
        return work(*arguments)

    return interrupted


def made(machine: Machine, manifest: Manifest) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read(machine, manifest)}


def insist(monkeypatch: pytest.MonkeyPatch, cuts: list[int], work: Callable[[], Manifest]) -> Any:
    """Ask again after each interruption, as a user would."""
    for at in cuts:
        with monkeypatch.context() as patch:
            patch.setattr(signatures, "sign_shard", cut_short(signatures.sign_shard, at))
            patch.setattr(duplicates, "pair_band", cut_short(duplicates.pair_band, at))
            try:
                work()
            except Cut:
                continue
    return work()


@pytest.mark.slow
@pytest.mark.parametrize("policy", POLICIES)
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@drawn(
    documents=st.lists(document, min_size=1, max_size=16),
    cuts=st.lists(st.integers(1, 4), max_size=2),
    data=st.data(),
)
def test_crawl_after_crawl_is_as_all_at_once(
    policy: dict,
    documents: list[dict],
    cuts: list[int],
    data: st.DataObject,
    monkeypatch: pytest.MonkeyPatch,
):
    for number, row in enumerate(documents):
        row["id"] = f"{number:03d}"
    config = DedupParams(**BANDS, **policy)
    shuffled = data.draw(st.permutations(documents))
    num_crawls = data.draw(st.integers(1, 4))
    crawls = [shuffled[at::num_crawls] for at in range(num_crawls)]
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(store=folder, num_workers=1)
        at_once = made(machine, judge(machine, [given(machine, [documents])], config=config))
        refs: list[ArtifactRef] = []
        for crawl in crawls:
            earlier = [Path(folder) / str(ref) for ref in refs]
            refs.append(given(machine, [crawl[::2], crawl[1::2]]))
            for artifact in earlier:  # the texts that were signed need not be there any more
                for shard in artifact.glob("*.parquet"):
                    shard.unlink(missing_ok=True)
            latest = insist(monkeypatch, cuts, lambda: judge(machine, refs, config=config))
        assert made(machine, latest) == at_once


def test_only_the_new_crawl_is_signed(machine: Machine):
    crawls = [given(machine, [[version("a", day, day)]]) for day in (1, 2)]
    judge(machine, crawls[:1])
    before = {manifest.ref for manifest in Store(machine.store).manifests("signatures")}
    judge(machine, crawls)
    after = {manifest.ref for manifest in Store(machine.store).manifests("signatures")}
    assert len(after) == len(before) + 1 and before < after


@pytest.mark.parametrize("policy", POLICIES[1:5])
def test_another_policy_signs_nothing(machine: Machine, policy: dict):
    ref = given(machine, [[version("a", 1, 1), version("b", 2, 1)]])
    judge(machine, [ref])
    before = list(Store(machine.store).manifests("signatures"))
    judge(machine, [ref], config=DedupParams(**policy))
    assert list(Store(machine.store).manifests("signatures")) == before


KILLED_RUN = """
import os, signal, sys
from flows.params import DedupParams
from tasks.common.manifest import ArtifactRef
from tasks.common.stage import Machine
from tasks.dedup import stage as dedup
from tasks.duplicates import stage as duplicates
from tasks.signatures import stage as signatures
from tests.stages import deduplicate

stage = {"sign_shard": signatures, "pair_band": duplicates, "write_shard": dedup}[sys.argv[3]]
real, calls = getattr(stage, sys.argv[3]), []

def work_then_die(*arguments):
    calls.append(arguments)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments)

setattr(stage, sys.argv[3], work_then_die)
deduplicate(Machine(store=sys.argv[1], num_workers=1), [ArtifactRef.parse(sys.argv[2])])
"""


def corpus() -> list[list[dict]]:
    draw = random.Random(1)
    rows = [
        version(str(n % 31), n % 5 + 1, draw.randrange(20), id=f"{n:03d}", source=f"s{n % 3}")
        for n in range(60)
    ]
    return [rows[at::6] for at in range(6)]


def digests(manifest: Manifest) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in manifest.files}


@pytest.mark.parametrize(
    ("step", "stage", "pattern"),
    [
        ("sign_shard", "signatures", "signatures-*.npy"),
        ("pair_band", "duplicates", ".work/pairs-*"),
        ("write_shard", "dedup", "part-*.parquet"),
    ],
)
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, step: str, stage: str, pattern: str):
    machine = Machine(store=str(tmp_path / "killed"), num_workers=1)
    ref = given(machine, corpus())
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, machine.store, str(ref), step],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert killed.returncode == -signal.SIGKILL
    (scratch,) = Path(machine.store).glob(f".scratch/{stage}/*")
    done = sorted(scratch.glob(".commits/*.json"))
    assert len(done) == 3 == len(list(scratch.glob(pattern)))
    kept = tmp_path / "witness"  # links, so that what is written anew is another file
    kept.mkdir()
    for path in scratch.glob(pattern):
        os.link(path, kept / path.name)
    manifest = deduplicate(machine, [ref])
    calm = Machine(store=str(tmp_path / "calm"), num_workers=1)
    assert digests(manifest) == digests(deduplicate(calm, [given(calm, corpus())]))
    for path in Path(machine.store).glob(f"{stage}/*/*"):
        witness = kept / path.name
        assert not witness.exists() or witness.samefile(path), f"{path.name} was made again"
    assert not list(Path(machine.store).glob(f"{stage}/*/.*"))


def test_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path):
    found = []
    for num_workers in (1, 2):
        machine = Machine(store=str(tmp_path / str(num_workers)), num_workers=num_workers)
        ref = given(machine, corpus())
        deduplicate(machine, [ref])
        manifests = Store(machine.store).manifests()
        found.append({str(each.ref): digests(each) for each in manifests})
    assert found[0] == found[1]
