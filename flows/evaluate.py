"""The evaluate flow: trained models in, measurements, a comparison and the report out."""

from prefect import flow

from flows import road
from flows.params import Params
from flows.planning import ready_plan
from flows.presets import DEMO
from flows.reporting import publish_report
from flows.runner import MakingRunner
from tasks.common.stage import Machine


@flow(name="evaluate", flow_run_name="evaluate {params.name}", validate_parameters=True)
def evaluate(params: Params = DEMO, machine: Machine = Machine()) -> str:
    """Measure the trained models, compare the aligned one with its parent, draw the report.

    Args:
        params: What to measure; the rest must be that of earlier curate and train runs.
        machine: Where to work; nothing here changes the result.
    """
    plan, run = ready_plan("evaluate", params, machine), MakingRunner(machine)
    scores = road.measure(params, plan.models, run)
    report = road.conclude(params, plan.corpus, plan.models, scores, run)
    return publish_report(params, machine, report)
