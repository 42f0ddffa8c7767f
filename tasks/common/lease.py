"""Leases: of several workers that want to make one artifact, one makes it and the others wait.

A lease is a numbered file made with exclusive creation, which local disks and S3 (a conditional
PUT) both offer. Its holder rewrites it as a heartbeat. A lease whose holder is gone is taken over
by creating the next number, so two rivals can never both believe they took it; the old holder sees
the higher number at its next beat and knows it has lost. Nothing is ever locked by a dead process.
"""

import json
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
        self._beating: threading.Thread | None = None

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
        if self.held and not self._lost:
            for number in range(1, self._number + 1):  # ours last, so that no gap shows
                self._remove(number)

    @property
    def held(self) -> bool:
        """Whether this process holds the lease."""
        return self._number > 0

    def check(self) -> None:
        """Raise LeaseLostError if another worker has taken over (say, after this machine slept)."""
        if self._lost or self._newest()[0] != self._number:
            self._lost = True
            raise LeaseLostError(f"the lease {self.folder} was taken over by another worker")

    def _try_take(self) -> bool:
        number, holder = self._newest()
        if number and not self._is_dead(holder):
            return False
        try:
            self.fs.pipe_file(self._path(number + 1), self._record(), mode="create")
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
        if not number:
            return 0, {}
        try:
            return number, json.loads(self.fs.cat_file(self._path(number)))
        except (FileNotFoundError, ValueError):  # released, or being rewritten, this instant
            return number, {"beat": time.time()}

    def _is_dead(self, holder: dict[str, Any]) -> bool:
        if holder.get("host") == socket.gethostname() and holder.get("boot") == _boot_id():
            return _process_start(holder["pid"]) != holder["pid_start"]
        return time.time() - holder.get("beat", 0.0) > self.lease_seconds

    def _beat(self) -> None:
        while not self._stop.wait(self.lease_seconds / BEATS_PER_LEASE):
            if self._newest()[0] != self._number:
                self._lost = True
                return
            self.fs.pipe_file(self._path(self._number), self._record())

    def _record(self) -> bytes:
        record = {
            "owner": self._owner,
            "host": socket.gethostname(),
            "boot": _boot_id(),
            "pid": os.getpid(),
            "pid_start": _process_start(os.getpid()),
            "beat": time.time(),
        }
        return json.dumps(record).encode()

    def _path(self, number: int) -> str:
        return f"{self.folder}/{number}"

    def _remove(self, number: int) -> None:
        with suppress(FileNotFoundError):
            self.fs.rm_file(self._path(number))


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
