"""Sequence classification: which of a few labels a text has.

In: JSONL, ``{"id": …, "text": …, "label": …}`` a line, the label a string; an encoder, new or
pretrained by masked language modelling, whose head gives way to one of classes. Out: batches, and
the cross-entropy over the labels of the training records, whose names go into the model's
configuration.

Shape suffixes: B rows, T positions, C classes.
"""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from model import chat
from model.batches import Row, TokenBatch
from model.classify import class_logits, encode_text
from model.encoder import Encoder
from model.job import RecordData, TrainJob
from model.language_model import LanguageModel
from model.objectives.base import Objective
from model.record_loader import RecordLoader, make_record_loaders, read_records


class LabelledLoader(RecordLoader):
    """A row a text, its label's number the target of its last position. A text that is too long is
    cut: its label stays true."""

    def __init__(
        self,
        path: str | Path,
        tokenizer: Tokenizer,
        seq_len: int,
        batch_size: int,
        seed: int,
        labels: tuple[str, ...],
    ) -> None:
        def to_rows(record: dict) -> tuple[Row]:
            ids = encode_text(tokenizer, record["text"], seq_len - 1)
            if record["label"] not in labels:
                raise ValueError(f"label {record['label']!r} is none of the training records'")
            number = labels.index(record["label"])
            return ((np.array([*ids, number]), np.arange(len(ids) + 1) == len(ids)),)

        samples = read_records(path, to_rows)
        pad_id = chat.special_id(tokenizer, chat.PAD)
        super().__init__(samples, seq_len, batch_size, seed, pad_id, str(path))


class Label:
    """Cross-entropy, averaged over texts."""

    names = ("loss", "accuracy")

    def count(self, batch: TokenBatch) -> int:
        """Texts."""
        return len(batch.lengths)

    def sums(self, model: LanguageModel, batch: TokenBatch) -> dict[str, Tensor]:
        """Summed −log p in nats, and how many were named right."""
        assert isinstance(model, Encoder)
        assert batch.mask_BT is not None
        logits_BC = class_logits(model, batch.inputs_BT, batch.lengths).float()
        targets_B = batch.targets_BT[batch.mask_BT]
        return {
            "loss": F.cross_entropy(logits_BC, targets_B, reduction="sum"),
            "accuracy": (logits_BC.argmax(dim=-1) == targets_B).float().sum(),
        }


def labels_of(path: str | Path) -> tuple[str, ...]:
    """The labels of a file of records, in the order of the alphabet."""
    found: set[str] = set()

    def note(record: dict) -> tuple[Row, ...]:
        if not isinstance(record["label"], str):
            raise ValueError(f"a label must be a string; got {record['label']!r}")
        found.add(record["label"])
        return ()

    read_records(path, note)
    if len(found) < 2:
        raise ValueError(f"{path} has the labels {sorted(found)}: to tell apart there must be two")
    return tuple(sorted(found))


def with_classes(model: LanguageModel, labels: tuple[str, ...]) -> Encoder:
    """The encoder with a head of these classes: a new one, unless it has them already.

    Raises:
        ValueError: it has other classes.
    """
    assert isinstance(model, Encoder)  # initial_model has seen to it
    config = model.config
    if config.num_classes and config.class_names == labels:
        return model
    if config.num_classes:
        raise ValueError(
            f"the model's classes are {json.dumps(config.class_names)}, the training records' "
            f"{json.dumps(labels)}: start from the encoder that it was made of"
        )
    fresh = Encoder(dataclasses.replace(config, num_classes=len(labels), labels=labels))
    own = fresh.state_dict()
    kept = {name: tensor for name, tensor in model.state_dict().items() if name in own}
    fresh.load_state_dict(own | kept)
    return fresh


def _train_path(job: TrainJob) -> str:
    assert isinstance(job.data, RecordData)
    return job.data.train


def _loaders(job: TrainJob, tokenizer: Tokenizer) -> tuple[RecordLoader, RecordLoader | None]:
    kind = functools.partial(LabelledLoader, labels=labels_of(_train_path(job)))
    return make_record_loaders(kind, job, tokenizer)


def _criterion(job: TrainJob, tokenizer: Tokenizer, device: torch.device) -> Label:
    return Label()


OBJECTIVE = Objective(
    make_loaders=_loaders,
    make_criterion=_criterion,
    adapt_model=lambda job, model: with_classes(model, labels_of(_train_path(job))),
    architectures=("encoder",),
)
