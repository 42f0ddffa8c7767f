"""On a GPU: a refused update changes no bit there either, and averages come back from a disk."""

import json
from pathlib import Path

import torch

from model.options import GuardConfig
from model.trainer import Trainer, train


def state(trainer) -> list[torch.Tensor]:
    moments = trainer.optimizer.state_dict()["state"].values()
    tensors = [*trainer.model.parameters(), *(t for entry in moments for t in entry.values())]
    return [tensor.detach().clone() for tensor in tensors]


def test_a_gradient_that_is_not_finite_is_left_out_on_the_gpu(make_job):
    job = make_job("pretrain", device="cuda", guard=GuardConfig(on_nonfinite="skip"))
    trainer = Trainer(job)
    sums = trainer.criterion.sums

    def sums_with_an_infinity(model, batch):
        found = sums(model, batch)
        return found | {"loss": found["loss"] * float("inf")} if trainer.step == 4 else found

    trainer.criterion.sums = sums_with_an_infinity
    for number in range(8):
        before = state(trainer)
        trainer.train_one_step()
        same = all(map(torch.equal, before, state(trainer)))
        assert same == (number == 4)
    trainer.close()
    lines = (Path(job.out_dir) / "metrics.jsonl").read_text().splitlines()
    skipped = [e for e in map(json.loads, lines) if e["event"] == "skipped"]
    assert [e["step"] for e in skipped] == [5]


def test_averages_are_resumed_on_the_gpu(make_job):
    job = make_job("pretrain", device="cuda", ema_decay=0.9, checkpoint_every_steps=5)
    steps = iter(range(100))
    assert train(job, lambda: next(steps) >= 4) == "stopped"
    trainer = Trainer(job)
    assert trainer.average.num_updates == 5
    averages = list(trainer.average.tensors().values())
    assert all(a.is_cuda and a.dtype == torch.float32 for a in averages)
    assert any(
        not torch.equal(a, p) for a, p in zip(averages, trainer.model.parameters(), strict=True)
    )
    assert trainer.run(lambda: False) == "done"
    trainer.close()
