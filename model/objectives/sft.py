"""Supervised fine-tuning: the next token of what the assistant says.

In: JSONL, ``{"id": …, "messages": [{"role": …, "content": …}, …]}`` a line. Out: batches, and the
cross-entropy over the answers.
"""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from model import chat
from model.batches import Row, TokenBatch
from model.job import TrainJob
from model.language_model import LanguageModel
from model.objectives.base import Objective, scored_positions, summed_loss
from model.record_loader import RecordLoader, make_record_loaders, read_records


class ConversationLoader(RecordLoader):
    """SFT: ``{"id": …, "messages": [{"role": …, "content": …}, …]}`` a line; the loss counts what
    the assistant says."""

    def __init__(
        self, path: str | Path, tokenizer: Tokenizer, seq_len: int, batch_size: int, seed: int
    ) -> None:
        samples = read_records(path, lambda record: (_conversation_row(tokenizer, record),))
        pad_id = chat.special_id(tokenizer, chat.PAD)
        super().__init__(samples, seq_len, batch_size, seed, pad_id, str(path))


class NextToken:
    """Cross-entropy, averaged over valid tokens."""

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
        return {"loss": summed_loss(model, hidden, targets, self.z_weight)}


def _conversation_row(tokenizer: Tokenizer, record: dict) -> Row:
    ids, mask = chat.encode_conversation(tokenizer, record["messages"])
    return np.array(ids), np.array(mask)


def _criterion(job: TrainJob, tokenizer: Tokenizer, device: torch.device) -> NextToken:
    return NextToken(job.z_loss)


OBJECTIVE = Objective(
    make_loaders=lambda job, tokenizer: make_record_loaders(ConversationLoader, job, tokenizer),
    make_criterion=_criterion,
)
