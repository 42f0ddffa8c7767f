"""Of every objective: a (micro-)batch in which nothing is asked has loss 0 and gradient 0."""

import dataclasses

import pytest
import torch

from model.architectures import EncoderConfig
from model.trainer import Trainer

ENCODER = EncoderConfig(
    vocab_size=320, width=16, n_layers=1, n_heads=2, max_seq_len=64, mlp_width=32
)
CASES = {
    "pretrain": ("pretrain", {}),
    "pretrain-unmasked": ("pretrain", {"document_mask": False}),
    "mlm": ("mlm", {"model": ENCODER}),
    "sft": ("sft", {}),
    "sft-z-loss": ("sft", {"z_loss": 1e-3}),
}


def emptied(batch, trainer):
    """The same rows, with nothing asked of them."""
    if batch.mask_BT is None:  # pretraining asks for all but first tokens of documents
        start = getattr(trainer.criterion, "document_start", 0)
        mask = None
        if not hasattr(trainer.criterion, "document_start"):
            mask = torch.zeros_like(batch.targets_BT, dtype=torch.bool)
        return dataclasses.replace(
            batch, targets_BT=torch.full_like(batch.targets_BT, start), mask_BT=mask
        )
    return dataclasses.replace(batch, mask_BT=torch.zeros_like(batch.mask_BT))


def gradient(trainer) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("case", CASES)
def test_an_empty_batch_gives_zero(make_job, case):
    objective, fields = CASES[case]
    trainer = Trainer(make_job(objective, **fields))
    means, norm = trainer.accumulate(emptied(trainer.loader.next_batch(), trainer))
    trainer.close()
    assert (means["loss"].item(), norm.item()) == (0.0, 0.0)
    assert (gradient(trainer) == 0).all()


@pytest.mark.parametrize("case", CASES)
def test_an_empty_micro_batch_adds_nothing(make_job, case):
    objective, fields = CASES[case]
    results = []
    for rows in (4, 8):  # the rows with something asked; and as many again without
        trainer = Trainer(make_job(objective, micro_batch_size=2, batch_size=4, **fields))
        batch = trainer.loader.next_batch()
        empty = emptied(batch, trainer)
        if rows == 8:
            if batch.mask_BT is None and empty.mask_BT is not None:
                batch = dataclasses.replace(batch, mask_BT=torch.ones_like(empty.mask_BT))
            joined = {
                name: torch.cat([getattr(batch, name), getattr(empty, name)])
                for name in ("inputs_BT", "targets_BT", "mask_BT")
                if getattr(batch, name) is not None
            }
            batch = dataclasses.replace(batch, **joined, lengths=batch.lengths * 2)
        means, norm = trainer.accumulate(batch)
        trainer.close()
        results.append((means["loss"].item(), norm.item(), gradient(trainer)))
    (loss, norm, own), (other_loss, other_norm, other) = results
    assert other_loss == pytest.approx(loss, rel=1e-6)
    assert other_norm == pytest.approx(norm, rel=1e-5)
    assert (own - other).norm() <= 1e-5 * own.norm()


def test_pairs_without_an_answer_are_indifferent(make_job):
    """Dpo asks of a pair which is better: of two empty answers neither, at ln 2 and no gradient."""
    trainer = Trainer(make_job("dpo", dpo_sft_weight=0.5))
    means, norm = trainer.accumulate(emptied(trainer.loader.next_batch(), trainer))
    trainer.close()
    assert means["loss"].item() == pytest.approx(0.693147, abs=1e-6)
    assert norm.item() == 0.0
    assert torch.isfinite(gradient(trainer)).all()
