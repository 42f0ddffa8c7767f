"""The forms of training: what cannot go together is refused by a plan, and what is off is no
identity."""

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from flows.cli import main
from flows.presets import DEMO
from model.architectures import PRESETS
from model.job import RecordData, TrainJob
from model.options import FinetuneConfig, GuardConfig, OptimConfig, ParallelConfig
from tasks.common import training
from tasks.common.finetune import FinetuneParams
from tasks.common.robustness import RobustnessConfig
from tasks.common.stage import Machine, Stage, materialise
from tasks.common.training_machine import TrainingMachine
from tasks.dpo.config import DpoConfig
from tasks.dpo.stage import STAGE as DPO
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.stage import STAGE as EVALUATE
from tasks.pretrain.config import OptimizerOptions, PretrainConfig
from tasks.pretrain.stage import STAGE as PRETRAIN
from tasks.pretrain.stage import make_optim
from tasks.sft.config import SftConfig
from tasks.sft.stage import STAGE as SFT

ROLLBACK = "robustness.on_spike=rollback"
LSTM = "train.model=lstm-demo"
PROCESSES = "machine.num_training_processes"
TWO = f"{PROCESSES}=2"
REFUSED = [
    (["sft.max_tokens=257"], "sft.max_tokens: 257 exceeds the model's context of 256"),
    (["train.seq_len=128", "sft.max_tokens=128"], "dpo.max_tokens: 256 exceeds"),
    (["train.watch.early_stop_patience=1", f"train.{ROLLBACK}"], "does not go with a rollback"),
    (["sft.watch.early_stop_patience=1", f"sft.{ROLLBACK}"], "does not go with a rollback"),
    (["dpo.watch.early_stop_patience=1", f"dpo.{ROLLBACK}"], "does not go with a rollback"),
    (["train.watch.early_stop_patience=1", "mix.validation_share=0"], "early_stop_patience"),
    (["mix.validation_share=0"], "measures models on held-out text"),
    ([LSTM, "sft.finetune.method=lora"], "works on transformers, and the model is an LSTM"),
    ([LSTM, "dpo.finetune.method=prefix"], "works on transformers, and the model is an LSTM"),
    ([LSTM, "train.optimizer.width_base=64"], "width_base is for transformers"),
    (["evaluate.needle.lengths=[128, 257]"], "needle.lengths: 257 exceeds"),
    (["evaluate.needle.lengths=[-1]"], "evaluate.needle.lengths.0"),
    (["evaluate.needle.depths=[0.5, 1.5]"], "evaluate.needle.depths.1"),
    (["evaluate.needle.depths=[]"], "evaluate.needle.depths"),
    (["train.steps=40"], "warmup_steps = 40 is not below steps = 40"),
    (["sft.warmup_steps=900"], "warmup_steps = 900 is not below"),
    (["dpo.warmup_steps=900"], "warmup_steps = 900 is not below"),
    (["train.decay=wsd", "train.decay_share=0.95"], "begins in the warm-up"),
    (
        ["train.decay=wsd", "mix.phases=[{name: best, share: 0.9}]"],
        "begins to fall with mix.phases, at step 36, before the warm-up ends at 40",
    ),
    (["train.start.positions=yarn"], "start.positions is of a model to train on"),
    (["train.start.warmup_from=0.5"], "start.warmup_from is of a model to train on"),
    (["train.start.folder=/tmp"], "start.folder=/tmp is no checkpoint"),
    (["train.start.folder=/tmp", "tokenizer.kind=bytes"], "tokenizer.kind=bytes does not go with"),
    (["train.start.folder=/tmp", "tokenizer.adopt=x"], "tokenizer.adopt does not go with"),
    (["train.start.folder=/tmp", "train.optimizer.width_base=9"], "one to train on has its own"),
    (["tokenizer.kind=bytes", "tokenizer.adopt=x"], "leave out one of the two"),
    (["machine.training.data=ddpp"], "training.data"),
    (["machine.training.tp=2"], "there is no 'tp'; known here: max_restarts, data"),
    (["machine.training.tensor=2"], "cannot stand in groups"),
    (["machine.training.replicas=2", TWO], "replicas goes with data = fsdp"),
    (["machine.training.compile_scope=blocks"], "compile_scope goes with compile=true"),
    ([LSTM, "machine.training.data=fsdp", TWO], "the model is an LSTM: use ddp"),
    ([LSTM, "machine.training.activation_checkpointing=full"], "LSTM: use none"),
    (["machine.training.tensor=4", f"{PROCESSES}=4"], "must divide the model's n_heads, 6"),
    (["machine.training.tensor=2", TWO, "sft.finetune.method=lora"], "not go with finetune"),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED)
def test_a_plan_refuses_what_would_fail_after_hours(changes, said, tmp_path):
    options = [part for change in changes for part in ("--set", change)]
    store = str(tmp_path / "store")
    done = CliRunner().invoke(main, ["plan", "pipeline", "--store", store, *options])
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ") and said in line


def test_a_plan_takes_what_can_be_done(tmp_path):
    options = ["--set", TWO, "--set", "machine.training.data=fsdp", "--set", "train.steps=41"]
    store = str(tmp_path / "store")
    done = CliRunner().invoke(main, ["plan", "pipeline", "--store", store, *options])
    assert done.exit_code == 0, done.output


def test_a_setting_of_the_machine_is_no_parameter():
    done = CliRunner().invoke(main, ["params", "--set", TWO])
    assert done.exit_code == 2 and "is no parameter" in done.stderr


def ref(stage: Stage, values: dict) -> str:
    config = stage.config.model_validate(values)
    return str(stage.identify(config, {name: [] for name in stage.inputs}).ref())


@pytest.mark.parametrize(
    ("stage", "off"),
    [
        *(
            (stage, {"robustness": {"spike_sigmas": 3, "window_steps": 9, "rollback_batches": 2}})
            for stage in (PRETRAIN, SFT, DPO)
        ),
        *((stage, {"watch": {"early_stop_min_delta": 0.5}}) for stage in (PRETRAIN, SFT, DPO)),
        *((stage, {"precision": "auto"}) for stage in (PRETRAIN, SFT, DPO)),
        (SFT, {"finetune": {"rank": 3}}),
        (PRETRAIN, {"watch": {"sample_tokens": 48}}),
        (PRETRAIN, {"optimizer": {"muon_momentum": 0.5, "adamw_lr_ratio": 3}}),
        (EVALUATE, {"needle": {"depths": [0.5], "questions": 3}}),
    ],
)
def test_what_is_off_makes_no_other_artifact(stage, off):
    assert ref(stage, off) == ref(stage, {})


@pytest.mark.parametrize(
    ("on", "also"),
    [
        ({"robustness": {"on_spike": "skip"}}, {"robustness": {"spike_sigmas": 3}}),
        ({"robustness": {"on_nonfinite": "skip"}}, {"robustness": {"max_skips_in_a_row": 9}}),
        ({"robustness": {"on_nonfinite": "rollback"}}, {"robustness": {"rollback_batches": 9}}),
        ({"robustness": {"ema_decay": 0.9}}, {"robustness": {"ema_decay": 0.99}}),
        ({"watch": {"early_stop_patience": 1}}, {"watch": {"early_stop_min_delta": 1}}),
        ({"optimizer": {"kind": "muon"}}, {"optimizer": {"muon_momentum": 0.5}}),
        ({"precision": "bf16"}, {"precision": "fp32"}),
        ({"model": "llama-tiny"}, {"model": "modern-demo"}),
    ],
)
def test_what_is_on_makes_another_artifact(on, also):
    both = {key: {**on[key], **also[key]} if isinstance(on[key], dict) else also[key] for key in on}
    assert len({ref(PRETRAIN, values) for values in ({}, on, both)}) == 3


def test_what_a_tuned_optimizer_does_not_read_makes_no_other_artifact():
    tuned = {"model": "modern-demo", "optimizer": {"kind": "as-tuned"}}
    assert ref(PRETRAIN, tuned) == ref(PRETRAIN, tuned | {"lr": 0.5, "weight_decay": 0.0})
    assert ref(PRETRAIN, tuned) != ref(PRETRAIN, tuned | {"warmup_steps": 7})


def test_another_shape_of_the_same_name_is_another_artifact(monkeypatch):
    before = ref(PRETRAIN, {})
    monkeypatch.setitem(PRESETS, "llama-demo", PRESETS["llama-demo"] | {"mlp_width": 512})
    assert ref(PRETRAIN, {}) != before


def test_the_forms_defaults_are_the_engines():
    fields = RobustnessConfig().job_fields()
    assert fields == {"ema_decay": None, "guard": GuardConfig()}
    assert FinetuneParams(method="lora").as_job() == FinetuneConfig()
    own, engine = make_optim(PretrainConfig(), None), OptimConfig()
    assert dataclasses.replace(own, lr=engine.lr) == engine
    assert OptimizerOptions().width_base is None
    job = TrainJob(objective="sft", init_from="x", data=RecordData(train="t"), **NO_SIZE)
    assert TrainingMachine().job_fields() == {
        name: getattr(job, name) for name in TrainingMachine().job_fields()
    }
    assert {SftConfig().precision, DpoConfig().precision, job.precision} == {"auto"}
    assert EvaluateConfig().needle.lengths == []


NO_SIZE = {"out_dir": "o", "steps": 1, "seq_len": 8, "batch_size": 1}


def test_the_machines_settings_reach_the_engine(tmp_path, monkeypatch):
    started = {}

    def run_job(path: Path, **options):
        started.update(options, job=json.loads(path.read_text()))
        raise RuntimeError("enough")

    monkeypatch.setattr(training, "run_job", run_job)

    def begin(context, config):
        job = TrainJob(
            objective="sft",
            init_from="x",
            data=RecordData(train="t"),
            sample_prompts=["?"],
            **NO_SIZE,
        )
        return training.train(context, job)

    settings = {
        **{"max_restarts": 3, "data": "fsdp", "replicas": 2, "tensor": 2, "compile": True},
        **{"compile_scope": "blocks", "activation_checkpointing": "full", "attention": "sdpa"},
        **{"checkpoint_every_seconds": 9.0, "threads": 5},
    }
    machine = Machine(
        store=str(tmp_path / "store"),
        num_training_processes=8,
        training=TrainingMachine(**settings),
    )
    stage = Stage("given", 1, SftConfig, (), begin)
    with pytest.raises(RuntimeError, match="enough"):
        materialise(stage, SftConfig(), {}, machine)
    job = TrainJob.from_json_dict(started["job"])
    assert (started["num_processes"], started["max_restarts"]) == (8, 3)
    assert job.parallel == ParallelConfig(data="fsdp", replicas=2, tensor=2)
    told = ("compile", "compile_scope", "activation_checkpointing", "attention", "threads")
    for name in (*told, "checkpoint_every_seconds"):
        assert getattr(job, name) == settings[name]
    assert job.sample_prompts == []  # no process has the whole model


def test_presets_are_valid_when_read_again():
    assert type(DEMO).model_validate(DEMO.model_dump()) == DEMO
    with pytest.raises(ValidationError, match=r"sft\.max_tokens"):
        type(DEMO).model_validate(DEMO.model_dump() | {"sft": {"max_tokens": 999}})
