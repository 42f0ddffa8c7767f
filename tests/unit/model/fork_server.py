"""Trainers by the dozen: a process that has imported torch, and forks one for each job file it is
told. What is forked is ``python -m model.launch`` from after its imports; a kill of it is a kill.

In: a path a line. Out: the process id, and when it has ended, the exit code as a shell counts.
"""

import os
import sys

import torch
import torch._dynamo  # which the first optimizer imports

import model.trainer  # noqa: F401  what takes seconds
from model import launch

torch.set_num_threads(1)


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.environ["BLOOMERY_PARENT_PID"] = str(os.getppid())
            os._exit(launch.main([line.strip()]))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


main()
