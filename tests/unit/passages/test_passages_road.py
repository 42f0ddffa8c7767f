"""Where the stage stands on the road: between dedup and classify, and only when a rule is on."""

from flows.params import Params, parse_model, with_changes
from flows.planning import plan_flow
from flows.presets import DEMO
from tasks.common.plan import PlannedStage
from tasks.common.stage import Machine


def planned(machine: Machine, *changes: str) -> dict[str, PlannedStage]:
    values = with_changes(DEMO.model_dump(mode="json"), changes)
    stages = plan_flow("pipeline", parse_model(Params, values), machine).stages
    return {stage.identity.stage: stage for stage in stages}


def test_the_stage_is_walked_when_a_rule_is_on(machine):
    without, with_rule = planned(machine), planned(machine, "passages.substrings.on=true")
    assert "passages" not in without
    stage = with_rule["passages"]
    assert stage.identity.inputs == {"documents": [str(with_rule["dedup"].ref)]}
    for after in ("classifiers", "classify"):
        assert with_rule[after].identity.inputs["documents"] == [str(stage.ref)]
    assert str(stage.ref) in with_rule["report"].identity.inputs["data"]


def test_a_threshold_of_a_rule_that_is_off_changes_no_address_after_it(machine):
    changed = planned(machine, "passages.substrings.num_words=60")
    assert changed["mix"].ref == planned(machine)["mix"].ref
