"""Pretraining: the next token of packed documents.

In: token shards. Out: batches, and the cross-entropy over every position but a document's end.

Shape suffixes: B rows, T positions, D width.
"""

import torch
from tokenizers import Tokenizer
from torch import Tensor

from model.batches import TokenBatch
from model.chat import BOS, special_id
from model.job import TrainJob
from model.language_model import LanguageModel
from model.losses import IGNORED
from model.objectives.base import Criterion, Objective, summed_loss
from model.objectives.sft import NextToken
from model.packed_loader import PackedLoader, make_packed_loaders


class PackedNextToken:
    """Cross-entropy over rows of documents, none of which sees another.

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
        return {"loss": summed_loss(model, hidden_BTD, targets_BT, self.z_weight)}


def _criterion(job: TrainJob, tokenizer: Tokenizer, device: torch.device) -> Criterion:
    if job.document_mask:
        return PackedNextToken(special_id(tokenizer, BOS), job.z_loss)
    return NextToken(job.z_loss)


OBJECTIVE = Objective(
    make_loaders=lambda job, tokenizer: make_packed_loaders(PackedLoader, job),
    make_criterion=_criterion,
    in_bytes=True,
)
