"""The signature index of all sources, opened for reading: rows are numbered from shard to shard.

Touches the files of input artifacts only. What is read at a time is a stretch of one shard.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.common.minhash import band_keys
from tasks.common.shard import count_rows
from tasks.common.signature_index import signatures_name
from tasks.common.store import Artifact

ROWS_AT_A_TIME = 1 << 16
PAIRS_AT_A_TIME = 1 << 15


@dataclass(frozen=True)
class Index:
    """Tables of keys, one after another.

    Args:
        shards: the tables.
        starts: the number of each table's first row, and at last of all rows.
    """

    shards: Sequence[tuple[Artifact, str]]
    starts: np.ndarray

    @classmethod
    def of(cls, shards: Sequence[tuple[Artifact, str]]) -> "Index":
        """The index whose tables are these."""
        counts = [count_rows(artifact.fetch(name)) for artifact, name in shards]
        return cls(shards, np.cumsum([0, *counts], dtype=np.int64))

    @property
    def num_rows(self) -> int:
        """How many documents there are."""
        return int(self.starts[-1])

    def band(
        self, band: int, rows_per_band: int, is_signed: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The keys of one band and their rows; only of those that ``is_signed`` says."""
        lines = slice(band * rows_per_band, (band + 1) * rows_per_band)
        for shard, start in enumerate(self.starts[:-1]):
            for at in range(0, int(self.starts[shard + 1] - start), ROWS_AT_A_TIME):
                signatures = np.array(self._signatures(shard)[lines, at : at + ROWS_AT_A_TIME])
                rows = start + at + np.arange(signatures.shape[1])
                wanted = is_signed[rows[0] : rows[-1] + 1]
                yield band_keys(signatures[:, wanted]), rows[wanted]

    def agreement(self, pairs: np.ndarray) -> np.ndarray:
        """The share of permutations in which both rows agree, which estimates their Jaccard."""
        shares = np.empty(len(pairs))
        for start in range(0, len(pairs), PAIRS_AT_A_TIME):
            part = slice(start, start + PAIRS_AT_A_TIME)
            left, right = (self._columns(pairs[part, side]) for side in (0, 1))
            shares[part] = (left == right).mean(axis=0)
        return shares

    def _columns(self, rows: np.ndarray) -> np.ndarray:
        shards = np.searchsorted(self.starts, rows, side="right") - 1
        found = np.empty((len(self._signatures(int(shards[0]))), len(rows)), np.uint32)
        for shard in np.unique(shards):
            mine = np.flatnonzero(shards == shard)
            found[:, mine] = self._signatures(int(shard))[:, rows[mine] - self.starts[shard]]
        return found

    def _signatures(self, shard: int) -> np.ndarray:
        artifact, name = self.shards[shard]
        signatures: np.ndarray = np.load(artifact.fetch(signatures_name(name)), mmap_mode="r")
        return signatures
