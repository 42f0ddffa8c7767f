"""Samples the Python process that finds this file first on its path, whatever it runs.

In: the folder named by ``BLOOMERY_SAMPLES``. Out: ``PID.json`` in it: the CPU seconds that went
into each function of the project, with what it had called, as seen about every 10 ms of CPU time. A
call into native code is seen when it ends, and counts for as long as it took. The file is written
every second, because workers may be killed.
"""

import atexit
import json
import os
import signal
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

INTERVAL_SECONDS = 0.01
SECONDS_BETWEEN_WRITES = 1.0
ROOT = str(Path(__file__).parents[3]) + "/"
IMPORTS = "<frozen importlib"
STARTING, BETWEEN = "starting: imports", "between stages"
OURS = ("tasks/", "model/", "flows/")


class Sampler:
    """Adds up where the main thread is."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._seconds: dict[tuple[str, str, str], float] = defaultdict(float)
        self._seen_seconds = time.process_time()
        self._next_write = 0.0
        self._is_busy = False

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS)
        atexit.register(self.stop)

    def stop(self) -> None:
        """Before the interpreter forgets the handler: a signal without one would end it."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.write()

    def _sample(self, _signal: int, frame: FrameType | None) -> None:
        if not self._is_busy:  # a write may be slower than the next signal
            self._is_busy = True
            self._count(frame)
            self._is_busy = False

    def _count(self, frame: FrameType | None) -> None:
        leaf, ours, stage = "", "", ""
        while frame:
            name = frame.f_code.co_filename
            leaf = leaf or f"{Path(name).name}:{frame.f_code.co_name}"
            if name.startswith(IMPORTS):
                stage = STARTING
            if name.startswith(ROOT) and (path := name.removeprefix(ROOT)).startswith(OURS):
                ours = ours or f"{path}:{frame.f_code.co_name}"
                folder = path.split("/")[1]
                if path.startswith("tasks/") and folder != "common":
                    stage = stage or folder
            frame = frame.f_back
        now = time.process_time()
        self._seconds[stage or BETWEEN, ours, leaf] += now - self._seen_seconds
        self._seen_seconds = now
        if time.monotonic() > self._next_write:
            self._next_write = time.monotonic() + SECONDS_BETWEEN_WRITES
            self.write()

    def write(self) -> None:
        rows = [[*key, seconds] for key, seconds in self._seconds.items()]
        self._target.with_suffix(".partial").write_text(json.dumps(rows))
        self._target.with_suffix(".partial").replace(self._target)


folder = os.environ.get("BLOOMERY_SAMPLES")
if folder and "resource_tracker" not in " ".join(sys.orig_argv):
    Sampler(Path(folder, f"{os.getpid()}.json")).start()
