"""The guarded child: reads batches of items, applies one function to each, answers each batch.

Started by ``guard`` as ``python -m tasks.extract.page_process PIPE FILE``; never by hand.
"""

import importlib
import resource
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

from tasks.common.fanout import die_with_parent
from tasks.extract.guard import Board, Failure


def serve(connection: Connection, board: Board) -> None:
    """Answer batches until the other end closes."""
    function_name, config, max_memory_bytes = connection.recv()
    module, _, name = function_name.partition(":")
    function = getattr(importlib.import_module(module), name)
    resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.send("ready")
    while True:
        try:
            num_bytes = connection.recv()
        except EOFError:
            return
        try:
            connection.send(_answers(function, board.take(num_bytes), config, board))
        except MemoryError:
            connection.send(Failure("memory", f"more than {max_memory_bytes} bytes"))


def _answers(
    function: Callable[[Any, Any], Any], items: Sequence[Any], config: Any, board: Board
) -> list[Any]:
    answers: list[Any] = []
    for index, item in enumerate(items):
        board.begin(index)
        try:
            answers.append(function(item, config))
        except MemoryError:
            raise
        except Exception as error:  # one page's trouble is that page's reason, not the run's end
            answers.append(Failure("error", f"{type(error).__name__}: {error}"[:500]))
    return answers


if __name__ == "__main__":
    die_with_parent()
    pipe, file = map(int, sys.argv[1:])
    serve(Connection(pipe), Board(file))
