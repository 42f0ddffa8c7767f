"""Fan-out: pieces of a stage's work over the standard library's Executor, committed one by one.

The seam is ``concurrent.futures.Executor``: a process pool here, a cluster client's executor
elsewhere. Workers die with their parent, so a killed run leaves nothing behind that still writes.
"""

import concurrent.futures as cf
import ctypes
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any

SECONDS_BETWEEN_LINES = 5.0
MAX_PENDING = 256  # submitted ahead: enough to keep any number of workers busy
PR_SET_PDEATHSIG = 1  # linux/prctl.h
_STARTING = threading.Lock()


class InlineExecutor(cf.Executor):
    """Runs each call at once in this process: one worker, no start-up cost, plain tracebacks."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> cf.Future[Any]:
        """Run ``fn`` now and return its finished future."""
        future: cf.Future[Any] = cf.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def local_executor(num_workers: int) -> AbstractContextManager[cf.Executor]:
    """An executor of ``num_workers`` fresh processes on this machine; inline when it is one."""
    if num_workers == 1:
        return InlineExecutor()
    return cf.ProcessPoolExecutor(num_workers, mp_context=_BareSpawn(), initializer=die_with_parent)


class _BareProcess(SpawnProcess):
    """A fresh process that imports what its work needs, and not the program that started it.

    A spawned process imports the main module of its parent, which may be an orchestrator that takes
    seconds of CPU time to import, for each worker of each stage. Work is never defined there.
    """

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - the name is the standard library's
        with _STARTING:
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return SpawnProcess._Popen(process_obj)
            finally:
                sys.modules["__main__"] = main


class _BareSpawn(SpawnContext):
    """Spawns, since forking a threaded process may hang."""

    Process = _BareProcess


def die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it ends, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def map_pieces(
    executor: cf.Executor,
    work: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    *,
    is_done: Callable[[int], bool],
    on_done: Callable[[int, Any], None],
    log: logging.Logger,
    unit: str,
) -> None:
    """Run ``work(*call)`` for every call that is not done yet; report each result as it comes.

    The first error stops what has not started, lets what runs finish and be reported (so that it
    need not be redone), and is then raised.
    """
    todo = [index for index in range(len(calls)) if not is_done(index)]
    num_done = len(calls) - len(todo)
    if num_done:
        log.info("%s: %d of %d were done before", unit, num_done, len(calls))
    next_line = time.monotonic() + SECONDS_BETWEEN_LINES
    pending: dict[cf.Future[Any], int] = {}
    error: BaseException | None = None
    while pending or (todo and not error):
        while todo and not error and len(pending) < MAX_PENDING:
            index = todo.pop(0)
            future = executor.submit(work, *calls[index])
            pending[future] = index
            if future.done():  # an inline executor: report it before the next one is run
                break
        for future in cf.wait(pending, return_when=cf.FIRST_COMPLETED).done:
            index = pending.pop(future)
            if future.cancelled():
                continue
            if failure := future.exception():
                error = error or _explained(failure, unit, index)
                for waiting in pending:
                    waiting.cancel()
                continue
            on_done(index, future.result())
            num_done += 1
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + SECONDS_BETWEEN_LINES
                log.info("%s: %d of %d", unit, num_done, len(calls))
    if error:
        raise error


def _explained(failure: BaseException, unit: str, index: int) -> BaseException:
    if isinstance(failure, BrokenProcessPool):
        return RuntimeError(
            f"a worker process died at {unit} {index} or beside it, most often for lack of "
            "memory; use fewer workers or smaller shards"
        )
    return failure
