"""The loop: one result however the work is cut up, the same bits however it is stopped."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.batches import pad_rows
from model.chat import BOS, special_id
from model.checkpoint import load_model
from model.observe import NOT_REPEATABLE
from model.options import OptimConfig
from model.trainer import Trainer, train


def weights(job) -> dict[str, torch.Tensor]:
    return load_file(Path(job.out_dir) / "final" / "model.safetensors")


def events(job, kind=None) -> list[dict]:
    lines = (Path(job.out_dir) / "metrics.jsonl").read_text().splitlines()
    return [e for e in map(json.loads, lines) if kind in (None, e["event"])]


def assert_same_bits(one, other):
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


class StopAfter:
    """Asks to stop when it has been asked so many times."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.mark.parametrize(
    ("objective", "kind"),
    [("pretrain", "adamw"), ("pretrain", "muon"), ("sft", "adamw"), ("dpo", "adamw")],
)
def test_five_and_five_steps_are_ten(make_job, tmp_path, objective, kind):
    optim = OptimConfig(lr=3e-3, warmup_steps=2, kind=kind)
    whole = make_job(objective, out_dir=str(tmp_path / "whole"), optim=optim)
    halves = make_job(objective, out_dir=str(tmp_path / "halves"), optim=optim)
    assert train(whole) == "done"
    assert train(halves, StopAfter(5)) == "stopped"
    assert not (tmp_path / "halves" / "final").exists()
    torch.manual_seed(99)
    assert train(halves) == "done"
    assert_same_bits(whole, halves)
    logs = [
        [
            {k: v for k, v in event.items() if k not in NOT_REPEATABLE}
            for event in events(job)
            if event["event"] in ("start", "step", "eval", "done")
        ]
        for job in (whole, halves)
    ]
    assert logs[0] == logs[1]
    assert [e["step"] for e in events(halves, "resumed")] == [5]


def test_a_finished_job_is_finished_again_at_once(make_job):
    job = make_job("pretrain")
    train(job)
    before, log = weights(job), events(job, "done")
    train(job)
    assert all(torch.equal(before[name], t) for name, t in weights(job).items())
    assert events(job, "done") == log
    assert len(events(job, "step")) == 10


def test_evaluating_and_saving_often_changes_nothing(make_job, tmp_path):
    calm = make_job("pretrain", out_dir=str(tmp_path / "calm"), eval_every_steps=10)
    busy = make_job(
        "pretrain", out_dir=str(tmp_path / "busy"), eval_every_steps=1, checkpoint_every_steps=1
    )
    train(calm), train(busy)
    assert_same_bits(calm, busy)


def unequal_batch(model):
    """Eight rows that count 1, 3, 5 … 15 positions, and two that count none."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(10):
        ids = rng.integers(0, model.config.vocab_size, 20)
        valid = 2 * number + 1 if number < 8 else 0
        rows.append((ids, np.arange(20) >= 20 - valid))
    return pad_rows(rows, pad_id=2, max_width=64)


def gradient(make_job, micro_batch_size):
    job = make_job("sft", micro_batch_size=micro_batch_size, batch_size=10)
    trainer = Trainer(job)
    with torch.no_grad():  # answers of unequal difficulty: else every mean is ln V
        for parameter in trainer.model.parameters():
            parameter.mul_(3)
    means, _ = trainer.accumulate(unequal_batch(trainer.model))
    trainer.close()
    flat = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    return means["loss"].item(), flat


@pytest.mark.parametrize("micro_batch_size", [1, 3, 5])
def test_micro_batches_add_up_to_the_batch(make_job, micro_batch_size):
    loss, whole = gradient(make_job, 10)
    other_loss, parts = gradient(make_job, micro_batch_size)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    assert (parts - whole).norm() <= 1e-5 * whole.norm()


def test_a_batch_with_nothing_to_learn_gives_zero(make_job):
    trainer = Trainer(make_job("sft"))
    rows = [(np.arange(8), np.zeros(8, dtype=bool))] * 4
    means, norm = trainer.accumulate(pad_rows(rows, pad_id=2, max_width=64))
    trainer.close()
    assert (means["loss"].item(), norm.item()) == (0.0, 0.0)


def test_a_loss_that_is_not_finite_stops_training_and_is_not_saved(make_job):
    job = make_job(
        "pretrain",
        steps=50,
        checkpoint_every_steps=1,
        log_every_steps=50,
        optim=OptimConfig(lr=1e18, warmup_steps=0, weight_decay=0.0),
    )
    with pytest.raises(FloatingPointError, match=r"at step \d+ the loss is .*Lower optim.lr"):
        train(job)
    for path in (Path(job.out_dir) / "checkpoints").glob("step-*/model.safetensors"):
        assert all(torch.isfinite(t).all() for t in load_file(path).values())
    assert not (Path(job.out_dir) / "final").exists()


def documents_in(row, start_id):
    """The stretches of a packed row that begin with ``start_id``, and what is before the first."""
    starts = [0, *(at for at, token in enumerate(row) if token == start_id and at > 0), len(row)]
    return [row[a:b] for a, b in pairwise(starts) if b - a > 1]


def test_bits_per_byte_count_the_text_and_not_the_tokens(make_job, tokenizer):
    job = make_job("pretrain", steps=1)
    train(job)
    (evaluated,) = events(job, "eval")
    model, _ = load_model(Path(job.out_dir) / "final")
    trainer = Trainer(job)
    nats, text = 0.0, ""
    for batch in trainer.val_loader.sweep():
        text += "".join(tokenizer.decode(row.tolist()) for row in batch.targets_BT)
        for row in torch.cat([batch.inputs_BT, batch.targets_BT[:, -1:]], dim=1).tolist():
            for ids in map(torch.tensor, documents_in(row, special_id(tokenizer, BOS))):
                logs = model(ids[None, :-1])[0].double().log_softmax(dim=-1)
                nats -= logs.gather(-1, ids[1:, None]).sum().item()
    trainer.close()
    expected = nats / math.log(2) / len(text.encode())
    assert evaluated["val_bits_per_byte"] == pytest.approx(expected, rel=1e-5)


def test_dpo_starts_where_policy_and_reference_agree_and_learns_to_tell_apart(make_job):
    job = make_job("dpo", steps=60, batch_size=8, optim=OptimConfig(lr=3e-3, warmup_steps=0))
    train(job)
    first, *_, last = events(job, "step")
    assert first["loss"] == pytest.approx(math.log(2), rel=1e-5)
    assert first["margin"] == pytest.approx(0, abs=1e-5)
    assert last["loss"] < 0.5
    assert last["accuracy"] > 0.9
    assert events(job, "done")[0]["val_margin"] > 0


def test_the_sft_weight_keeps_the_chosen_answer_likely(make_job, tmp_path):
    """Without it dpo is content to make both answers unlikely."""
    jobs = [
        make_job("dpo", out_dir=str(tmp_path / str(w)), steps=1, dpo_sft_weight=w)
        for w in (0.0, 1.0)
    ]
    for job in jobs:
        train(job)
    plain, with_nll = (events(job, "step")[0]["loss"] for job in jobs)
    # An untrained model says every token with p = 1 / V.
    assert with_nll - plain == pytest.approx(math.log(320), abs=0.2)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"seed": 1}, "trained with seed = 0"),
        ({"steps": 4}, "past the job's 4 steps"),
    ],
)
def test_a_checkpoint_of_another_job_is_refused(make_job, changes, complaint):
    train(make_job("pretrain"), StopAfter(5))
    with pytest.raises(ValueError, match=complaint):
        train(make_job("pretrain", **changes))


def test_foreign_data_are_refused_before_any_step(make_job, tiny, replace):
    with pytest.raises(ValueError, match="vocab"):
        Trainer(make_job("pretrain", model=replace(tiny, vocab_size=300)))
    with pytest.raises(ValueError, match="no tokenizer at"):
        Trainer(make_job("pretrain", tokenizer="/nowhere/tokenizer.json"))
    with pytest.raises(ValueError, match="raise seq_len"):
        Trainer(make_job("sft", seq_len=2))
