"""The pipeline flow: the whole road, from pages to an aligned model and its report."""

from prefect import flow

from flows import road
from flows.params import Params
from flows.planning import ready_plan
from flows.presets import DEMO
from flows.reporting import publish_report
from flows.runner import MakingRunner
from tasks.common.stage import Machine
from tasks.common.store import Store


@flow(name="pipeline", flow_run_name="pipeline {params.name}", validate_parameters=True)
def pipeline(params: Params = DEMO, machine: Machine = Machine()) -> str:
    """Curate, train and evaluate: from pages to an aligned model and its report.

    What an earlier run has made of the same values is found in the store and not made again.

    Args:
        params: What to make; every value here decides the result.
        machine: Where and with how many workers to make it; nothing here changes the result.
    """
    params = ready_plan("pipeline", params, machine).params
    run, store = MakingRunner(machine), Store(machine.store)
    corpus = road.curate(params, run)
    store.give_name(f"corpus/{params.name}", corpus.mixture)
    models = road.train(params, corpus, run)
    store.give_name(f"model/{params.name}", models.aligned)
    scores = road.measure(params, models, run)
    return publish_report(params, machine, road.conclude(params, corpus, models, scores, run))
