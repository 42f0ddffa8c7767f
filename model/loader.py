"""Batches: which sequences a step sees, as a pure function of the seed and of how many came before.

In: token shards with mixture weights (pretraining), or JSONL records (sft, dpo). Out:
``TokenBatch``es, the one thing that training and evaluation eat. A loader's whole state is a
handful of integers, so stopping and resuming anywhere gives the same stream.

Shape suffixes: B rows, T positions.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from model import chat
from model.masking import MaskingRules, hide_tokens
from model.tokens import TokenShard

_PAD_MULTIPLE = 8  # rows are padded to a multiple of this: matmuls like it
_WEIGHT_UNITS = 2**32  # weights become integers, so that the mixture is exact on every machine


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Position t of ``inputs_BT`` is asked for ``targets_BT[:, t]`` where ``mask_BT`` is True
    (None: everywhere). ``lengths`` counts each row's inputs before padding."""

    inputs_BT: Tensor
    targets_BT: Tensor
    mask_BT: Tensor | None
    lengths: tuple[int, ...]

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

    def to(self, device: torch.device) -> "TokenBatch":
        """The same batch on another device, copied while the host goes on."""
        if device.type == "cpu":
            return self
        move = [
            None if t is None else t.pin_memory().to(device, non_blocking=True)
            for t in (self.inputs_BT, self.targets_BT, self.mask_BT)
        ]
        return TokenBatch(move[0], move[1], move[2], self.lengths)  # type: ignore[arg-type]


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
            left, right = right, left ^ (_mix(key, round_number, right) & half_mask)
        index = left << half_bits | right
        if index < size:
            return index


def _mix(*numbers: int) -> int:
    """64 well-mixed bits of some integers (the finaliser of splitmix64, chained)."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ state >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state


def _order_key(seed: int, source: str, epoch: int) -> int:
    return _mix(seed, zlib.crc32(source.encode()), epoch)


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


# --- pretraining -------------------------------------------------------------------------------


class TokenSource:
    """The shards of one source as a single run, cut into windows of ``seq_len`` + 1 tokens.

    Neighbouring windows share one token, the last target of one and first input of the next, so
    every token but the first is a target exactly once an epoch. A tail shorter than a window is
    left out.
    """

    def __init__(self, name: str, paths: Sequence[str | Path], seq_len: int) -> None:
        self.name, self.seq_len = name, seq_len
        self.shards = [TokenShard(path) for path in paths]
        self.ends = np.cumsum([shard.num_tokens for shard in self.shards])
        self.num_tokens = int(self.ends[-1]) if len(self.ends) else 0
        self.num_windows = (self.num_tokens - 1) // seq_len
        if self.num_windows < 1:
            raise ValueError(
                f"source {name!r} has {self.num_tokens} tokens, fewer than one window of "
                f"{seq_len + 1}: give it more shards or lower seq_len"
            )

    def window(self, index: int) -> np.ndarray:
        """(seq_len + 1,) int64, possibly from several shards."""
        start = index * self.seq_len
        stop = start + self.seq_len + 1
        shard = int(np.searchsorted(self.ends, start, side="right"))
        parts = []
        while start < stop:
            offset = start - (int(self.ends[shard - 1]) if shard else 0)
            part = self.shards[shard].tokens_N[offset : offset + stop - start]
            parts.append(part.astype(np.int64))
            start, shard = start + len(part), shard + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class PackedLoader:
    """Mixture-weighted windows of packed documents; each source goes round in its own seeded order.

    ``groups`` maps a source to its shards, ``weights`` to its share of the samples (any scale).
    ``phases`` are later mixtures, each with the batch (from 0) at which it begins: a source goes on
    in its own order where the last phase left it, and each phase keeps its own shares exactly.
    """

    rows_per_sample = 1

    def __init__(
        self,
        groups: Mapping[str, Sequence[str | Path]],
        weights: Mapping[str, float],
        seq_len: int,
        batch_size: int,
        seed: int,
        phases: Sequence[tuple[int, Mapping[str, float]]] = (),
    ) -> None:
        named = set(weights).union(*(later for _, later in phases))
        if set(groups) != named:
            raise ValueError(f"weights {sorted(named)} must name the groups {sorted(groups)}")
        self.sources = {name: TokenSource(name, groups[name], seq_len) for name in sorted(groups)}
        self.batch_size, self.seq_len, self.seed = batch_size, seq_len, seed
        self._starts = [0, *(start for start, _ in phases)]
        self._units = [_units(own) for own in (weights, *(later for _, later in phases))]
        self._phase = 0
        self.counts = dict.fromkeys(self.sources, 0)
        self._before_phase = dict(self.counts)

    @property
    def vocab_size(self) -> int:
        """The largest vocabulary any shard was written with."""
        return max(s.vocab_size for source in self.sources.values() for s in source.shards)

    def next_batch(self) -> TokenBatch:
        """(B, T) inputs and targets; every position is valid."""
        self._enter_phase()
        return _packed_batch([self._next_window() for _ in range(self.batch_size)])

    def sweep(self, max_batches: int | None = None) -> Iterator[TokenBatch]:
        """One fixed pass for evaluation: the same windows every time, from all over the shards.
        Does not move the loader."""
        windows = [
            (source, shuffled(i, source.num_windows, _order_key(0, name, 0)))
            for name, source in self.sources.items()
            for i in range(source.num_windows)
        ]
        for start in _batch_starts(len(windows), self.batch_size, max_batches):
            chosen = windows[start : start + self.batch_size]
            yield _packed_batch([source.window(index) for source, index in chosen])

    def epochs(self) -> dict[str, float]:
        """Times each source has been gone through."""
        return {n: self.counts[n] / source.num_windows for n, source in self.sources.items()}

    def tokens(self) -> dict[str, int]:
        """Tokens trained on, by source."""
        return {name: count * self.seq_len for name, count in self.counts.items()}

    def state_dict(self) -> dict[str, Any]:
        """Samples taken, by source, in all and before the present phase: all there is to know."""
        return {"taken": dict(self.counts), "before_phase": dict(self._before_phase)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        if "before_phase" not in state:
            raise ValueError(
                "the checkpoint is of an older version: start afresh in another out_dir"
            )
        taken, before = state["taken"], state["before_phase"]
        if set(taken) != set(self.sources):
            raise ValueError(
                f"the checkpoint's sources {sorted(taken)} are not this job's "
                f"{sorted(self.sources)}: start afresh in another out_dir"
            )
        if sum(before.values()) not in [start * self.batch_size for start in self._starts]:
            raise ValueError(
                f"the checkpoint's phase began after {sum(before.values())} samples, but this "
                f"job's begin at the batches {self._starts}: start afresh in another out_dir"
            )
        self.counts = {name: int(taken[name]) for name in self.sources}
        self._before_phase = {name: int(before[name]) for name in self.sources}
        self._phase = self._starts.index(sum(before.values()) // self.batch_size)

    def _enter_phase(self) -> None:
        """Begin the next mixture where its first batch is due."""
        num_batches = sum(self.counts.values()) // self.batch_size
        if self._phase + 1 < len(self._starts) and num_batches >= self._starts[self._phase + 1]:
            self._phase += 1
            self._before_phase = dict(self.counts)

    def _next_window(self) -> np.ndarray:
        units = self._units[self._phase]
        name = next_source({n: self.counts[n] - self._before_phase[n] for n in units}, units)
        source = self.sources[name]
        epoch, index = divmod(self.counts[name], source.num_windows)
        self.counts[name] += 1
        return source.window(
            shuffled(index, source.num_windows, _order_key(self.seed, name, epoch))
        )


class MaskedLoader(PackedLoader):
    """The same windows with some tokens hidden, by a draw that is a function of seed and place."""

    def __init__(self, *args: Any, rules: MaskingRules, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rules = rules

    def next_batch(self) -> TokenBatch:
        """(B, T) inputs, the tokens they were, and a mask of those to guess."""
        num_taken = sum(self.counts.values())
        return self._hide(super().next_batch(), _mix(self.seed, num_taken))

    def sweep(self, max_batches: int | None = None) -> Iterator[TokenBatch]:
        """As the base class; each batch always with the same tokens hidden."""
        for number, batch in enumerate(super().sweep(max_batches)):
            yield self._hide(batch, _mix(0, number))

    def _hide(self, batch: TokenBatch, key: int) -> TokenBatch:
        generator = torch.Generator().manual_seed(key >> 1)  # seeds are signed
        shown_BT, is_hidden_BT = hide_tokens(batch.inputs_BT, self.rules, generator)
        return TokenBatch(shown_BT, batch.inputs_BT, is_hidden_BT, batch.lengths)


def _units(weights: Mapping[str, float]) -> dict[str, int]:
    """Weights as whole numbers, in the order of names."""
    total = sum(weights.values())
    units = {name: round(weights[name] / total * _WEIGHT_UNITS) for name in sorted(weights)}
    if min(units.values()) < 1:
        raise ValueError(f"weights must be positive; got {dict(weights)}")
    return units


def _packed_batch(windows: list[np.ndarray]) -> TokenBatch:
    tokens_BT1 = torch.from_numpy(np.stack(windows))
    inputs_BT = tokens_BT1[:, :-1].contiguous()
    lengths = (inputs_BT.shape[1],) * inputs_BT.shape[0]
    return TokenBatch(inputs_BT, tokens_BT1[:, 1:].contiguous(), None, lengths)


# --- sft and dpo -------------------------------------------------------------------------------

Row = tuple[np.ndarray, np.ndarray]
"""A sequence's ids and the mask of ids that the model has to produce."""


class RecordLoader:
    """Whole sequences from records, one row a conversation, two rows a preference pair.

    Records longer than ``seq_len`` are left out and counted in ``num_too_long``; cutting them would
    teach endings that are none.
    """

    def __init__(
        self,
        samples: Sequence[tuple[Row, ...]],
        seq_len: int,
        batch_size: int,
        seed: int,
        pad_id: int,
        what: str,
    ) -> None:
        fits = [s for s in samples if max(len(ids) for ids, _ in s) <= seq_len]
        self.num_too_long = len(samples) - len(fits)
        if not fits:
            raise ValueError(
                f"{what}: none of {len(samples)} records fits seq_len = {seq_len}: raise seq_len"
            )
        self.samples, self.batch_size, self.seed = fits, batch_size, seed
        self.rows_per_sample = len(fits[0])
        self._pad_id, self._seq_len = pad_id, seq_len
        self._num_seen = 0
        self._num_tokens = 0

    def next_batch(self) -> TokenBatch:
        """``batch_size`` samples of the seeded order, longest first: micro-batches waste less."""
        chosen = [self.samples[self._index(self._num_seen + i)] for i in range(self.batch_size)]
        self._num_seen += self.batch_size
        batch = self._batch(chosen)
        self._num_tokens += batch.num_tokens
        return batch

    def sweep(self, max_batches: int | None = None) -> Iterator[TokenBatch]:
        """One fixed pass for evaluation, in file order. Does not move the loader."""
        for start in _batch_starts(len(self.samples), self.batch_size, max_batches):
            yield self._batch(self.samples[start : start + self.batch_size])

    def epochs(self) -> dict[str, float]:
        """Times the records have been gone through."""
        return {"records": self._num_seen / len(self.samples)}

    def tokens(self) -> dict[str, int]:
        """Tokens read, prompts included, padding not."""
        return {"records": self._num_tokens}

    def state_dict(self) -> dict[str, int]:
        """How far the loader is, and in how many records."""
        return {
            "seen": self._num_seen,
            "tokens": self._num_tokens,
            "records": len(self.samples),
        }

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on where ``state`` was taken."""
        if state["records"] != len(self.samples):
            raise ValueError(
                f"the checkpoint was made with {state['records']} records, the data file now has "
                f"{len(self.samples)}: start afresh in another out_dir"
            )
        self._num_seen, self._num_tokens = int(state["seen"]), int(state["tokens"])

    def _index(self, position: int) -> int:
        epoch, index = divmod(position, len(self.samples))
        return shuffled(index, len(self.samples), _order_key(self.seed, "records", epoch))

    def _batch(self, samples: Sequence[tuple[Row, ...]]) -> TokenBatch:
        by_length = sorted(samples, key=lambda rows: -max(len(ids) for ids, _ in rows))
        return pad_rows([row for rows in by_length for row in rows], self._pad_id, self._seq_len)


class ConversationLoader(RecordLoader):
    """SFT: ``{"id": …, "messages": [{"role": …, "content": …}, …]}`` a line; the loss counts what
    the assistant says."""

    def __init__(
        self, path: str | Path, tokenizer: Tokenizer, seq_len: int, batch_size: int, seed: int
    ) -> None:
        samples = _read_records(path, lambda record: (_conversation_row(tokenizer, record),))
        pad_id = chat.special_id(tokenizer, chat.PAD)
        super().__init__(samples, seq_len, batch_size, seed, pad_id, str(path))


class PairLoader(RecordLoader):
    """DPO: ``{"id": …, "prompt": [messages], "chosen": …, "rejected": …}`` a line. Even rows are
    chosen answers, each followed by its rejected one; the loss counts the answers."""

    def __init__(
        self, path: str | Path, tokenizer: Tokenizer, seq_len: int, batch_size: int, seed: int
    ) -> None:
        samples = _read_records(path, lambda record: _pair_rows(tokenizer, record))
        pad_id = chat.special_id(tokenizer, chat.PAD)
        super().__init__(samples, seq_len, batch_size, seed, pad_id, str(path))


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


def _read_records(
    path: str | Path, to_rows: Callable[[dict], tuple[Row, ...]]
) -> list[tuple[Row, ...]]:
    samples = []
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ValueError(f"cannot read the records of {path}: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            samples.append(to_rows(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}, line {number}: {error!r}") from error
    return samples


def _conversation_row(tokenizer: Tokenizer, record: dict) -> Row:
    ids, mask = chat.encode_conversation(tokenizer, record["messages"])
    return np.array(ids), np.array(mask)


def _pair_rows(tokenizer: Tokenizer, record: dict) -> tuple[Row, Row]:
    prompt = chat.encode_prompt(tokenizer, record["prompt"])

    def row(answer: str) -> Row:
        ids = chat.encode_answer(tokenizer, answer)
        mask = [False] * len(prompt) + [True] * len(ids)
        return np.array(prompt + ids), np.array(mask)

    return row(record["chosen"]), row(record["rejected"])


def _round_up(length: int) -> int:
    return -(-length // _PAD_MULTIPLE) * _PAD_MULTIPLE


def _batch_starts(size: int, batch_size: int, max_batches: int | None) -> range:
    stop = size if max_batches is None else min(size, max_batches * batch_size)
    return range(0, stop, batch_size)
