"""Batches: the one thing that training and evaluation eat, and the order in which samples come.

In: rows of token ids. Out: ``TokenBatch``es, padded. Which samples a step sees is a pure function
of the seed and of how many came before: a loader's whole state is a handful of integers, so
stopping and resuming anywhere gives the same stream. The loaders are ``packed_loader.py`` and
``record_loader.py``.

Shape suffixes: B rows, T positions.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_PAD_MULTIPLE = 8  # rows are padded to a multiple of this: matmuls like it

Row = tuple[np.ndarray, np.ndarray]
"""A sequence's ids and the mask of ids that the model has to produce."""


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Position t of ``inputs_BT`` is asked for ``targets_BT[:, t]`` where ``mask_BT`` is True
    (None: everywhere). ``lengths`` counts each row's inputs before padding."""

    inputs_BT: Tensor
    targets_BT: Tensor
    mask_BT: Tensor | None
    lengths: tuple[int, ...]
    origins: tuple[Any, ...] = ()
    """Where each sample is from, in its loader's terms; parts of a batch do not carry it."""

    @property
    def num_tokens(self) -> int:
        """Inputs that are not padding."""
        return sum(self.lengths)

    def num_valid(self) -> int:
        """Positions that the loss counts."""
        return self.targets_BT.numel() if self.mask_BT is None else int(self.mask_BT.sum())

    def split(self, rows: int) -> Iterator["TokenBatch"]:
        """Micro-batches of ``rows`` rows, each cut to its own longest row."""
        for start in range(0, len(self.lengths), rows):
            yield self.rows(start, start + rows)

    def rows(self, start: int, stop: int) -> "TokenBatch":
        """Some of the rows, without the columns in which all of them are padding."""
        lengths = self.lengths[start:stop]
        width = min(_round_up(max(lengths, default=0)), self.inputs_BT.shape[1])
        cut = (slice(start, stop), slice(0, width))
        mask = None if self.mask_BT is None else self.mask_BT[cut]
        return TokenBatch(self.inputs_BT[cut], self.targets_BT[cut], mask, lengths)

    def widened(self, width: int) -> "TokenBatch":
        """With columns of padding, which is never a target, up to ``width``."""
        assert self.mask_BT is not None
        extra = (0, width - self.inputs_BT.shape[1])
        inputs_BT, targets_BT = F.pad(self.inputs_BT, extra), F.pad(self.targets_BT, extra)
        return TokenBatch(inputs_BT, targets_BT, F.pad(self.mask_BT, extra), self.lengths)

    def to(self, device: torch.device) -> "TokenBatch":
        """The same batch on another device, copied while the host goes on."""
        if device.type == "cpu":
            return self
        move = [
            None if t is None else t.pin_memory().to(device, non_blocking=True)
            for t in (self.inputs_BT, self.targets_BT, self.mask_BT)
        ]
        return TokenBatch(move[0], move[1], move[2], self.lengths)  # type: ignore[arg-type]


class Loader(Protocol):
    """Where batches come from."""

    rows_per_sample: int
    """Rows of a batch that belong together: two in a pair, else one."""

    def next_batch(self) -> TokenBatch:
        """The next batch of the stream."""
        ...

    def sweep(self, max_batches: int | None = None) -> Iterator[TokenBatch]:
        """One fixed pass for evaluation, always the same. Does not move the loader."""
        ...

    def documents(self, batch: TokenBatch) -> Mapping[str, Sequence[int] | Sequence[str]]:
        """What a whole batch of this loader was made of: of each file the documents, by index in a
        token shard, by id in a file of records."""
        ...

    def epochs(self) -> dict[str, float]:
        """Times each source has been gone through."""
        ...

    def tokens(self) -> dict[str, int]:
        """Tokens trained on, by source."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is: a few plain numbers."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        ...


def pad_rows(rows: Sequence[Row], pad_id: int, max_width: int) -> TokenBatch:
    """Rows of unequal length as one batch, padded on the right; padding is never a target. Rows
    are at most ``max_width`` + 1 long, for their last id is only a target."""
    width = min(max_width, _round_up(max(len(ids) for ids, _ in rows) - 1))
    tokens_BT1 = np.full((len(rows), width + 1), pad_id, dtype=np.int64)
    mask_BT1 = np.zeros((len(rows), width + 1), dtype=bool)
    for row, (ids, mask) in enumerate(rows):
        tokens_BT1[row, : len(ids)], mask_BT1[row, : len(ids)] = ids, mask
    tokens, mask_BT = torch.from_numpy(tokens_BT1), torch.from_numpy(mask_BT1[:, 1:].copy())
    lengths = tuple(len(ids) - 1 for ids, _ in rows)
    return TokenBatch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), mask_BT, lengths)


def batch_starts(size: int, batch_size: int, max_batches: int | None) -> range:
    """Where each of at most ``max_batches`` batches begins among ``size`` samples."""
    stop = size if max_batches is None else min(size, max_batches * batch_size)
    return range(0, stop, batch_size)


def _round_up(length: int) -> int:
    return -(-length // _PAD_MULTIPLE) * _PAD_MULTIPLE


# --- order -------------------------------------------------------------------------------------


def shuffled(index: int, size: int, key: int) -> int:
    """Where a seeded permutation of 0..size-1 sends ``index``, in O(1) memory.

    A Feistel network (Luby & Rackoff 1988) permutes the next power of four; indices that fall
    outside ``size`` are sent on until they fall inside ("cycle walking").
    """
    assert 0 <= index < size
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    half_mask = (1 << half_bits) - 1
    while True:
        left, right = index >> half_bits, index & half_mask
        for round_number in range(6):
            left, right = right, left ^ (mix(key, round_number, right) & half_mask)
        index = left << half_bits | right
        if index < size:
            return index


def mix(*numbers: int) -> int:
    """64 well-mixed bits of some integers (the finaliser of splitmix64, chained)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ state >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state


def order_key(seed: int, source: str, epoch: int) -> int:
    """The key of one epoch's order of one source."""
    return mix(seed, zlib.crc32(source.encode()), epoch)


def next_source(counts: Mapping[str, int], weights: Mapping[str, int]) -> str:
    """Which source the next sample comes from, so that each stays within one sample of its share.

    The k-th sample of a source with share w has a window of turns, (k−1)/w < turn ≤ k/w, and of
    all sources whose window is open the one that closes first is served: earliest deadline first,
    which keeps every deadline (Baruah et al. 1996, "Proportionate progress"). Picking the greatest
    deficit, the obvious rule, drifts past one sample when there are many sources.
    """
    total = sum(weights.values())
    turn = sum(counts.values()) + 1
    is_open = [name for name in weights if counts[name] * total < turn * weights[name]]
    return min(is_open, key=lambda name: (-(-(counts[name] + 1) * total // weights[name]), name))
