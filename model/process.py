"""The parent's end of a training process: start it, listen to it, never leave it behind.

In: a job file. Out: the events of its ``metrics.jsonl``, as they come, and one of: a return
(finished), ``TrainingStopped``, or a RuntimeError with the end of ``train.log``. However this ends,
by an exception thrown into the main thread included, no trainer is left running.

Standard library only: the caller need not have torch.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

EXIT_STOPPED = 143
EXIT_DISK_FULL = 3
_POLL_SECONDS = 0.25
_ASK_SECONDS = 1.0
_LOG_LINES = 20
_KILL_SECONDS = 30.0
_MARK = "BLOOMERY_RUN"  # a variable that all processes of a run inherit, and no other has
# How long a thread of torch waits for the others by spinning. On two cores of which one is busy,
# this trains 1.6 times as fast as the default of libgomp, and on two idle ones equally fast.
_SPIN_COUNT = "1000"
_PROJECT_ROOT = Path(__file__).resolve().parent.parent


class TrainingStopped(Exception):
    """The trainer was asked to stop, and saved a checkpoint if it was given the time."""


def run_job(
    job_path: str | Path,
    *,
    grace_seconds: float = 8,
    on_event: Callable[[dict[str, Any]], None] = lambda event: None,
    should_stop: Callable[[], bool] = lambda: False,
    num_processes: int = 1,
    max_restarts: int = 0,
    heartbeat_path: str | Path | None = None,
    heartbeat_timeout_seconds: float = 60,
) -> None:
    """Run ``python -m model.launch`` on a job file until it ends or ``should_stop()``.

    Call it from a thread that lives as long as the training: Linux tells the trainer that its
    parent has died when the *thread* that started it ends.

    ``on_event`` gets every new line of the log (none from before a resume); ``should_stop`` is
    asked about once a second. A stopped trainer has ``grace_seconds`` to save its checkpoint. When
    one of several processes dies, all begin again at the last one, ``max_restarts`` times. With a
    ``heartbeat_path`` the file is touched here, and the trainer stops when that ceases.
    """
    job_path = Path(job_path).resolve()
    out_dir = _out_dir(job_path)
    out_dir.mkdir(parents=True, exist_ok=True)
    log_path = out_dir / "train.log"
    events = EventTail(out_dir / "metrics.jsonl")
    heartbeat = Path(heartbeat_path).resolve() if heartbeat_path else None
    environment = _environment(heartbeat, heartbeat_timeout_seconds)
    with log_path.open("ab") as log:
        ranks = ["--num-processes", str(num_processes), "--max-restarts", str(max_restarts)]
        trainer = _start(job_path, ranks, environment, log)
        try:
            stopped = _watch(trainer, events, on_event, should_stop, heartbeat)
        finally:
            stop_group(trainer, grace_seconds, environment[_MARK])
    for event in events.new():  # written between the last look and the end
        on_event(event)
    _judge(trainer.returncode, stopped, log_path)


class EventTail:
    """New events of a ``metrics.jsonl`` that is, or is about to be, written by another process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = _identity(path)  # a file from an earlier attempt, still to be replaced
        self._offset: int | None = None

    def new(self) -> Iterator[dict[str, Any]]:
        """Whole lines since the last call."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            found = _identity_of(os.fstat(file.fileno()))
            if found != self._seen:  # the run begins, or begins again
                self._seen, self._offset = found, _history_bytes(file.read())
            if self._offset is None:
                return
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # still being written
                self._offset += len(line)
                yield json.loads(line)


def stop_group(trainer: subprocess.Popen[bytes], grace_seconds: float, mark: str) -> None:
    """TERM to the whole process group, wait, KILL; after this there is no member left, nor any
    process that has the mark: torchrun's ranks are in groups of their own, and may outlive it."""
    try:
        if trainer.poll() is None:
            _signal_group(trainer.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                trainer.wait(timeout=grace_seconds)
    finally:  # a second exception must not save the trainer
        _signal_group(trainer.pid, signal.SIGKILL)
        trainer.wait()
        _kill_marked(mark)


def _watch(
    trainer: subprocess.Popen[bytes],
    events: EventTail,
    on_event: Callable[[dict[str, Any]], None],
    should_stop: Callable[[], bool],
    heartbeat: Path | None,
) -> bool:
    """Wait for the end, passing events on; True if we were asked to stop first."""
    asked_at = -_ASK_SECONDS
    while trainer.poll() is None:
        for event in events.new():
            on_event(event)
        if time.monotonic() - asked_at >= _ASK_SECONDS:
            asked_at = time.monotonic()
            if heartbeat:
                heartbeat.touch()
            if should_stop():
                return True
        with suppress(subprocess.TimeoutExpired):
            trainer.wait(timeout=_POLL_SECONDS)
    return False


def _start(
    job_path: Path, ranks: list[str], environment: dict[str, str], log: Any
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "model.launch", str(job_path), *ranks],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # a group of its own, so that one signal reaches all of it
    )


def _environment(heartbeat: Path | None, timeout_seconds: float) -> dict[str, str]:
    # Relative paths in a job file mean what they mean to the caller: the working directory stays,
    # and the package is found by PYTHONPATH.
    search = [str(_PROJECT_ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {"GOMP_SPINCOUNT": _SPIN_COUNT, **os.environ} | {
        "PYTHONPATH": os.pathsep.join(filter(None, search)),
        "PYTHONUNBUFFERED": "1",
        "BLOOMERY_PARENT_PID": str(os.getpid()),
        _MARK: uuid.uuid4().hex,
    }
    if heartbeat:
        heartbeat.parent.mkdir(parents=True, exist_ok=True)
        heartbeat.touch()
        environment["BLOOMERY_HEARTBEAT_PATH"] = str(heartbeat)
        environment["BLOOMERY_HEARTBEAT_TIMEOUT_SECONDS"] = str(timeout_seconds)
    return environment


def _judge(returncode: int, stopped: bool, log_path: Path) -> None:
    if stopped:
        raise TrainingStopped("training was stopped on request; run it again to go on")
    if returncode == EXIT_STOPPED:
        raise TrainingStopped("something else stopped the trainer; run it again to go on")
    if returncode != 0:
        lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        tail = "\n".join(lines[-_LOG_LINES:])
        why = ": the disk is full" if returncode == EXIT_DISK_FULL else ""
        raise RuntimeError(
            f"training failed (exit code {returncode}){why}; {log_path} ends:\n{tail}"
        )


def _out_dir(job_path: Path) -> Path:
    try:
        return Path(json.loads(job_path.read_text(encoding="utf-8"))["out_dir"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{job_path} is not a job file with an out_dir: {error!r}") from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        return _identity_of(path.stat())
    except FileNotFoundError:
        return None


def _identity_of(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _history_bytes(content: bytes) -> int:
    """Where news begin: at the last line saying that the run was resumed, if any does."""
    resumed = content.rfind(b'{"event": "resumed"')
    return max(0, resumed)


def _kill_marked(mark: str) -> None:
    """Until they are gone: a rank that is waited for by nobody may still write to out_dir."""
    until = time.monotonic() + _KILL_SECONDS
    while (left := _marked(mark)) and time.monotonic() < until:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    if left:
        raise RuntimeError(f"processes {left} of the training cannot be killed: look at them")


def _marked(mark: str) -> list[int]:
    """Running processes that were started with the mark, by whomever; Linux only."""
    wanted, found = f"{_MARK}={mark}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone, or somebody else's; one that has ended has no variables
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # gone; macOS says so with the second
        os.killpg(group, number)
