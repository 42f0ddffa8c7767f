"""Which document goes into which set and shard. Pure: ids and sizes in, assignments out.

Everything is decided by hashes of ids, so that the order and number of input shards do not matter,
and a document stays on its side of the fence between training and validation when others come.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

CAP_REASON = "group_cap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The rows of one output shard, in order; ``is_over_cap`` marks those set aside."""

    split: str
    group: str
    number: int
    rows: np.ndarray
    is_over_cap: np.ndarray


def shuffle_rank(document_id: str, seed: int) -> int:
    """A document's place in the order of training: 64 random bits that its id and the seed fix."""
    return _hash64(f"{seed}:{document_id}")


def validation_rank(document_id: str) -> int:
    """64 random bits that only the id fixes; documents with the smallest are held out."""
    return _hash64(f"validation:{document_id}")


def is_validation(ranks: np.ndarray, share: float) -> np.ndarray:
    """Who is held out of one group: about ``share``, at least one of two or more, never all."""
    held_out = ranks.astype(np.float64) < share * 2.0**64
    if share > 0 and len(ranks) > 1 and not held_out.any():
        held_out[np.argmin(ranks)] = True
    if held_out.all():  # a group has a weight, so it must have something to train on
        held_out[np.argmax(ranks)] = False
    return held_out


def parts_of(
    group: str,
    split: str,
    rows: np.ndarray,
    ranks: np.ndarray,
    num_bytes: np.ndarray,
    *,
    shard_bytes: int,
    max_bytes: int | None,
) -> list[Part]:
    """Shuffle the rows of one group's set, cap them, and cut them into shards."""
    order = np.argsort(ranks, kind="stable")
    ends = np.cumsum(num_bytes[order])
    over = ends > max_bytes if max_bytes is not None else np.zeros(len(order), bool)
    numbers = (ends - num_bytes[order]) // shard_bytes
    return [
        Part(
            split=split,
            group=group,
            number=place,
            rows=rows[order[numbers == number]],
            is_over_cap=over[numbers == number],
        )
        for place, number in enumerate(np.unique(numbers))
    ]


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
