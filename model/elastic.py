"""Several processes for one job: torchrun starts them, and starts them again when one dies.

In: a job file, how many ranks, on how many machines. Out: the exit code of ``launch.py``.

A rank that ends of its own accord (finished, asked to stop, a job that is wrong) leaves its exit
code as a verdict and tells torchrun that all is well, since torchrun starts anew whatever fails. So
only a rank that was killed, or has crashed, makes the ranks begin again, where the last checkpoint
is; as many as there are then (``--nnodes MIN:MAX``).
"""

import hashlib
import os
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

_VERDICT = "BLOOMERY_VERDICT_PATH"
EXIT_BROKEN = 1
EXIT_STOPPED = 143


@dataclass(frozen=True, slots=True, kw_only=True)
class RanksWanted:
    """What ``--help`` of ``launch.py`` says of them."""

    num_processes: int = 1
    max_restarts: int = 0
    nnodes: str = "1"
    rdzv_endpoint: str = ""
    rdzv_id: str = "bloomery"

    @property
    def is_one(self) -> bool:
        """Whether the process that is here will do."""
        return self.num_processes == 1 and self.nnodes == "1"


def run_ranks(job: Path, wanted: RanksWanted) -> int:
    """Start the ranks of this machine, stay until they have ended; gives back the exit code."""
    for number in (signal.SIGTERM, signal.SIGINT):  # until torchrun has handlers of its own
        signal.signal(number, _leave)
    if "BLOOMERY_PARENT_PID" in os.environ:  # ours has been looked at; theirs are we
        os.environ["BLOOMERY_PARENT_PID"] = str(os.getpid())
    # A store that outlived its ranks would tell the next ones where the dead can be reached: of
    # torch 2.13, ranks that are started again wait for those for ever.
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    from model.threads import own_cores

    # Else torchrun says 1 to several ranks, which they could not tell from somebody's choice.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, own_cores() // wanted.num_processes)))
    with tempfile.TemporaryDirectory(prefix="bloomery-") as folder:
        verdict = Path(folder) / "verdict"
        os.environ[_VERDICT] = str(verdict)
        try:
            run(parse_args(_torchrun_arguments(job, wanted)))
        except SignalException:
            return EXIT_STOPPED
        except ChildFailedError as error:
            code = _read(verdict)
            if not code:  # else the rank has said why
                print(f"error: {error}", file=sys.stderr)
            return code or EXIT_BROKEN
        return _read(verdict)


def is_rank() -> bool:
    """Whether ``run_ranks`` has started this process."""
    return _VERDICT in os.environ


def earlier_verdict() -> int:
    """The exit code that a rank of this machine has already ended with; 0 if none has."""
    return _read(Path(os.environ[_VERDICT]))


def leave_verdict(code: int) -> int:
    """Tell ``run_ranks`` how this rank has ended; gives back what to tell torchrun."""
    if code:
        path = Path(os.environ[_VERDICT])
        partial = path.with_name(f"{path.name}.{os.getpid()}")
        partial.write_text(str(code))
        partial.replace(path)
    return 0


def is_first_to_say(line: str) -> bool:
    """Whether no other rank of this machine has said it: what is wrong with a job all find out."""
    digest = hashlib.sha256(line.encode()).hexdigest()
    try:
        Path(os.environ[_VERDICT]).with_name(f"said-{digest}").touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # no room for it
        return True
    return True


def _torchrun_arguments(job: Path, wanted: RanksWanted) -> list[str]:
    if wanted.nnodes == "1":
        meeting = ["--standalone"]
    else:
        meeting = [
            f"--nnodes={wanted.nnodes}",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={wanted.rdzv_endpoint}",
            f"--rdzv-id={wanted.rdzv_id}",
        ]
    return [
        *meeting,
        f"--nproc-per-node={wanted.num_processes}",
        f"--max-restarts={wanted.max_restarts}",
        *("-m", "model.launch", str(job)),
    ]


def _read(verdict: Path) -> int:
    with suppress(FileNotFoundError):
        return int(verdict.read_text())
    return 0


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(EXIT_STOPPED)
