"""The plan names what a run would make, and why, before anything exists."""

from pydantic import BaseModel, ConfigDict

from tasks.common.plan import Planner
from tasks.common.stage import Outcome, Stage, materialise


class Threshold(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    min_words: int = 50


def _touch(context, config):
    (context.path / "out").write_text(str(config))
    return Outcome()


FIRST = Stage("first", 1, Threshold, (), _touch)
SECOND = Stage("second", 1, Threshold, ("documents",), _touch)


def _road(run, first, second):
    ref = run(FIRST, first, {}, "first")
    return run(SECOND, second, {"documents": [ref]}, "second")


def _plan(store, first=Threshold(), second=Threshold()):
    planner = Planner(store)
    _road(planner, first, second)
    return [(stage.cached, stage.why) for stage in planner.stages]


def _make(machine, first=Threshold(), second=Threshold()):
    return _road(
        lambda stage, config, inputs, label: materialise(stage, config, inputs, machine)[0].ref,
        first,
        second,
    )


def test_an_empty_store_makes_everything(store):
    assert _plan(store) == [(False, "never made"), (False, "never made")]


def test_the_plan_names_what_the_run_makes(machine, store):
    planner = Planner(store)
    assert _road(planner, Threshold(), Threshold()) == _make(machine)


def test_a_changed_value_reruns_exactly_what_depends_on_it(machine, store):
    _make(machine)
    assert _plan(store) == [(True, ""), (True, "")]
    assert _plan(store, second=Threshold(min_words=40)) == [
        (True, ""),
        (False, "min_words 50 → 40"),
    ]
    assert _plan(store, first=Threshold(min_words=40)) == [
        (False, "min_words 50 → 40"),
        (False, "new documents"),
    ]


def test_going_back_to_an_old_value_is_a_hit(machine, store):
    _make(machine)
    _make(machine, second=Threshold(min_words=40))
    assert _plan(store) == [(True, ""), (True, "")]


def test_a_deleted_artifact_is_planned_again(machine, store):
    ref = _make(machine)
    store.delete(ref)
    assert _plan(store) == [(True, ""), (False, "never made")]
