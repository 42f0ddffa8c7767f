"""What a model makes of held-out data.

In: a trainer between two steps. Out: means; nothing of the trainer is moved.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from model.batches import Loader, TokenBatch
from model.chat import token_byte_lengths
from model.job import TrainJob
from model.objectives.base import add_into, objective_named

if TYPE_CHECKING:
    from model.trainer import Trainer


@torch.no_grad()
def evaluate(trainer: "Trainer") -> dict[str, Any]:
    """Means over the held-out batches, always the same ones, and over as many of the groups'
    together; trains nothing, moves nothing."""
    if trainer.val_loader is None:
        return {}
    found: dict[str, Any] = _measure(trainer, trainer.val_loader, trainer.job.eval_batches)
    parts: dict[str, Loader] = getattr(trainer.val_loader, "parts", {})
    if parts:
        each = trainer.job.eval_batches and max(1, trainer.job.eval_batches // len(parts))
        name = "val_bits_per_byte" if "val_bits_per_byte" in found else "val_loss"
        own = {group: _measure(trainer, part, each) for group, part in parts.items()}
        found[f"{name}_by_group"] = {group: means[name] for group, means in own.items()}
    return found


def _measure(trainer: "Trainer", loader: Loader, max_batches: int | None) -> dict[str, float]:
    totals, count, num_bytes = trainer.zeros(), 0, 0
    trainer.model.eval()
    for batch in loader.sweep(max_batches):
        count += trainer.criterion.count(batch)
        for micro, weight in trainer.micro_batches(batch):
            micro = trainer.compute.fit(micro).to(trainer.device)
            with trainer.compute.autocast():
                add_into(totals, trainer.parallel.sums(micro), 1, weight)
            num_bytes += _target_bytes(trainer, micro) if weight else 0
    trainer.parallel.come_apart()
    trainer.model.train()
    totals["bytes"] = torch.tensor(float(num_bytes), device=trainer.device, dtype=torch.float64)
    trainer.ranks.add(totals.values(), "replica", "shard")
    return _val_metrics({name: float(value) for name, value in totals.items()}, count)


def _target_bytes(trainer: "Trainer", batch: TokenBatch) -> int:
    """Bytes of text that the batch's targets stand for."""
    if trainer.byte_lengths_V is None:
        return 0
    return int(trainer.byte_lengths_V[batch.targets_BT].sum())


def byte_lengths(job: TrainJob, tokenizer: Tokenizer, device: torch.device) -> Tensor | None:
    """Of every token of the vocabulary, where the loss is also told in bits per byte."""
    if not objective_named(job.objective).in_bytes:
        return None
    return torch.from_numpy(token_byte_lengths(tokenizer)).to(device)


def _val_metrics(totals: dict[str, float], count: int) -> dict[str, float]:
    num_bytes = totals.pop("bytes")
    means = {f"val_{name}": total / max(1, count) for name, total in totals.items()}
    if num_bytes:
        means["val_bits_per_byte"] = totals["loss"] / math.log(2) / num_bytes
    return means
