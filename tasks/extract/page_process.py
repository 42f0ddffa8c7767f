"""The guarded child: reads items from a pipe, applies one function, answers each.

Started by ``guard`` as ``python -m tasks.extract.page_process FD``; never by hand.
"""

import importlib
import resource
import sys
from multiprocessing.connection import Connection

from tasks.common.fanout import die_with_parent
from tasks.extract.guard import Failure


def serve(connection: Connection) -> None:
    """Answer items until the other end closes."""
    function_name, config, max_memory_bytes = connection.recv()
    module, _, name = function_name.partition(":")
    function = getattr(importlib.import_module(module), name)
    resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.send("ready")
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        try:
            connection.send(function(item, config))
        except MemoryError:
            connection.send(Failure("memory", f"more than {max_memory_bytes} bytes"))
        except Exception as error:  # one page's trouble is that page's reason, not the run's end
            connection.send(Failure("error", f"{type(error).__name__}: {error}"[:500]))


if __name__ == "__main__":
    die_with_parent()
    serve(Connection(int(sys.argv[1])))
