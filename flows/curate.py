"""The curate flow: pages in, a weighted mixture of clean documents out."""

from prefect import flow

from flows import road
from flows.params import Params
from flows.planning import ready_plan
from flows.presets import DEMO
from flows.runner import MakingRunner
from tasks.common.stage import Machine
from tasks.common.store import Store


@flow(name="curate", flow_run_name="curate {params.name}", validate_parameters=True)
def curate(params: Params = DEMO, machine: Machine = Machine()) -> str:
    """Crawl, extract, filter, deduplicate, classify and mix the sources into a corpus.

    Args:
        params: What to make; every value here decides the result.
        machine: Where and with how many workers to make it; nothing here changes the result.
    """
    params = ready_plan("curate", params, machine).params
    corpus = road.curate(params, MakingRunner(machine))
    Store(machine.store).give_name(f"corpus/{params.name}", corpus.mixture)
    return str(corpus.mixture)
