"""The optimizer that the form chooses is the one that trains."""

import dataclasses

import pytest
from pydantic import ValidationError

from model.options import optim_preset
from tasks.pretrain.config import OptimizerOptions, PretrainConfig
from tasks.pretrain.stage import make_optim

AS_TUNED = OptimizerOptions(kind="as-tuned", clip_norm=0.5)


def test_as_tuned_is_what_the_model_was_tuned_with():
    config = PretrainConfig(model="modern-small", optimizer=AS_TUNED, lr=0.5, warmup_steps=7)
    tuned = dataclasses.replace(optim_preset("modern-small"), warmup_steps=7, clip_norm=0.5)
    assert make_optim(config, None) == tuned
    assert tuned.kind == "muon"


@pytest.mark.parametrize(
    "others", [{"model": "llama-demo"}, {"start": {"folder": "some"}}, {"decay": "wsd"}]
)
def test_as_tuned_is_refused_where_nothing_was_tuned(others):
    with pytest.raises(ValidationError, match="as-tuned"):
        PretrainConfig.model_validate({"model": "modern-demo", "optimizer": AS_TUNED, **others})
