"""A run goes on as the run that it was, or not at all: what shaped its weights is the same."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.checkpoint import export_model
from model.decoder import Decoder
from model.job import MixturePhase
from model.options import ContextConfig, FinetuneConfig, GuardConfig, OptimConfig
from model.trainer import Trainer, train

EARLY = {"steps": 4, "eval_every_steps": 100}


def refused(job, complaint):
    with pytest.raises(ValueError, match=complaint):
        train(job)


@pytest.mark.parametrize(
    ("field", "value"), [("n_heads", 2), ("rope_theta", 5e5), ("norm_eps", 1e-3)]
)
def test_another_model_is_refused_though_its_weights_would_fit(make_job, replace, field, value):
    job = make_job("pretrain", **EARLY)
    train(job)
    refused(replace(job, model=replace(job.model, **{field: value})), rf"with model\.{field} = ")


@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_another_start_is_refused_and_the_same_elsewhere_is_not(
    make_job, replace, tmp_path, tiny, tokenizer_path, base_model, objective
):
    finetune = FinetuneConfig(rank=2) if objective == "sft" else None
    job = make_job(objective, finetune=finetune, **EARLY)
    train(job)
    torch.manual_seed(8)
    other = export_model(tmp_path / "other", Decoder(tiny), tokenizer_path)
    refused(replace(job, init_from=str(other)), "with init_from = ")
    moved = shutil.copytree(base_model, tmp_path / "moved")
    assert train(replace(job, init_from=str(moved), steps=6)) == "done"


def test_another_mixture_is_refused_unless_it_has_not_begun(make_job, replace):
    job = make_job("pretrain", **EARLY)
    train(job)
    weights = {"web": 0.5, "code": 0.5}
    refused(replace(job, data=replace(job.data, weights=weights)), "with mixture = ")
    for first_step in (3, 4):
        late = replace(job.data, phases=[MixturePhase(first_step=first_step, weights=weights)])
        longer = replace(job, data=late, steps=6)
        if first_step < 4:
            refused(longer, "with mixture = ")
        else:
            assert train(longer) == "done"


@pytest.mark.parametrize(
    ("objective", "changes", "complaint"),
    [
        ("pretrain", {"optim": OptimConfig(kind="muon")}, "with optim = "),
        ("sft", {"finetune": FinetuneConfig(rank=2)}, "with finetune = "),
    ],
)
def test_it_is_asked_before_tensors_are_read(
    make_job, replace, monkeypatch, objective, changes, complaint
):
    job = make_job(objective, **EARLY)
    train(job)
    monkeypatch.setattr("model.trainer.load_checkpoint", None)
    refused(replace(job, **changes), complaint)


def test_steps_paths_and_the_guard_may_change(make_job, replace, tmp_path):
    job = make_job("pretrain", **EARLY)
    train(job)
    moved = Path(shutil.move(job.out_dir, tmp_path / "moved"))
    longer = replace(job, out_dir=str(moved), steps=6, guard=GuardConfig(on_spike="skip"))
    assert train(longer) == "done"
    assert load_file(moved / "final" / "model.safetensors")


def test_the_reference_reads_as_far_as_the_policy(make_job):
    job = make_job("dpo", context=ContextConfig(max_seq_len=128), seq_len=128)
    trainer = Trainer(job)
    trainer.close()
    assert trainer.criterion.reference.config == trainer.model.config
    assert trainer.model.config.max_seq_len == 128


def test_a_branch_off_nowhere_is_told_so(make_job, tmp_path):
    job = dataclasses.replace(make_job("pretrain"), branch_from=str(tmp_path / "nowhere"))
    refused(job, "there is no checkpoint .*nowhere")


def test_a_checkpoint_is_hashed_once(make_job, replace, monkeypatch):
    from model import checkpoint

    job = make_job("pretrain", **EARLY)
    train(job)
    looked = []
    find_damage = checkpoint.find_damage
    monkeypatch.setattr(
        checkpoint, "find_damage", lambda path: looked.append(path) or find_damage(path)
    )
    Trainer(replace(job, steps=6)).close()
    assert len(looked) == 1
