"""Configurations survive JSON, and say what is wrong with them."""

import dataclasses
import json

import pytest

from model import launch
from model.architectures import ModelConfig, model_config, model_preset
from model.example_job import EXAMPLES
from model.job import OBJECTIVES, MixturePhase, TrainJob
from model.options import OptimConfig, optim_preset


@pytest.mark.parametrize("objective", ["pretrain", "sft", "dpo"])
def test_a_job_survives_json(make_job, objective):
    job = make_job(objective)
    assert TrainJob.from_json_dict(json.loads(json.dumps(job.to_json_dict()))) == job


def test_an_unknown_key_is_named_beside_the_known_ones(tiny):
    meant = r"unknown key 'n_layer', did you mean 'n_layers'\?; known: .*n_layers"
    with pytest.raises(ValueError, match=meant):
        ModelConfig.from_json_dict(tiny.to_json_dict() | {"n_layer": 3})


def test_an_unknown_key_deep_in_a_job_is_named(make_job):
    data = make_job("pretrain").to_json_dict()
    data["optim"]["learning_rate"] = 1
    with pytest.raises(ValueError, match="OptimConfig: unknown key 'learning_rate'"):
        TrainJob.from_json_dict(data)


def test_a_missing_key_is_named(tiny):
    data = tiny.to_json_dict()
    del data["width"]
    with pytest.raises(ValueError, match="missing key 'width'"):
        ModelConfig.from_json_dict(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [("steps", "ten"), ("steps", 1.5), ("steps", True), ("objective", "rl"), ("model", 3)],
)
def test_an_ill_typed_value_is_named(make_job, key, value):
    with pytest.raises(ValueError, match=f"TrainJob.{key}"):
        TrainJob.from_json_dict(make_job("pretrain").to_json_dict() | {key: value})


def test_a_whole_number_is_a_float_too():
    assert OptimConfig.from_json_dict({"lr": 1}).lr == 1.0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"width": 30}, "multiple of n_heads"),
        ({"n_kv_heads": 3}, "multiple of n_kv_heads"),
        ({"width": 12}, "even"),
        ({"n_layers": 0}, "n_layers"),
    ],
)
def test_impossible_shapes_are_refused(tiny, replace, changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        replace(tiny, **changes)


def test_a_job_needs_one_start_and_the_data_of_its_objective(make_job, replace):
    pretrain, sft = make_job("pretrain"), make_job("sft")
    with pytest.raises(ValueError, match="exactly one of model and init_from"):
        replace(pretrain, init_from="x")
    with pytest.raises(ValueError, match="needs PretrainData"):
        replace(pretrain, data=sft.data)
    with pytest.raises(ValueError, match="max_seq_len"):
        replace(pretrain, seq_len=1000)


def test_an_unknown_preset_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="known: llama-tiny"):
        model_preset("llama-big", 100, 10)


@pytest.mark.parametrize(
    ("objective", "changes", "complaint"),
    [
        ("pretrain", {"peak_tflops": -1.0}, "peak_tflops must be positive"),
        ("pretrain", {"checkpoint_every_seconds": -3.0}, "checkpoint_every_seconds must be"),
        ("pretrain", {"heartbeat_timeout_seconds": -1.0}, "heartbeat_timeout_seconds must be"),
        ("pretrain", {"whole_words": True}, "whole_words is for mlm"),
        ("dpo", {"z_loss": 1e-4}, "z_loss is for pretrain and sft"),
    ],
)
def test_what_means_nothing_is_refused(make_job, objective, changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        make_job(objective, **changes)


def test_an_ending_or_a_mixture_that_never_begins_is_refused(make_job, replace):
    job = make_job("pretrain", steps=10)
    late = OptimConfig(warmup_steps=2, decay="wsd", wsd_first_decay_step=10)
    with pytest.raises(ValueError, match=r"before the last of 10 steps.*constant"):
        replace(job, optim=late)
    phase = MixturePhase(first_step=10, weights={"web": 1.0})
    with pytest.raises(ValueError, match="begin within the 10 steps"):
        replace(job, data=replace(job.data, phases=[phase]))
    assert replace(job, optim=late, steps=11)


@pytest.mark.parametrize("objective", EXAMPLES)
def test_a_stranger_gets_a_job_to_fill_in(capsys, objective):
    assert set(EXAMPLES) == set(OBJECTIVES)
    with pytest.raises(SystemExit) as ended:
        launch.main(["--example", objective])
    assert ended.value.code == 0
    job = TrainJob.from_json_dict(json.loads(capsys.readouterr().out))
    assert job.objective == objective
    if objective == "pretrain":
        assert job.model == model_preset("modern-demo", 8192, 512)
        assert job.optim.kind == optim_preset("modern-demo").kind == "muon"


def test_a_preset_is_where_its_own_fields_say_nothing():
    named = {"preset": "modern-demo", "vocab_size": 300, "max_seq_len": 64}
    assert model_config(named) == model_preset("modern-demo", 300, 64)
    assert model_config(named | {"n_layers": 2}).n_layers == 2
    optim = OptimConfig.from_json_dict({"preset": "modern-demo", "warmup_steps": 3})
    assert optim == dataclasses.replace(optim_preset("modern-demo"), warmup_steps=3)
    for read in (model_config, OptimConfig.from_json_dict):
        with pytest.raises(ValueError, match="unknown model preset 'modern'; known: llama-tiny"):
            read({"preset": "modern"})
