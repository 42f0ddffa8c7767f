"""The average is torch's, is in the checkpoint, and is what is exported."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.checkpoint import load_model
from model.decoder import Decoder
from model.moving_average import MovingAverage
from model.optim import make_optimizer
from model.options import FinetuneConfig, OptimConfig
from model.trainer import Trainer, train


def weights(job, folder="final") -> dict[str, torch.Tensor]:
    return load_file(Path(job.out_dir) / folder / "model.safetensors")


def last(job, kind) -> dict:
    lines = (Path(job.out_dir) / "metrics.jsonl").read_text().splitlines()
    return [e for e in map(json.loads, lines) if e["event"] == kind][-1]


@pytest.mark.parametrize("decay", [0.15, 0.9, 0.999])
def test_the_average_is_torchs(tiny, decay):
    torch.manual_seed(0)
    model = Decoder(tiny)
    optimizer = make_optimizer(model, OptimConfig(lr=1e-2))
    ours = MovingAverage(model, decay)
    theirs = AveragedModel(model)
    theirs.update_parameters(model)  # the first call copies: both begin with the first weights
    for n in range(1, 30):
        model(torch.randint(tiny.vocab_size, (2, 8))).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        ours.update()
        theirs.multi_avg_fn = get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))
        theirs.update_parameters(model)
    averages = ours.tensors()
    for name, parameter in theirs.module.named_parameters():
        torch.testing.assert_close(averages[name], parameter.detach(), rtol=1e-6, atol=1e-7)


def test_standing_in_gives_every_bit_back(tiny):
    model = Decoder(tiny)
    average = MovingAverage(model, 0.5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(ZeroDivisionError), average.in_place():
        assert all(
            torch.equal(p, a)
            for p, a in zip(model.parameters(), average.tensors().values(), strict=True)
        )
        1 / 0  # noqa: B018
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("finetune", [None, FinetuneConfig(rank=2)])
def test_the_average_is_exported_and_evaluated_and_changes_no_training(
    make_job, tmp_path, finetune
):
    fields = {"checkpoint_every_steps": 10, "finetune": finetune}
    plain = make_job("sft", out_dir=str(tmp_path / "plain"), **fields)
    averaged = make_job("sft", out_dir=str(tmp_path / "ema"), ema_decay=0.8, **fields)
    train(plain), train(averaged)
    step = "checkpoints/step-00000010"
    assert all(torch.equal(t, weights(averaged, step)[n]) for n, t in weights(plain, step).items())
    one, other = weights(plain), weights(averaged)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    # What was measured is what was exported.
    trainer = Trainer(make_job("sft", out_dir=str(tmp_path / "again")))
    trainer.model.load_state_dict(load_model(tmp_path / "ema" / "final")[0].state_dict())
    measured = trainer.evaluate()["val_loss"]
    trainer.close()
    done = last(averaged, "done")
    assert done["val_ema_loss"] == pytest.approx(measured, rel=1e-6)
    assert done["val_loss"] == last(plain, "done")["val_loss"]
    assert not math.isclose(done["val_loss"], measured, rel_tol=1e-6)


def test_only_what_is_trained_is_averaged(make_job):
    trainer = Trainer(make_job("sft", finetune=FinetuneConfig(rank=2), ema_decay=0.9))
    trained = {n for n, p in trainer.model.named_parameters() if p.requires_grad}
    trainer.close()
    assert set(trainer.average.tensors()) == trained
    assert 0 < len(trained) < len(list(trainer.model.parameters()))


def test_another_decay_is_another_job(make_job):
    train(make_job("pretrain", ema_decay=0.9, checkpoint_every_steps=5))
    with pytest.raises(ValueError, match=r"ema_decay = 0\.9"):
        train(make_job("pretrain", ema_decay=0.8))
    with pytest.raises(ValueError, match="ema_decay must be in"):
        make_job("pretrain", ema_decay=1.0)
