"""What training averages: the one thing, beside batches, in which objectives differ.

In: a model and a ``TokenBatch``. Out: sums of the loss and of what else is worth a line in the log,
to be divided by ``count`` of the whole optimizer step, over all micro-batches and processes.

Shape suffixes: B rows, P pairs (B = 2P), T positions, D width, N scored positions.
"""

from typing import Protocol

import torch
from torch import Tensor

from model.head_loss import head_loss
from model.language_model import LanguageModel
from model.loader import TokenBatch
from model.objectives import IGNORED, chosen_nll, dpo_loss, next_token_loss, token_logprobs


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


class NextToken:
    """Sft: cross-entropy, averaged over valid tokens."""

    names = ("loss",)

    def __init__(self, z_weight: float = 0.0) -> None:
        """``z_weight``: of the z-loss; see ``head_loss``."""
        self.z_weight = z_weight

    def count(self, batch: TokenBatch) -> int:
        """Valid target tokens."""
        return batch.num_valid()

    def sums(self, model: LanguageModel, batch: TokenBatch) -> dict[str, Tensor]:
        """Summed −log p in nats."""
        hidden, targets = scored_positions(model, batch)
        return {"loss": _loss(model, hidden, targets, self.z_weight)}


class PackedNextToken:
    """Pretraining: cross-entropy over rows of documents, none of which sees another.

    What follows the end of a document is the beginning of one that has nothing to do with it: that
    is not asked for.
    """

    names = ("loss",)

    def __init__(self, document_start: int, z_weight: float = 0.0) -> None:
        """``document_start``: the id that every document begins with; ``z_weight`` as above."""
        self.document_start, self.z_weight = document_start, z_weight

    def count(self, batch: TokenBatch) -> int:
        """Target tokens that are not a document's first."""
        return int((batch.targets_BT != self.document_start).sum())

    def sums(self, model: LanguageModel, batch: TokenBatch) -> dict[str, Tensor]:
        """Summed −log p in nats."""
        documents_BT = (batch.inputs_BT == self.document_start).cumsum(dim=1)
        hidden_BTD = model.hidden(batch.inputs_BT, documents_BT=documents_BT)
        targets_BT = batch.targets_BT.masked_fill(batch.targets_BT == self.document_start, IGNORED)
        return {"loss": _loss(model, hidden_BTD, targets_BT, self.z_weight)}


class MaskedToken:
    """Masked language modelling: cross-entropy, averaged over the hidden tokens."""

    names = ("loss", "accuracy")

    def __init__(self, document_start: int) -> None:
        """``document_start``: the id that every document in a row begins with."""
        self.document_start = document_start

    def count(self, batch: TokenBatch) -> int:
        """Hidden tokens."""
        return batch.num_valid()

    def sums(self, model: LanguageModel, batch: TokenBatch) -> dict[str, Tensor]:
        """Summed −log p in nats, and how many were guessed."""
        documents_BT = (batch.targets_BT == self.document_start).cumsum(dim=1)
        hidden_BTD = model.hidden(batch.inputs_BT, documents_BT=documents_BT)
        targets_N = batch.targets_BT[batch.mask_BT]
        logits_NV = model.head(hidden_BTD[batch.mask_BT])
        total, _ = next_token_loss(logits_NV, targets_N)
        return {"loss": total, "accuracy": (logits_NV.argmax(dim=-1) == targets_N).float().sum()}


class Preference:
    """Dpo against a frozen reference, averaged over pairs; rows as ``PairLoader`` lays them.

    The reference is asked anew at every step, a forward pass a batch: remembering its answers
    would make the bits of a run depend on where it was interrupted.
    """

    names = ("loss", "accuracy", "margin")

    def __init__(self, reference: LanguageModel, beta: float, sft_weight: float) -> None:
        self.reference = reference.eval().requires_grad_(False)
        self.beta, self.sft_weight = beta, sft_weight

    def count(self, batch: TokenBatch) -> int:
        """Pairs."""
        return len(batch.lengths) // 2

    def sums(self, model: LanguageModel, batch: TokenBatch) -> dict[str, Tensor]:
        """Loss, pairs ranked as people did (accuracy), and reward margins."""
        assert batch.mask_BT is not None
        chosen_P, rejected_P = sequence_logprobs(model, batch).view(-1, 2).unbind(1)
        with torch.no_grad():
            ref_chosen_P, ref_rejected_P = (
                sequence_logprobs(self.reference, batch).view(-1, 2).unbind(1)
            )
        losses_P, margins_P = dpo_loss(
            chosen_P, rejected_P, ref_chosen_P, ref_rejected_P, self.beta
        )
        if self.sft_weight:
            num_tokens_P = batch.mask_BT[::2].sum(dim=1)
            losses_P = losses_P + self.sft_weight * chosen_nll(chosen_P, num_tokens_P)
        margins_P = margins_P.detach()
        return {
            "loss": losses_P.sum(),
            "accuracy": (margins_P > 0).float().sum(),
            "margin": margins_P.sum(),
        }


def _loss(model: LanguageModel, hidden: Tensor, targets: Tensor, z_weight: float) -> Tensor:
    return head_loss(
        hidden.reshape(-1, hidden.shape[-1]),
        model.head_weight,
        targets.reshape(-1),
        softcap=model.logit_softcap,
        z_weight=z_weight,
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


def sequence_logprobs(model: LanguageModel, batch: TokenBatch) -> Tensor:
    """(B,) log-probability of each row's masked tokens, all together."""
    assert batch.mask_BT is not None
    hidden_ND, targets_N = scored_positions(model, batch)
    logprobs_N = token_logprobs(model.head(hidden_ND), targets_N)
    row_N = batch.mask_BT.nonzero()[:, 0]
    return logprobs_N.new_zeros(len(batch.lengths)).index_add(0, row_N, logprobs_N)
