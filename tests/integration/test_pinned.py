"""Classifiers of an earlier run, named in the parameters, take the place of new ones."""

import pytest

from flows.planning import plan_flow
from tasks.classifiers.config import ClassifiersConfig
from tasks.classifiers.stage import STAGE as CLASSIFIERS
from tasks.common.stage import materialise
from tests.integration.small import small_params, write_package
from tests.stages import given


def test_pinned_classifiers_are_used_and_no_others_are_planned(tmp_path, machine):
    write_package(tmp_path)
    inputs = {"documents": [given(machine, [[{"text": "a", "domain": "b"}]])]}
    made, _ = materialise(CLASSIFIERS, ClassifiersConfig(), inputs, machine)
    pinned = small_params(tmp_path, f"classifiers.pinned={made.ref}")
    stages = {s.identity.stage: s.identity for s in plan_flow("curate", pinned, machine).stages}
    assert stages["classify"].inputs["classifiers"] == [str(made.ref)]
    assert "classifiers" not in stages
    trained = plan_flow("curate", small_params(tmp_path), machine).stages
    assert "classifiers" in {stage.identity.stage for stage in trained}


def test_pinned_classifiers_that_are_not_there_are_a_mistake_before_any_work(tmp_path, machine):
    write_package(tmp_path)
    params = small_params(tmp_path, "classifiers.pinned=classifiers/0123456789abcdef")
    with pytest.raises(ValueError, match=r"classifiers/0123456789abcdef is not in the store"):
        plan_flow("curate", params, machine)
