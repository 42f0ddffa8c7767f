"""The guard: pages are parsed in a child process that may hang, crash or eat memory.

In: a page function's name and its configuration; then items, some at a time. Out: each item's
result, or a Failure saying how the child ended. Native code cannot be interrupted from Python, so
a child that gives no answer in time is killed and the next items get a new one.

Items travel by shared memory and some at a time, because a page is larger than a pipe's buffer:
that costs some 50 µs of CPU a page, where one after another through a pipe costs 250 µs.
"""

import mmap
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

STARTUP_SECONDS = 60.0
ITEMS_START = mmap.PAGESIZE


@dataclass(frozen=True, slots=True)
class Failure:
    """How the child failed on an item: timeout, crash, memory or error."""

    reason: str
    detail: str | None = None


class Board:
    """Memory that the child and its parent share: a diary of the child's, then a batch of items."""

    _ENTRY = struct.Struct("qd")

    def __init__(self, file_number: int) -> None:
        self._file_number = file_number
        self._map = mmap.mmap(file_number, 0)

    def begin(self, index: int) -> None:
        """Note that item ``index`` begins now."""
        self._ENTRY.pack_into(self._map, 0, index, time.monotonic())

    def last_begun(self) -> tuple[int, float]:
        """The item that was begun last, and when (CLOCK_MONOTONIC)."""
        index, started = self._ENTRY.unpack_from(self._map)
        return index, started

    def put(self, items: Sequence[Any]) -> int:
        """Lay items out for the child; returns their size in bytes, which ``take`` wants."""
        data = pickle.dumps(items, pickle.HIGHEST_PROTOCOL)
        end = ITEMS_START + len(data)
        if end > len(self._map):
            os.truncate(self._file_number, end)
            self._map = mmap.mmap(self._file_number, end)
        self._map[ITEMS_START:end] = data
        return len(data)

    def take(self, num_bytes: int) -> Any:
        """The items that were put."""
        end = ITEMS_START + num_bytes
        if end > len(self._map):
            self._map = mmap.mmap(self._file_number, end)
        with memoryview(self._map) as view, view[ITEMS_START:end] as items:
            return pickle.loads(items)


class Guard:
    """Calls ``function(item, config)`` in a child process; use as a context manager.

    Args:
        function: ``package.module:name`` of a module-level function.
        config: the function's second argument.
        timeout_seconds: wall time for one item.
        max_memory_bytes: address space of the child.
    """

    def __init__(
        self, function: str, config: Any, *, timeout_seconds: float, max_memory_bytes: int
    ) -> None:
        self._function = function
        self._config = config
        self._timeout_seconds = timeout_seconds
        self._max_memory_bytes = max_memory_bytes
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._last_begun = 0

    def __enter__(self) -> "Guard":
        self._file_number = _memory_file()
        os.truncate(self._file_number, ITEMS_START)
        self._board = Board(self._file_number)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop()
        os.close(self._file_number)

    def call(self, item: Any) -> Any:
        """The function's result for ``item``, or a Failure."""
        return self.call_all([item])[0]

    def call_all(self, items: Sequence[Any]) -> list[Any]:
        """The function's result, or a Failure, for each item.

        An item that ends the child is set aside and the others are done again without it. It is
        blamed only if it also ends a child of its own: its neighbours may have spoilt the first.
        """
        if not items:
            return []
        is_alone = self._child is None and len(items) == 1
        answers, failure = self._attempt(items)
        if not failure:
            return answers
        at = self._last_begun
        is_sure = is_alone or failure.reason == "timeout"
        verdict = failure if is_sure else self.call(items[at])
        return [*self.call_all(items[:at]), verdict, *self.call_all(items[at + 1 :])]

    def _attempt(self, items: Sequence[Any]) -> tuple[list[Any], Failure | None]:
        """All answers, or how the child ended at the item that was last begun."""
        if self._child is None:
            self._start()
        assert self._child and self._connection
        self._board.begin(0)
        num_bytes = self._board.put(items)
        try:
            self._connection.send(num_bytes)
            if self._is_late():
                self._stop()
                return [], Failure("timeout", f"no answer in {self._timeout_seconds:g} s")
            answers: list[Any] | Failure = self._connection.recv()
        except (EOFError, OSError):
            status = self._child.wait()
            self._last_begun, _ = self._board.last_begun()
            self._stop()
            return [], Failure("crash", f"exit status {status}")
        if isinstance(answers, Failure):
            self._last_begun, _ = self._board.last_begun()
            self._stop()  # after a failed allocation nothing in there can be trusted
            return [], answers
        return answers, None

    def _is_late(self) -> bool:
        """Wait for an answer; whether one item took too long before it came."""
        assert self._connection
        remaining = self._timeout_seconds
        while not self._connection.poll(remaining):
            self._last_begun, started = self._board.last_begun()
            remaining = started + self._timeout_seconds - time.monotonic()
            if remaining <= 0:
                return True
        return False

    def _start(self) -> None:
        ours, theirs = Pipe()
        shared = [theirs.fileno(), self._file_number]
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tasks.extract.page_process", *map(str, shared)],
            stdin=subprocess.DEVNULL,
            pass_fds=shared,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
            },
        )
        theirs.close()
        self._connection = ours
        try:
            ours.send((self._function, self._config, self._max_memory_bytes))
            is_ready = ours.poll(STARTUP_SECONDS) and ours.recv() == "ready"
        except (EOFError, OSError):
            is_ready = False
        if not is_ready:
            self._stop()
            raise RuntimeError("the page process did not start; see its message above")

    def _stop(self) -> None:
        if self._child:
            self._child.kill()
            self._child.wait()
        if self._connection:
            self._connection.close()
        self._child = self._connection = None


def _memory_file() -> int:
    """The number of an open file that nobody can find by name."""
    if sys.platform == "linux":
        return os.memfd_create("items")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
