"""The mixture search flow: pages in, the weights of a better mixture out."""

from prefect import flow

from flows import road
from flows.params import Params
from flows.planning import ready_plan
from flows.presets import DEMO
from flows.runner import MakingRunner
from tasks.common.stage import Machine
from tasks.common.store import Store


@flow(name="mixture-search", flow_run_name="mixture-search {params.name}", validate_parameters=True)
def mixture_search(params: Params = DEMO, machine: Machine = Machine()) -> str:
    """Find the weights of the sources' groups by many tiny training runs.

    Args:
        params: What to make; `regmix` says how to search, and for the loss of which groups.
        machine: Where and with how many workers to make it; nothing here changes the result.
    """
    params = ready_plan("mixture-search", params, machine).params
    run = MakingRunner(machine)
    shards = road.encode(params, road.curate(params, run), run)
    found = road.search(params, shards, run)
    Store(machine.store).give_name(f"mixture/{params.name}", found)
    return str(found)
