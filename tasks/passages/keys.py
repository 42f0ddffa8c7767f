"""Keys on disk: a shard's in sorted pieces, read again by ranges of keys over all shards.

Each rule has a folder with four files a shard: the keys (8 bytes), the unit that each belongs to
(4 bytes), where the sorted pieces end, and a table of documents (32 bytes each). In memory are one
piece while a shard is read, and one range of keys while it is decided which come again; tables are
mapped, not read, because every range looks up a little in each.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PIECE_KEYS = 1 << 21  # sorted at a time: about 80 MB
RANGE_KEYS = 1 << 22  # decided at a time: 200 MB, 600 MB if all of them come again
KEYS = np.dtype(np.uint64)
UNITS = np.dtype(np.uint32)


def key_names(rule: str, shard: int) -> list[str]:
    """The files of one shard's keys under one rule, below the folder of all keys."""
    return [f"{rule}/{shard:05d}.{kind}" for kind in ("keys", "units", "pieces.npy", "npy")]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentTable:
    """The documents of a shard, in their order."""

    orders: np.ndarray  # uint64, where each stands among all documents
    scopes: np.ndarray  # uint64; 0 for the whole corpus
    is_seen: np.ndarray  # int64, 1 for one that the rules look at
    first_units: np.ndarray  # int64, the first unit of each, and one more: where the last ends

    @classmethod
    def load(cls, folder: Path, rule: str, shard: int) -> "DocumentTable":
        """Read what a KeyWriter wrote."""
        table = np.load(folder / key_names(rule, shard)[3], mmap_mode="r")
        orders, scopes, is_seen = table[:3, :-1]
        return cls(
            orders=orders.view(np.uint64),
            scopes=scopes.view(np.uint64),
            is_seen=is_seen,
            first_units=table[3],
        )

    def documents_of(self, units: np.ndarray) -> np.ndarray:
        """The row of the document that each unit is in."""
        return np.searchsorted(self.first_units, units, "right") - 1


class KeyWriter:
    """Writes one shard's keys under one rule."""

    def __init__(self, folder: Path, rule: str, shard: int) -> None:
        keys, units, *self._tables = (folder / name for name in key_names(rule, shard))
        keys.parent.mkdir(parents=True, exist_ok=True)
        self._files = keys.open("wb"), units.open("wb")
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._num_waiting = self.num_keys = self._num_units = 0
        self._pieces = [0]
        self._documents: list[np.ndarray] = []
        self._end_of_documents = 0

    def add_documents(
        self, orders: np.ndarray, scopes: np.ndarray, is_seen: np.ndarray, num_units: np.ndarray
    ) -> None:
        """Note the next documents, whether seen or not, and how many units each has."""
        ends = self._end_of_documents + np.cumsum(num_units)
        table = np.empty((4, len(orders)), np.int64)
        table[0], table[1], table[2] = orders.view(np.int64), scopes.view(np.int64), is_seen
        table[3] = ends - num_units
        self._documents.append(table)
        self._end_of_documents += int(num_units.sum())

    def add(self, keys: np.ndarray, units: np.ndarray, num_units: int) -> None:
        """Note the keys of the next texts, which have ``num_units`` units numbered from 0."""
        self._waiting.append((keys, (units + self._num_units).astype(UNITS)))
        self._num_units += num_units
        assert self._num_units < 2**32, "a shard of 4 billion words; make smaller ones"
        self._num_waiting += len(keys)
        if self._num_waiting >= PIECE_KEYS:
            self._flush()

    def close(self) -> None:
        """Write what waits, and the table of documents."""
        self._flush()
        for file in self._files:
            file.close()
        end = np.array([[0], [0], [0], [self._end_of_documents]])
        np.save(self._tables[0], np.array(self._pieces))
        np.save(self._tables[1], np.concatenate([*self._documents, end], axis=1))

    def _flush(self) -> None:
        if not self._num_waiting:
            return
        keys, units = (np.concatenate(column) for column in zip(*self._waiting, strict=True))
        order = np.argsort(keys)
        keys[order].tofile(self._files[0])
        units[order].tofile(self._files[1])
        self.num_keys += len(keys)
        self._pieces.append(self.num_keys)
        self._waiting, self._num_waiting = [], 0


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The ``index``-th of ``num_ranges`` equal ranges of keys."""

    index: int
    num_ranges: int

    def slice_of(self, keys: np.ndarray) -> slice:
        """Where the range is in sorted keys."""
        width = -(-(2**64) // self.num_ranges)
        start = np.searchsorted(keys, np.uint64(self.index * width))
        end = (self.index + 1) * width
        return slice(start, np.searchsorted(keys, np.uint64(end)) if end < 2**64 else len(keys))


def num_ranges(num_keys: int) -> int:
    """Into how many ranges so many keys are to be cut: it depends on nothing else."""
    return max(1, -(-num_keys // RANGE_KEYS))


def read_range(
    folder: Path, rule: str, num_shards: int, keys: KeyRange
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The keys of a range in all shards, their units, and where each shard's begin and end."""
    found: list[np.ndarray] = [np.empty(0, KEYS)]
    units: list[np.ndarray] = [np.empty(0, UNITS)]
    bounds = [0]
    for shard in range(num_shards):
        bounds.append(bounds[-1])
        for piece, of in _pieces(folder, rule, shard):
            part = keys.slice_of(piece)
            found.append(np.array(piece[part]))
            units.append(np.array(of[part]))
            bounds[-1] += len(found[-1])
    return np.concatenate(found), np.concatenate(units), np.array(bounds)


def _pieces(folder: Path, rule: str, shard: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    key_file, unit_file, ends, _ = (folder / name for name in key_names(rule, shard))
    pieces = np.load(ends)
    if len(pieces) == 1:
        return  # an empty file cannot be mapped
    keys = np.memmap(key_file, KEYS, "r")
    units = np.memmap(unit_file, UNITS, "r")
    for start, end in itertools.pairwise(pieces):
        yield keys[start:end], units[start:end]
