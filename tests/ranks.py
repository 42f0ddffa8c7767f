"""Several ranks in a test, without the seconds that each would need to import torch.

In: a function and what it is told, a number of ranks. Out: nothing, or an AssertionError with the
traceback of the rank that failed first. The ranks are forked from a server that has imported the
engine, as torchrun would start them; none outlives the call.
"""

import multiprocessing
import os
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 120
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    [
        *("model.trainer", "model.lstm", "model.encoder", "torch.distributed.fsdp"),
        *(f"model.objectives.{name}" for name in ("pretrain", "mlm", "sft", "dpo")),
        "torch._dynamo",  # sharding imports it, for as long as all the rest takes
    ]
)


def run_ranks(
    num_ranks: int,
    work: Callable[..., None],
    *told: Any,
    folder: Path,
    seconds: float = SECONDS,
    may_fail: bool = False,
) -> list[int | None]:
    """Call ``work(*told)`` on every rank; gives back their exit codes."""
    port = _free_port()
    ranks = [
        _server.Process(target=_rank, args=(rank, num_ranks, port, str(folder), work, told))
        for rank in range(num_ranks)
    ]
    deadline = time.monotonic() + seconds
    try:
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(max(0.0, deadline - time.monotonic()))
        codes = [process.exitcode for process in ranks]
    finally:
        for process in ranks:
            if process.is_alive():
                process.kill()
            process.join()
    errors = [path.read_text() for path in sorted(folder.glob("rank-*.error"))]
    assert may_fail or codes == [0] * num_ranks, (codes, *errors)
    return codes


def _rank(
    rank: int, num_ranks: int, port: int, folder: str, work: Callable[..., None], told: Any
) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    try:
        work(*told)
    except BaseException:
        Path(folder, f"rank-{rank}.error").write_text(traceback.format_exc())
        raise


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
