"""Laws of artifacts: whole or absent, made once, found again, named, verified."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from tasks.common.lease import LeaseLostError
from tasks.common.manifest import MANIFEST_NAME, ArtifactRef
from tasks.common.stage import Machine, Outcome, Stage, StageContext, materialise
from tasks.common.store import Store
from tests.stages import given

REF = ArtifactRef(stage="x", fingerprint="0" * 16)


class Letters(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    letters: str = "abcd"
    log: str = ""
    pause_seconds: float = 0.0
    die_at: str = ""


def write_letter(folder: Path, letter: str, log: str, pause_seconds: float, die_at: str) -> str:
    if die_at == letter and os.environ.get("DIE"):
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    with open(log, "a") as file:
        file.write(letter)
    time.sleep(pause_seconds)
    (folder / f"{letter}.txt").write_text(letter * 3)
    return letter


def run_letters(context: StageContext, config: Letters) -> Outcome:
    calls = [
        (context.path, letter, config.log, config.pause_seconds, config.die_at)
        for letter in config.letters
    ]
    made = context.map(write_letter, calls, names=lambda i: [f"{config.letters[i]}.txt"])
    return Outcome(metrics={"made": "".join(made)})


LETTERS = Stage(
    name="letters",
    version=1,
    config=Letters,
    inputs=(),
    run=run_letters,
    identity=lambda config: {"letters": config.letters},
)


def make(machine: Machine, config: Letters) -> None:
    materialise(LETTERS, config, {}, machine)


def spawn(target, *arguments):
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    process.start()
    return process


def test_an_artifact_is_made_once_and_then_found(machine, tmp_path):
    config = Letters(log=str(tmp_path / "log"))
    first, was_there = materialise(LETTERS, config, {}, machine)
    again, was_there_then = materialise(LETTERS, config, {}, machine)
    assert (was_there, was_there_then) == (False, True)
    assert again == first
    assert (tmp_path / "log").read_text() == "abcd"


def test_a_deleted_artifact_is_made_again_with_the_same_files(machine, store, tmp_path):
    config = Letters(log=str(tmp_path / "log"))
    first, _ = materialise(LETTERS, config, {}, machine)
    store.delete(first.ref)
    assert not store.has(first.ref)
    again, was_there = materialise(LETTERS, config, {}, machine)
    assert not was_there
    assert again.files == first.files


def test_a_folder_without_a_manifest_is_no_artifact(machine, store):
    ref = given(machine, files={"a": "x"})
    Path(store.path(ref, MANIFEST_NAME)).unlink()
    assert not store.has(ref)
    assert list(store.manifests()) == []
    assert given(machine, files={"a": "x"}) == ref
    assert store.verify(ref) == []


def test_several_processes_that_race_make_it_once(machine, tmp_path):
    config = Letters(log=str(tmp_path / "log"), pause_seconds=0.1)
    racers = [spawn(make, machine, config) for _ in range(3)]
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    assert (tmp_path / "log").read_text() == "abcd"


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_killed_run_goes_on_and_redoes_no_committed_piece(
    tmp_path, monkeypatch, num_workers, store
):
    machine = Machine(store=store.url, num_workers=num_workers)
    config = Letters(log=str(tmp_path / "log"), die_at="d", pause_seconds=0.1)
    monkeypatch.setenv("DIE", "1")
    victim = spawn(make, machine, config)
    victim.join(60)
    assert victim.exitcode != 0
    assert list(store.manifests()) == []
    monkeypatch.delenv("DIE")
    manifest, _ = materialise(LETTERS, config, {}, machine)
    log = (tmp_path / "log").read_text()
    assert log.count("a") == log.count("b") == 1
    undisturbed = Machine(store=str(tmp_path / "other"), num_workers=1)
    assert manifest.files == materialise(LETTERS, config, {}, undisturbed)[0].files


def test_workers_die_with_a_killed_run(tmp_path):
    machine = Machine(store=str(tmp_path / "store"), num_workers=2)
    config = Letters(log=str(tmp_path / "log"), letters="abcdefgh", pause_seconds=1.0)
    victim = spawn(make, machine, config)
    _wait_for(lambda: (tmp_path / "log").exists())
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    time.sleep(0.3)
    written = (tmp_path / "log").read_text()
    time.sleep(1.5)
    assert (tmp_path / "log").read_text() == written


def test_verify_names_the_file_that_changed(machine, store):
    ref = given(machine, files={"a": "x", "b": "y"})
    assert store.verify(ref) == []
    Path(store.path(ref, "b")).write_text("tampered")
    assert store.verify(ref) == ["b has changed since it was sealed"]


def test_resolve_takes_names_and_unique_beginnings_and_refuses_the_rest(machine, store):
    refs = [given(machine, files={"a": str(n)}) for n in range(3)]
    store.give_name("corpus/demo", refs[1])
    assert store.resolve("corpus/demo") == refs[1]
    assert store.resolve(str(refs[0])) == refs[0]
    assert store.resolve(refs[2].fingerprint[:8]) == refs[2]
    with pytest.raises(ValueError, match="could be any of"):
        store.resolve("given/")
    with pytest.raises(ValueError, match="no artifact"):
        store.resolve("given/zzz")


def test_a_missing_input_is_named(machine):
    missing = ArtifactRef(stage="given", fingerprint="0" * 16)
    stage = Stage("next", 1, Letters, ("letters",), run_letters)
    with pytest.raises(FileNotFoundError, match="0000"):
        materialise(stage, Letters(), {"letters": [missing]}, machine)


def test_work_without_a_result_is_refused_since_it_would_be_done_again(machine):
    def run(context: StageContext, config: Letters) -> Outcome:
        context.map(print, [("",)])
        return Outcome()

    with pytest.raises(AssertionError, match="print must return something"):
        materialise(Stage("none", 1, Letters, (), run), Letters(), {}, machine)


class Source(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str


def copy_it(context: StageContext, config: Source) -> Outcome:
    context.map(_copy, [(config.path, context.path / "copy")], names=lambda i: ["copy"])
    return Outcome()


def _copy(source: str, target: Path) -> str:
    if Path(source).read_text() == "old" and not Path(f"{source}.changed").exists():
        Path(f"{source}.changed").touch()
        Path(source).write_text("new")
    target.write_text(Path(source).read_text())
    return target.name


def test_nothing_made_of_a_file_that_changed_meanwhile_is_kept(machine, store):
    """Else the old file, put back, would find the new one's pieces under its own name."""
    source = Path(store.root).with_name("source")
    source.write_text("old")
    stage = Stage("copy", 1, Source, (), copy_it, lambda c: {"text": Path(c.path).read_text()})
    with pytest.raises(ValueError, match="changed meanwhile"):
        materialise(stage, Source(path=str(source)), {}, machine)
    source.write_text("old")
    manifest, _ = materialise(stage, Source(path=str(source)), {}, machine)
    assert Path(store.path(manifest.ref, "copy")).read_text() == "old"


class Lost(Exception):
    pass


def test_without_the_right_to_make_it_nothing_is_committed_sealed_or_discarded(store):
    def guard():
        raise Lost

    workspace = store.workspace(REF, guard)
    (workspace.path / "a").write_text("a")
    with pytest.raises(Lost):
        workspace.commit("piece", 1, ["a"])
    with pytest.raises(Lost):
        workspace.seal(None)
    with pytest.raises(Lost):
        workspace.discard()
    assert workspace.committed("piece") is None
    assert (workspace.path / "a").exists()


def steal(context: StageContext, config: Letters) -> Outcome:
    """A rival takes the lease over while this stage runs."""
    store = Store(context.machine.store)
    (lease,) = Path(store.root, ".lease").rglob("1")
    lease.with_name("2").write_text("{}")
    context.workspace.commit("piece", 1, [])
    raise AssertionError("it was committed")


def test_a_stage_whose_lease_is_lost_stops_at_its_next_commit(machine):
    with pytest.raises(LeaseLostError):
        materialise(Stage("steal", 1, Letters, (), steal), Letters(), {}, machine)


def test_files_are_on_the_disk_before_the_record_that_names_them(store, monkeypatch):
    workspace = store.workspace(REF)
    (workspace.path / "a").write_text("a")
    done = []
    sync, replace = os.fsync, Path.replace
    name_of = lambda descriptor: Path(f"/proc/self/fd/{descriptor}").readlink().name  # noqa: E731
    monkeypatch.setattr(os, "fsync", lambda d: (done.append(name_of(d)), sync(d)))
    monkeypatch.setattr(Path, "replace", lambda s, t: (done.append(Path(t).name), replace(s, t)))
    workspace.commit("piece", 1, ["a"])
    assert done == ["a", workspace.path.name, "piece.partial", "piece.json"]


def test_an_artifact_is_on_the_disk_before_its_manifest(machine, monkeypatch):
    synced = []
    sync = os.fsync
    name_of = lambda descriptor: Path(f"/proc/self/fd/{descriptor}").readlink().name  # noqa: E731
    monkeypatch.setattr(os, "fsync", lambda d: (synced.append(name_of(d)), sync(d)))
    ref = given(machine, files={"a": "x", "deep/b": "y"})
    at_manifest = synced.index(MANIFEST_NAME)
    assert set(synced[:at_manifest]) == {"a", "b", "deep", ref.fingerprint}
    assert synced[at_manifest + 1 :] == [ref.fingerprint, "given"]


def _take_memory(context: StageContext, config: Letters) -> Outcome:
    taken = bytearray(os.urandom(1) * (200 << 20)) if config.letters == "big" else b""
    return Outcome(metrics={"size": len(taken)})


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux")
def test_a_stage_does_not_inherit_the_peak_of_the_one_before(machine):
    stage = Stage("memory", 1, Letters, (), _take_memory)
    big, small = (
        materialise(stage, Letters(letters=name), {}, machine)[0].provenance.peak_memory_bytes
        for name in ("big", "small")
    )
    assert big - small > 100 << 20


def _wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
