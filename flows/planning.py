"""What a flow would do, stage by stage, without doing it, and whether it can begin."""

from datetime import UTC, datetime
from typing import NamedTuple

from flows import road
from flows.params import Params
from flows.runner import PlanningRunner
from tasks.common.plan import PlannedStage
from tasks.common.stage import Machine

# What a flow that begins in the middle of the road builds on, and the flow that makes it.
NEEDS = {
    "train": ({"classify", "mix"}, "curate"),
    "evaluate": ({"tokens", "instruct", "pretrain", "sft", "dpo"}, "train"),
}


class Plan(NamedTuple):
    """A road walked with a pencil: the stages a flow runs, those before them, and where it ends."""

    params: Params
    before: list[PlannedStage]
    stages: list[PlannedStage]
    corpus: road.Corpus
    models: road.Models


def plan_flow(flow: str, params: Params, machine: Machine) -> Plan:
    """Name everything that a flow would make.

    Raises:
        ValueError: a parameter that only the outside world can refute, such as a missing path.
    """
    params = params.dated(datetime.now(UTC).date())
    run = PlanningRunner(machine)
    planned = run.planner.stages
    corpus = road.curate(params, run)
    end_of_curate = len(planned)
    models = road.train(params, corpus, run)
    end_of_train = len(planned)
    road.conclude(params, corpus, models, road.measure(params, models, run), run)
    begin, end = {
        "pipeline": (0, len(planned)),
        "curate": (0, end_of_curate),
        "train": (end_of_curate, end_of_train),
        "evaluate": (end_of_train, len(planned)),
    }[flow]
    return Plan(params, planned[:begin], planned[begin:end], corpus, models)


def ready_plan(flow: str, params: Params, machine: Machine) -> Plan:
    """Plan a flow and see that what it builds on has been made.

    Raises:
        ValueError: something has not; the message names it and the remedy.
    """
    plan = plan_flow(flow, params, machine)
    needed, maker = NEEDS.get(flow, (set(), ""))
    missing = [s for s in plan.before if s.identity.stage in needed and not s.cached]
    if missing:
        names = ", ".join(str(stage.ref) for stage in missing)
        raise ValueError(
            f"{flow} builds on {names}, which the store {machine.store} does not have: "
            f"run `bloomery run {maker}` with the same parameters first"
        )
    return plan
