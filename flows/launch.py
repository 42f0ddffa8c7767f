"""Running a flow in this very process, as a command does.

In: a flow's name, parameters, a machine. Out: what the flow returns. Prefect must have been
configured before.
"""

import importlib
import logging

from flows import reaper
from flows.params import Params
from tasks.common.stage import Machine


def run_here(flow: str, params: Params, machine: Machine) -> str:
    """Run ``flow`` to its end; a temporary server it starts goes when this process does."""
    name = flow.replace("-", "_")
    function = getattr(importlib.import_module(f"flows.{name}"), name)
    for logger in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(logger).addFilter(_without_users_tracebacks)
    reaper.watch_this_process()
    return str(function(params, machine))


def _without_users_tracebacks(record: logging.LogRecord) -> bool:
    """A mistake that a user can mend needs its one line, not the way it took through our code."""
    if record.exc_info and isinstance(record.exc_info[1], ValueError):
        record.exc_info = None
    return True
