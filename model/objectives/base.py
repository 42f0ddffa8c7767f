"""What an objective is: batches, and what training averages over them.

A new one is a file here with an ``OBJECTIVE`` in it, and a line in ``job.OBJECTIVES``.

Shape suffixes: B rows, T positions, D width, N scored positions.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor

from model.batches import Loader, TokenBatch
from model.head_loss import head_loss
from model.job import TrainJob
from model.language_model import LanguageModel


class Criterion(Protocol):
    """An objective as the loop sees it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The keys of ``sums``."""
        ...

    def count(self, batch: TokenBatch) -> int:
        """How many things the loss is averaged over."""
        ...

    def sums(self, model: LanguageModel, batch: TokenBatch) -> dict[str, Tensor]:
        """Scalars summed over those things; ``"loss"`` is the one to differentiate."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """One way of training, as the trainer uses it."""

    make_loaders: Callable[[TrainJob, Tokenizer], tuple[Loader, Loader | None]]
    """The training data, and the held-out data if the job has any."""
    make_criterion: Callable[[TrainJob, Tokenizer, torch.device], Criterion]
    adapt_model: Callable[[TrainJob, LanguageModel], LanguageModel] = lambda job, model: model
    """The model to train, made of the one that the job names."""
    architectures: tuple[str, ...] = ("decoder", "lstm")
    """Those that it trains."""
    in_bytes: bool = False
    """Whether the loss is also told in bits per byte, which compares different vocabularies."""


def objective_named(name: str) -> Objective:
    """The ``OBJECTIVE`` of the file of that name."""
    found: Objective = importlib.import_module(f"model.objectives.{name}").OBJECTIVE
    return found


def add_into(totals: dict[str, Tensor], sums: dict[str, Tensor], count: int, weight: float) -> None:
    """Add a micro-batch's sums, divided by ``count``."""
    for name, value in sums.items():
        totals[name] = totals[name] + value.detach() / count * weight


def summed_loss(model: LanguageModel, hidden: Tensor, targets: Tensor, z_weight: float) -> Tensor:
    """Cross-entropy of hidden states (…, D) against targets (…), summed, in nats."""
    return head_loss(
        hidden.reshape(-1, hidden.shape[-1]),
        model.head_weight,
        targets.reshape(-1),
        softcap=model.logit_softcap,
        z_weight=z_weight,
        compiled=model.is_compiled,
    )


def scored_positions(
    model: LanguageModel, batch: TokenBatch, documents_BT: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Hidden states and targets of the positions that the mask counts: (N, D) and (N,), or
    (B, T, D) and (B, T) without a mask. The head then works on those alone."""
    hidden_BTD = model.hidden(batch.inputs_BT, documents_BT=documents_BT)
    if batch.mask_BT is None:
        return hidden_BTD, batch.targets_BT
    return hidden_BTD[batch.mask_BT], batch.targets_BT[batch.mask_BT]
