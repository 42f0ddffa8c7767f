"""Laws of leases: one holder, none for ever, and whoever has lost finds out."""

import json
import threading
import time
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from tasks.common import lease as lease_module
from tasks.common.lease import Lease, LeaseLostError, create_exclusively

NUM_RIVALS = 16


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch):
    monkeypatch.setattr(lease_module, "POLL_SECONDS", 0.02)


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def a_lease(folder, fs=None, lease_seconds=60.0, done=lambda: False):
    return Lease(fs or LocalFileSystem(), str(folder), done=done, lease_seconds=lease_seconds)


def pretend_it_is_elsewhere(record: Path) -> None:
    record.write_text(json.dumps(json.loads(record.read_text()) | {"host": "elsewhere"}))


def test_of_many_that_create_a_file_at_once_one_wins(folder, monkeypatch):
    """Looking first and writing then would let all of them through."""
    exists = LocalFileSystem.exists

    def slow_exists(self, path, **kwargs):
        found = exists(self, path, **kwargs)
        time.sleep(0.1)
        return found

    monkeypatch.setattr(LocalFileSystem, "exists", slow_exists)
    start, won = threading.Barrier(NUM_RIVALS), []

    def rival(number):
        start.wait()
        try:
            create_exclusively(LocalFileSystem(), f"{folder}/1", b"%d" % number)
        except FileExistsError:
            return
        won.append(number)

    threads = [threading.Thread(target=rival, args=(n,)) for n in range(NUM_RIVALS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert [path.name for path in folder.iterdir()] == ["1"]
    assert (folder / "1").read_bytes() == b"%d" % won[0]


def test_a_lease_is_not_taken_from_a_living_holder(folder):
    with a_lease(folder) as holder:
        looks = iter([False, False, True])
        with a_lease(folder, done=lambda: next(looks), lease_seconds=0) as rival:
            assert not rival.held
        holder.check()


def test_a_lease_of_a_dead_process_of_this_machine_is_taken_at_once(folder):
    with a_lease(folder):
        record = json.loads((folder / "1").read_text())
        (folder / "1").write_text(json.dumps(record | {"pid_start": "before"}))
        with a_lease(folder) as rival:
            assert rival.held


def test_a_silent_holder_on_another_machine_is_taken_over_and_finds_out(folder):
    with a_lease(folder) as holder:
        pretend_it_is_elsewhere(folder / "1")
        with a_lease(folder, lease_seconds=0.1) as rival:
            assert rival.held
            with pytest.raises(LeaseLostError):
                holder.check()
            rival.check()


def test_a_holder_that_beats_is_alive_whatever_its_clock_says(folder):
    with a_lease(folder, lease_seconds=0.2):
        pretend_it_is_elsewhere(folder / "1")
        stop = threading.Event()

        def beat():
            number = 0
            while not stop.wait(0.02):
                number += 1
                lease_module._replace(
                    LocalFileSystem(),
                    f"{folder}/1",
                    json.dumps({"host": "elsewhere", "owner": "x", "beat": number % 1000}).encode(),
                )

        beating = threading.Thread(target=beat)
        beating.start()
        until = time.monotonic() + 1.0
        with a_lease(folder, lease_seconds=0.3, done=lambda: time.monotonic() > until) as rival:
            assert not rival.held
        stop.set()
        beating.join()


def test_without_a_process_table_a_holder_here_is_judged_by_its_beats(folder, monkeypatch):
    monkeypatch.setattr(lease_module, "_boot_id", lambda: "")
    monkeypatch.setattr(lease_module, "_process_start", lambda pid: "gone")
    with a_lease(folder):
        with a_lease(folder, lease_seconds=0.1) as rival:
            assert rival.held


@pytest.mark.parametrize("torn", [b"", b'{"owner": "4', b"null", b"\xff"])
def test_a_damaged_record_does_not_block_for_ever(folder, torn):
    (folder / "1").write_bytes(torn)
    with a_lease(folder, lease_seconds=0.1) as lease:
        assert lease.held
        lease.check()


def test_a_reader_never_sees_half_a_beat(folder):
    with a_lease(folder, lease_seconds=0.004) as lease:
        time.sleep(0.05)
        for _ in range(2000):
            assert lease._read(1)["owner"] == lease._owner


def test_whoever_slept_through_a_whole_tenure_notices_and_spoils_nothing(folder):
    """A sleeps; B takes over as 2 and releases; C begins at 1 again."""
    with a_lease(folder, lease_seconds=0.2) as sleeper:
        (folder / "1").unlink()
        with a_lease(folder) as newcomer:
            theirs = (folder / "1").read_bytes()
            time.sleep(0.2)  # several beats of the sleeper
            assert (folder / "1").read_bytes() == theirs
            with pytest.raises(LeaseLostError):
                sleeper.check()
            sleeper.__exit__(None, None, None)
            newcomer.check()


def test_a_store_out_of_reach_for_a_moment_does_not_end_the_heartbeat(folder, monkeypatch):
    replace, failures = lease_module._replace, [ConnectionError(), TimeoutError()]

    def flaky(*args):
        if failures:
            raise failures.pop()
        replace(*args)

    monkeypatch.setattr(lease_module, "_replace", flaky)
    with a_lease(folder, lease_seconds=0.04) as lease:
        before = (folder / "1").read_bytes()
        deadline = time.monotonic() + 10
        while (folder / "1").read_bytes() == before:
            assert time.monotonic() < deadline, "it never beat again"
            time.sleep(0.01)
        lease.check()


class Answers:
    """A store that is not local and words a conflict as some S3 servers do."""

    def __init__(self, error, already=None, writes=False):
        self.fs = fsspec.filesystem("memory")
        self.error, self.writes = error, writes
        if already:
            self.fs.pipe_file("/lease", already)

    def pipe_file(self, path, data, mode):
        if self.writes:
            self.fs.pipe_file(path, data)
        raise self.error

    def cat_file(self, path):
        return self.fs.cat_file(path)


@pytest.fixture
def forget_memory():
    yield
    fsspec.filesystem("memory").store.clear()


CONFLICTS = [FileExistsError(), OSError(16, "409 conflict"), OSError(22, "412 unmapped")]


@pytest.mark.usefixtures("forget_memory")
@pytest.mark.parametrize("error", CONFLICTS)
def test_any_conflict_means_that_another_was_first_if_their_file_is_there(error):
    with pytest.raises(FileExistsError):
        create_exclusively(Answers(error, already=b"theirs"), "/lease", b"ours")


@pytest.mark.usefixtures("forget_memory")
@pytest.mark.parametrize("error", CONFLICTS)
def test_a_conflict_with_our_own_file_is_success(error):
    create_exclusively(Answers(error, writes=True), "/lease", b"ours")


@pytest.mark.usefixtures("forget_memory")
def test_an_error_that_left_no_file_is_raised_as_it_is():
    with pytest.raises(OSError, match="409"):
        create_exclusively(Answers(OSError(16, "409 conflict")), "/lease", b"ours")
