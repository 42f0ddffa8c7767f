"""What a flow would do, stage by stage, without doing it."""

from flows import road
from flows.params import Params
from flows.runner import PlanningRunner
from tasks.common.plan import PlannedStage
from tasks.common.stage import Machine


def plan_flow(flow: str, params: Params, machine: Machine) -> list[PlannedStage]:
    """Walk a flow's part of the road with a pencil.

    Raises:
        ValueError: a parameter that only the outside world can refute, such as a missing path.
    """
    run = PlanningRunner(machine)
    corpus = road.curate(params, run)
    end_of_curate = len(run.planner.stages)
    if flow == "curate":
        return run.planner.stages
    models = road.train(params, corpus, run)
    end_of_train = len(run.planner.stages)
    road.conclude(params, corpus, models, road.measure(params, models, run), run)
    parts = {
        "pipeline": slice(None),
        "train": slice(end_of_curate, end_of_train),
        "evaluate": slice(end_of_train, None),
    }
    return run.planner.stages[parts[flow]]
