"""Leases: of several workers that want to make one artifact, one makes it and the others wait.

A lease is a numbered file made with exclusive creation, which local disks (a hard link) and S3 (a
conditional PUT) both offer. Its holder rewrites it as a heartbeat. A lease whose holder is gone is
taken over by creating the next number, so two rivals can never both believe they took it; the old
holder finds a higher number, or another owner in its place, and knows it has lost. No clock of one
machine is compared with another's: a holder elsewhere is dead when its file, watched from here, has
not changed for ``lease_seconds``. Nothing is ever locked by a dead process.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

log = logging.getLogger("bloomery.lease")

LEASE_SECONDS = 60.0
BEATS_PER_LEASE = 4
POLL_SECONDS = 0.5


class LeaseLostError(RuntimeError):
    """Another worker took the lease over; what this one made must not be sealed."""


@dataclass
class Lease:
    """An exclusive claim on one artifact, kept alive by a thread while the ``with`` block runs.

    Args:
        fs: the store's file system.
        folder: a folder of that file system, for this artifact's lease files only.
        done: polled while waiting; when it returns True the lease is no longer wanted.
        on_wait: called once with the holder's description when somebody else holds the lease.
    """

    fs: fsspec.AbstractFileSystem
    folder: str
    done: Callable[[], bool]
    on_wait: Callable[[str], None] = lambda holder: None
    lease_seconds: float = LEASE_SECONDS

    def __post_init__(self) -> None:
        self._owner = uuid.uuid4().hex
        self._number = 0
        self._stop = threading.Event()
        self._lost = False
        self._num_beats = 0
        self._beating: threading.Thread | None = None
        self._seen: tuple[int, dict[str, Any]] = (0, {})
        self._seen_since = time.monotonic()

    def __enter__(self) -> "Lease":
        """Wait until the lease is ours or the work is done; ``held`` says which."""
        announced = False
        while not self.done() and not self._try_take():
            if not announced:
                holder = self._newest()[1]
                self.on_wait(f"{holder.get('host', '?')}, process {holder.get('pid', '?')}")
                announced = True
            time.sleep(POLL_SECONDS)
        if self.held:
            self._beating = threading.Thread(target=self._beat, daemon=True)
            self._beating.start()
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._beating:
            self._beating.join()
        if self.held and not self._lost and self._is_ours():
            for number in range(1, self._number + 1):  # ours last, so that no gap shows
                self._remove(number)

    @property
    def held(self) -> bool:
        """Whether this process holds the lease."""
        return self._number > 0

    def check(self) -> None:
        """Raise LeaseLostError if another worker has taken over (say, after this machine slept)."""
        if self._lost or not self._is_ours():
            self._lost = True
            raise LeaseLostError(f"the lease {self.folder} was taken over by another worker")

    def _is_ours(self) -> bool:
        """The number alone does not tell: rivals may have come, gone, and begun at 1 again."""
        if self._read(self._number).get("owner") != self._owner:
            return False
        return not self.fs.exists(self._path(self._number + 1))

    def _try_take(self) -> bool:
        number, holder = self._newest()
        if number and not self._is_dead(number, holder):
            return False
        try:
            create_exclusively(self.fs, self._path(number + 1), self._record())
        except FileExistsError:
            return False
        self._number = number + 1
        return True

    def _newest(self) -> tuple[int, dict[str, Any]]:
        self.fs.invalidate_cache(self.folder)
        try:
            names = [Path(path).name for path in self.fs.ls(self.folder, detail=False)]
        except FileNotFoundError:
            return 0, {}
        number = max((int(name) for name in names if name.isdigit()), default=0)
        return number, self._read(number) if number else {}

    def _read(self, number: int) -> dict[str, Any]:
        """The record of a number; empty if it was released this instant, or is damaged."""
        try:
            record = json.loads(self.fs.cat_file(self._path(number)))
        except (FileNotFoundError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def _is_dead(self, number: int, holder: dict[str, Any]) -> bool:
        if (number, holder) != self._seen:
            self._seen, self._seen_since = (number, holder), time.monotonic()
        if _is_on_this_machine(holder):
            return _process_start(holder["pid"]) != holder["pid_start"]
        return time.monotonic() - self._seen_since > self.lease_seconds

    def _beat(self) -> None:
        while not self._stop.wait(self.lease_seconds / BEATS_PER_LEASE):
            try:
                self.check()
                self._num_beats += 1
                _replace(self.fs, self._path(self._number), self._record())
            except LeaseLostError:
                return
            except Exception:  # the store is out of reach; it may be back before a rival comes
                log.warning("a heartbeat of %s failed; the next one follows", self.folder)
                log.debug("it failed with", exc_info=True)

    def _record(self) -> bytes:
        record = {
            "owner": self._owner,
            "host": socket.gethostname(),
            "boot": _boot_id(),
            "pid": os.getpid(),
            "pid_start": _process_start(os.getpid()),
            "beat": self._num_beats,
        }
        return json.dumps(record).encode()

    def _path(self, number: int) -> str:
        return f"{self.folder}/{number}"

    def _remove(self, number: int) -> None:
        with suppress(FileNotFoundError):
            self.fs.rm_file(self._path(number))


def create_exclusively(fs: fsspec.AbstractFileSystem, path: str, data: bytes) -> None:
    """Create a file with all of ``data`` in it, or raise FileExistsError: one rival succeeds.

    Where ``data`` names its writer, finding just that is success too: a PUT whose answer was lost
    is sent again by the client, and is then refused because of itself.
    """
    if isinstance(fs, LocalFileSystem):  # fsspec looks and then writes; a link is one step
        _create_by_link(Path(path), data)
        return
    try:
        fs.pipe_file(path, data, mode="create")
    except OSError as error:  # stores word a conflict in several ways: 409, 412, a lost answer
        try:
            found = fs.cat_file(path)
        except FileNotFoundError:
            raise error from None
        if found != data:
            raise FileExistsError(path) from error


def _create_by_link(target: Path, data: bytes) -> None:
    partial = _write_beside(target, data)
    try:
        os.link(partial, target)
    finally:
        partial.unlink()


def _replace(fs: fsspec.AbstractFileSystem, path: str, data: bytes) -> None:
    """Overwrite a file so that no reader sees a half of it."""
    if isinstance(fs, LocalFileSystem):
        _write_beside(Path(path), data).replace(path)
    else:
        fs.pipe_file(path, data)


def _write_beside(target: Path, data: bytes) -> Path:
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    partial.write_bytes(data)
    return partial


def _is_on_this_machine(holder: dict[str, Any]) -> bool:
    """Whether the holder is, or was, in our process table; never where there is no /proc."""
    boot = _boot_id()
    return bool(boot) and (holder.get("host"), holder.get("boot")) == (socket.gethostname(), boot)


def _boot_id() -> str:
    """Tell one boot (and so one space of process numbers) from another; empty if unknown."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + namespace
    except OSError:
        return ""


def _process_start(pid: int) -> str:
    """The kernel's start time of a process, so that a recycled number is not mistaken for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "gone"
