"""The end of what a killed run leaves: Prefect's temporary server, which nobody else would stop.

In: a pipe from the run, on standard input. When it closes, however the run has ended, the server
that carries the run's mark in its environment is stopped. A run that ended well has stopped it
itself, and nothing is found. Trainers and workers look after themselves (``PR_SET_PDEATHSIG``).
"""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import psutil

MARK = "BLOOMERY_RUN_MARK"
SERVER = "prefect.server.api.server"
GRACE_SECONDS = 5
_HELD: list["subprocess.Popen[bytes]"] = []  # keeps the pipe open as long as the process lives


def watch_this_process() -> None:
    """Mark this process and its children-to-be, and start the watcher.

    The pipe to it is closed by the end of this process and not before: until then Prefect still
    sends its last log lines to the server, and stops it.
    """
    os.environ[MARK] = uuid.uuid4().hex
    watcher = subprocess.Popen(
        [sys.executable, "-m", "flows.reaper"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[1],
        start_new_session=True,  # a Ctrl-C or a kill of the run's group must not reach it
    )
    _HELD.append(watcher)


def main() -> None:
    """Wait for the run to end, then stop its server if there still is one."""
    sys.stdin.buffer.read()
    servers = [process for process in psutil.process_iter() if _is_ours(process)]
    for server in servers:
        server.terminate()
    for server in psutil.wait_procs(servers, timeout=GRACE_SECONDS)[1]:
        server.kill()


def _is_ours(process: psutil.Process) -> bool:
    try:
        command = " ".join(process.cmdline())
        return SERVER in command and process.environ().get(MARK) == os.environ[MARK]
    except psutil.Error:  # gone, or another user's
        return False


if __name__ == "__main__":
    main()
