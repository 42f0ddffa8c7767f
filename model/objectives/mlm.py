"""Masked language modelling: the tokens that were hidden, from both sides.

In: token shards. Out: batches with tokens hidden as ``masking.py`` does, and the cross-entropy over
those.

Shape suffixes: B rows, T positions, D width, N hidden positions, V vocabulary.
"""

import functools
from collections.abc import Iterator
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from model.batches import Loader, TokenBatch, mix
from model.chat import BOS, special_id
from model.job import TrainJob
from model.language_model import LanguageModel
from model.losses import next_token_loss
from model.masking import MaskingRules, hide_tokens
from model.objectives.base import Objective
from model.packed_loader import PackedLoader, make_packed_loaders


class MaskedLoader(PackedLoader):
    """The same windows with some tokens hidden, by a draw that is a function of seed and place."""

    def __init__(self, *args: Any, rules: MaskingRules, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rules = rules

    def next_batch(self) -> TokenBatch:
        """(B, T) inputs, the tokens they were, and a mask of those to guess."""
        num_taken = sum(self.counts.values())
        return self._hide(super().next_batch(), mix(self.seed, num_taken))

    def sweep(self, max_batches: int | None = None) -> Iterator[TokenBatch]:
        """As the base class; each batch always with the same tokens hidden."""
        for number, batch in enumerate(super().sweep(max_batches)):
            yield self._hide(batch, mix(0, number))

    def _hide(self, batch: TokenBatch, key: int) -> TokenBatch:
        generator = torch.Generator().manual_seed(key >> 1)  # seeds are signed
        shown_BT, is_hidden_BT = hide_tokens(batch.inputs_BT, self.rules, generator)
        return TokenBatch(shown_BT, batch.inputs_BT, is_hidden_BT, batch.lengths, batch.origins)


class MaskedToken:
    """Cross-entropy, averaged over the hidden tokens."""

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


def _loaders(job: TrainJob, tokenizer: Tokenizer) -> tuple[Loader, Loader | None]:
    rules = MaskingRules.of(tokenizer, whole_words=job.whole_words)
    return make_packed_loaders(functools.partial(MaskedLoader, rules=rules), job)


def _criterion(job: TrainJob, tokenizer: Tokenizer, device: torch.device) -> MaskedToken:
    return MaskedToken(special_id(tokenizer, BOS))


OBJECTIVE = Objective(make_loaders=_loaders, make_criterion=_criterion, architectures=("encoder",))
