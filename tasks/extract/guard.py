"""The guard: pages are parsed in a child process that may hang, crash or eat memory.

In: a page function's name and its configuration; then items, one at a time. Out: each item's
result, or a Failure saying how the child ended. Native code cannot be interrupted from Python, so
a child that gives no answer in time is killed and the next item gets a new one.
"""

import os
import subprocess
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

STARTUP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Failure:
    """How the child failed on an item: timeout, crash, memory or error."""

    reason: str
    detail: str | None = None


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

    def __enter__(self) -> "Guard":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop()

    def call(self, item: Any) -> Any:
        """The function's result for ``item``, or a Failure."""
        if self._child is None:
            self._start()
        assert self._child and self._connection
        try:
            self._connection.send(item)
            if not self._connection.poll(self._timeout_seconds):
                self._stop()
                return Failure("timeout", f"no answer in {self._timeout_seconds:g} s")
            result = self._connection.recv()
        except (EOFError, OSError):
            status = self._child.wait()
            self._stop()
            return Failure("crash", f"exit status {status}")
        if isinstance(result, Failure):
            self._stop()  # after a failed allocation nothing in there can be trusted
        return result

    def _start(self) -> None:
        ours, theirs = Pipe()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tasks.extract.page_process", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
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
