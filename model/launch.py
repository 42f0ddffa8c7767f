"""A training job as a process: ``python -m model.launch job.json [--num-processes N]``.

In: a job file. Out: what ``trainer.py`` leaves in ``out_dir``, and an exit code:

0    finished
1    broken: the loss is not finite or leaps (one line on stderr), a bug (traceback)
2    the job file or something it names is wrong (one line on stderr)
3    the disk is full: what needs how many bytes where (one line); the last checkpoint is whole
143  asked to stop (SIGTERM, Ctrl-C, dead parent, stale heartbeat); a checkpoint was saved

The same command again goes on where the last checkpoint is. A second SIGTERM or Ctrl-C changes
nothing, since parents that end say it twice; a third ends the process at once, unsaved. Several
ranks are started by torchrun:

one machine     --num-processes 8 --max-restarts 3
each of two     --num-processes 8 --nnodes 2 --rdzv-endpoint first-machine:29500

What several ranks share (out_dir) must be on a file system that all machines see. How they divide
the work is the job's: ``parallel``.

``BLOOMERY_PARENT_PID``                 die with that process
``BLOOMERY_HEARTBEAT_PATH``, ``BLOOMERY_HEARTBEAT_TIMEOUT_SECONDS``
                                        stop when nobody has touched that file for so long; for
                                        parents on another machine, or inside another container
"""

import argparse
import contextlib
import ctypes
import dis
import functools
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from model import elastic
from model.example_job import EXAMPLES, PrintExample

if TYPE_CHECKING:
    from model.job import TrainJob

EXIT_BROKEN = elastic.EXIT_BROKEN
EXIT_BAD_JOB = 2
EXIT_DISK_FULL = 3
EXIT_STOPPED = elastic.EXIT_STOPPED
ORPHAN_SECONDS = 30.0  # that a rank has to save, when nobody is left who would end it
_PR_SET_PDEATHSIG = 1


def main(argv: list[str] | None = None) -> int:
    """Run a job file; see the module's docstring for the exit codes."""
    job, wanted = parse(argv)
    stop = StopSignal()
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    if elastic.is_rank():
        stop.leave_if_orphaned()
        return 0 if elastic.earlier_verdict() else elastic.leave_verdict(run(job, stop))
    return run(job, stop) if wanted.is_one else elastic.run_ranks(job, wanted)


def parse(argv: list[str] | None) -> tuple[Path, elastic.RanksWanted]:
    """The command line: a job file, and who is to run it."""
    parser = argparse.ArgumentParser(
        prog="python -m model.launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("job", type=Path, help="the job, as TrainJob.to_json_dict writes it")
    parser.add_argument(
        "--example",
        action=PrintExample,
        choices=EXAMPLES,
        dest=argparse.SUPPRESS,
        help="print a job with this objective, to be filled in, and do nothing",
    )
    option = functools.partial(parser.add_argument, metavar="N")
    option("--num-processes", type=int, default=1, help="ranks on this machine; usually one a GPU")
    option(
        "--max-restarts",
        type=int,
        default=0,
        help="how often all ranks begin again, at the last checkpoint, when one has died",
    )
    option(
        "--nnodes",
        default="1",
        metavar="N|MIN:MAX",
        help="machines; start the same command on each. With MIN:MAX the run goes on with those "
        "that are there",
    )
    option(
        "--rdzv-endpoint",
        default="",
        metavar="HOST:PORT",
        help="several machines: where they meet, on one of them",
    )
    option(
        "--rdzv-id",
        default="bloomery",
        metavar="NAME",
        help="several machines: the run's name, if several runs meet at one endpoint",
    )
    arguments = vars(parser.parse_args(argv))
    if arguments["nnodes"] != "1" and not arguments["rdzv_endpoint"]:
        parser.error("--nnodes needs --rdzv-endpoint HOST:PORT, the same on all machines")
    return arguments.pop("job"), elastic.RanksWanted(**arguments)


def run(job_path: Path, stop: "StopSignal") -> int:
    """Read the job and train."""
    # torch takes seconds to import: signal handlers and --help must not wait for it.
    from model.disk import DiskFullError
    from model.distributed import PeerFailedError
    from model.trainer import Trainer

    try:
        try:
            job = read_job(job_path)
            stop.watch_heartbeat(job.heartbeat_path, job.heartbeat_timeout_seconds)
            trainer = Trainer(job)
        except DiskFullError:
            raise
        except (ValueError, OSError) as error:
            return _say(error, EXIT_BAD_JOB)
        try:
            return 0 if trainer.run(stop) == "done" else EXIT_STOPPED
        finally:
            trainer.close()
    except ValueError as error:
        if not _is_for_user(error):
            raise
        return _say(error, EXIT_BAD_JOB)
    except FloatingPointError as error:
        return _say(error, EXIT_BROKEN)
    except DiskFullError as error:
        return _say(error, EXIT_DISK_FULL)
    except PeerFailedError:  # whose verdict it is to leave: to torchrun, a rank that crashed
        sys.exit(EXIT_BROKEN)


def _is_for_user(error: ValueError) -> bool:
    """Whether one of our own ``raise`` statements made it, which say what is wrong with a job;
    others come from the depths of a library, or of Python, and are bugs."""
    place = error.__traceback__
    while place is not None and place.tb_next:
        place = place.tb_next
    if place is None or not place.tb_frame.f_globals.get("__name__", "").startswith("model."):
        return False
    return place.tb_frame.f_code.co_code[place.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def _say(error: Exception, code: int) -> int:
    if not elastic.is_rank() or elastic.is_first_to_say(str(error)):
        with contextlib.suppress(OSError):  # stderr may be a file on the disk that is full
            print(f"error: {error}", file=sys.stderr, flush=True)
    return code


def read_job(path: Path) -> "TrainJob":
    """The ``TrainJob`` in a file; a ValueError says what is wrong with it."""
    from model.job import TrainJob

    try:
        return TrainJob.from_json_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ValueError(f"cannot read the job file {path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


class StopSignal:
    """Callable: has anyone asked us to stop? The step in progress is finished first."""

    def __init__(self) -> None:
        self._asked = False
        self._heartbeat: tuple[Path, float] | None = None
        self._started = self._last_look = time.time()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def watch_heartbeat(self, path: str | None, timeout_seconds: float) -> None:
        """Also stop when the file is older than that; the environment overrules the job."""
        path = os.environ.get("BLOOMERY_HEARTBEAT_PATH", path)
        timeout = os.environ.get("BLOOMERY_HEARTBEAT_TIMEOUT_SECONDS", timeout_seconds)
        self._heartbeat = (Path(path), float(timeout)) if path else None

    def __call__(self) -> bool:
        """Cheap enough to ask after every step; looks at the heartbeat once a second."""
        if self._heartbeat and time.time() - self._last_look >= 1:
            self._last_look = time.time()
            self._asked = self._asked or self._heartbeat_age() > self._heartbeat[1]
        return self._asked

    def _heartbeat_age(self) -> float:
        assert self._heartbeat is not None
        try:
            beat = self._heartbeat[0].stat().st_mtime
        except OSError:
            beat = 0.0  # gone, or not there yet: we count from our own start
        return time.time() - max(beat, self._started)

    def leave_if_orphaned(self) -> None:
        """For a rank, which may be waiting for one that is gone and then never asks: when torchrun
        has died it has a while to save, and then it ends wherever it is."""
        threading.Thread(target=self._watch_parent, args=(os.getppid(),), daemon=True).start()

    def _watch_parent(self, parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(1)
        self._asked = True
        time.sleep(ORPHAN_SECONDS)
        os._exit(EXIT_STOPPED)

    def _on_signal(self, number: int, frame: object) -> None:
        if self._asked:  # and yet it is still here: the next one is not caught
            signal.signal(number, signal.SIG_DFL)
        self._asked = True


def die_with_parent() -> None:
    """Have Linux send us SIGTERM when the parent dies, if the parent said that it wants so."""
    parent = os.environ.get("BLOOMERY_PARENT_PID")
    if parent is None:
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before we asked
        print("error: the parent process is gone", file=sys.stderr)
        sys.exit(EXIT_STOPPED)


if __name__ == "__main__":
    sys.exit(main())
