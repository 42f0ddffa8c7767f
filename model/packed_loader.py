"""Windows of packed documents from token shards, mixture-weighted.

In: token shards by source, and weights. Out: ``TokenBatch``es in which every position is valid.

Shape suffixes: B rows, T positions.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.batches import TokenBatch, batch_starts, next_source, order_key, shuffled
from model.job import PretrainData, TrainJob
from model.tokens import TokenShard

_WEIGHT_UNITS = 2**32  # weights become integers, so that the mixture is exact on every machine


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
        parts = [shard.tokens_N[a:b].astype(np.int64) for shard, a, b in self._stretches(index)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def documents(self, index: int) -> Iterator[tuple[Path, range]]:
        """The documents that a window is cut from: token shard, indices in it."""
        for shard, start, stop in self._stretches(index):
            yield shard.path, shard.documents_in(start, stop)

    def _stretches(self, index: int) -> Iterator[tuple[TokenShard, int, int]]:
        """The runs of ids, shard by shard, that make a window."""
        start = index * self.seq_len
        stop = start + self.seq_len + 1
        number = int(np.searchsorted(self.ends, start, side="right"))
        while start < stop:
            before = int(self.ends[number - 1]) if number else 0
            end = min(stop, int(self.ends[number]))
            if end > start:
                yield self.shards[number], start - before, end - before
            start, number = end, number + 1


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
        self.parts: dict[str, PackedLoader] = {}
        """Of held-out data: the groups, to be measured one by one."""

    @property
    def vocab_size(self) -> int:
        """The largest vocabulary any shard was written with."""
        return max(s.vocab_size for source in self.sources.values() for s in source.shards)

    def next_batch(self) -> TokenBatch:
        """(B, T) inputs and targets; every position is valid."""
        self._enter_phase()
        return self._packed([self._next_place() for _ in range(self.batch_size)])

    def sweep(self, max_batches: int | None = None) -> Iterator[TokenBatch]:
        """One fixed pass for evaluation: the same windows every time, from all over the shards.
        Does not move the loader."""
        places = (
            (name, shuffled(i, source.num_windows, order_key(0, name, 0)))
            for name, source in self.sources.items()
            for i in range(source.num_windows)
        )
        num_windows = sum(source.num_windows for source in self.sources.values())
        for _ in batch_starts(num_windows, self.batch_size, max_batches):
            yield self._packed(list(itertools.islice(places, self.batch_size)))

    def documents(self, batch: TokenBatch) -> dict[str, list[int]]:
        """Token shard → the indices in it of the documents that a batch was cut from."""
        found: dict[str, set[int]] = {}
        for name, index in batch.origins:
            for path, documents in self.sources[name].documents(index):
                found.setdefault(str(path), set()).update(documents)
        return {path: sorted(found[path]) for path in sorted(found)}

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

    def _next_place(self) -> tuple[str, int]:
        """The source of the next sample, and which of its windows it is."""
        units = self._units[self._phase]
        name = next_source({n: self.counts[n] - self._before_phase[n] for n in units}, units)
        source = self.sources[name]
        epoch, index = divmod(self.counts[name], source.num_windows)
        self.counts[name] += 1
        return name, shuffled(index, source.num_windows, order_key(self.seed, name, epoch))

    def _packed(self, places: Sequence[tuple[str, int]]) -> TokenBatch:
        windows = [self.sources[name].window(index) for name, index in places]
        tokens_BT1 = torch.from_numpy(np.stack(windows))
        inputs_BT = tokens_BT1[:, :-1].contiguous()
        lengths = (inputs_BT.shape[1],) * inputs_BT.shape[0]
        targets_BT = tokens_BT1[:, 1:].contiguous()
        return TokenBatch(inputs_BT, targets_BT, None, lengths, tuple(places))


def _units(weights: Mapping[str, float]) -> dict[str, int]:
    """Weights as whole numbers, in the order of names."""
    total = sum(weights.values())
    units = {name: round(weights[name] / total * _WEIGHT_UNITS) for name in sorted(weights)}
    if min(units.values()) < 1:
        raise ValueError(f"weights must be positive; got {dict(weights)}")
    return units


def make_packed_loaders(
    kind: Callable[..., PackedLoader], job: TrainJob
) -> tuple[PackedLoader, PackedLoader | None]:
    """A job's training data and held-out data; the latter's ``parts`` are its groups, if it has
    several, without those that fill no window."""
    assert isinstance(job.data, PretrainData)
    size: dict[str, Any] = {"seq_len": job.seq_len, "batch_size": job.batch_size, "seed": job.seed}
    phases = [(phase.first_step, phase.weights) for phase in job.data.phases]
    train = kind(job.data.groups, job.data.weights, **size, phases=phases)
    paths = [path for group in job.data.val.values() for path in group]
    if not paths:
        return train, None
    val = kind({"val": paths}, {"val": 1.0}, **size)
    if len(job.data.val) > 1:
        val.parts = {
            name: kind({"val": own}, {"val": 1.0}, **size)
            for name, own in job.data.val.items()
            if sum(TokenShard(path).num_tokens for path in own) > job.seq_len
        }
    return train, val
