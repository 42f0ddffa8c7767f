"""Who stays and who stands for whom, decided step by step from arrays of keys.

In: arrays of keys, and pairs of rows that are alike. Out: for each row its state, the row kept in
its place and its cluster. Nothing depends on the order of rows: clusters are connected components,
and what stays is chosen by the documents' own dates, lengths and ids. Held in memory are about 20
bytes a document, and one part of rows that share a key at a time.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from tasks.common.signature_index import NO_URL
from tasks.common.words import run_starts
from tasks.duplicates.arrays import Arrays
from tasks.duplicates.components import Components, neighbours, row_type
from tasks.duplicates.config import DuplicatesConfig
from tasks.duplicates.index import ROWS_AT_A_TIME
from tasks.duplicates.spill import Stream, rows_that_share
from tasks.duplicates.versions import newest_versions

IN, OLDER, SAME_URL, WITHDRAWN, TAKEN_DOWN = range(5)
SIZE_CLASSES = (2, 3, 5, 10, 100, 1_000, 10_000, 100_000)
ODD = np.uint64(0x9E3779B97F4A7C15)  # spreads row numbers evenly, no two to the same


class Decision:
    """The state of every row, from nothing decided to all.

    Attributes:
        states: IN, or why a row goes, whatever it is a copy of.
        newest: the row of the version that counts of the same page; the row itself if it does.
        kept: the row kept of the row's cluster; for what is taken down, what it is a copy of.
        least: the row with the least id of the cluster.
        sizes: how many rows the cluster has.
    """

    def __init__(self, arrays: Arrays, num_rows: int, config: DuplicatesConfig) -> None:
        self.arrays = arrays
        self._config = config
        self._num_rows = num_rows
        self._clusters: Counter[int] = Counter()
        self.states = np.full(num_rows, IN, np.uint8)
        self.newest = self._itself()
        self.kept = self.least = self.sizes = np.empty(0, row_type(num_rows))

    def find_versions(self) -> None:
        """Tell old versions of pages and withdrawn pages from those that count."""
        if self._config.newest_per_url:
            self._find_newest("url_key", OLDER)
        # of the newest version, so that a page that went and came back is only an older version
        is_gone = self.arrays["is_gone"]
        for part in self._parts():
            self.states[part][is_gone[self.newest[part]]] = WITHDRAWN
        if self._config.one_per_url:
            self._find_newest("page_key", SAME_URL)
            for part in self._parts():
                self.newest[part] = self.newest[self.newest[part]]

    def take_down(self, rows: np.ndarray) -> None:
        """Take out what takedown lists name, old versions too."""
        self.states[rows] = TAKEN_DOWN

    def may_match(self) -> np.ndarray:
        """Which rows copies are looked for among."""
        found = self.states == IN
        if self._config.takedown_copies:
            found |= self.states == TAKEN_DOWN
        return found

    def find_copies(self, pairs: Iterator[np.ndarray]) -> None:
        """Connect what is alike, and choose what stays of each component."""
        components = Components(self._num_rows)
        is_in = self.may_match()
        # rows of one id are always one document: every later decision is keyed by id
        wholes = {"id_key": "id"} | ({"exact_key": "exact_key"} if self._config.exact else {})
        for name, whole in wholes.items():
            for keys, rows in self._sharing(self.arrays.stream(name, is_in)):
                components.join(self._truly_equal(neighbours(keys, rows), whole))
        for part in pairs:
            components.join(part)
        labels = components.labels()
        self.kept, self.least = self._itself(), self._itself()
        self.sizes = np.ones(self._num_rows, row_type(self._num_rows))
        for clusters, rows in self._sharing(_label_stream(labels, is_in)):
            self._choose(clusters, rows)
        if self._config.takedown_copies:
            self._take_down_set_aside()

    def metrics(self) -> dict[str, Any]:
        """How many clusters there are, and how large."""
        by_size = dict.fromkeys(SIZE_CLASSES, 0)
        for size, count in self._clusters.items():
            by_size[max(low for low in SIZE_CLASSES if low <= size)] += count
        return {
            "num_clusters": self._clusters.total(),
            "largest_cluster_documents": max(self._clusters, default=min(1, self._num_rows)),
            "clusters_from_size": {str(size): count for size, count in by_size.items()},
        }

    def _find_newest(self, name: str, state: int) -> None:
        keys_of_pages = self.arrays[name]
        where = np.empty(self._num_rows, bool)
        for part in self._parts():
            where[part] = (keys_of_pages[part] != NO_URL) & (self.states[part] == IN)
        for pages, rows in self._sharing(self.arrays.stream(name, where)):
            newest = newest_versions(
                pages,
                self.arrays["fetched_at"][rows],
                self.arrays.preference(rows),
                undated_too=state == SAME_URL,
            )
            self.newest[rows] = rows[newest]
            self.states[rows[rows[newest] != rows]] = state

    def _choose(self, clusters: np.ndarray, rows: np.ndarray) -> None:
        """Of some whole clusters of several rows."""
        identity = self.arrays.identity(rows)
        by_preference = np.lexsort((*identity, self.arrays["rank"][rows], clusters))
        by_id = np.lexsort((*identity, clusters))
        starts = run_starts(clusters[by_id])
        sizes = np.diff(starts, append=len(rows))
        members = rows[by_id]
        self.least[members] = np.repeat(members[starts], sizes)
        self.sizes[members] = np.repeat(sizes, sizes)
        self.kept[rows[by_preference]] = np.repeat(rows[by_preference[starts]], sizes)
        is_named = self.states[members] == TAKEN_DOWN
        goes = np.logical_or.reduceat(is_named, starts) if len(starts) else is_named
        self._clusters.update(sizes[~goes].tolist())
        if goes.any():
            self._take_down_clusters(members, is_named, starts, sizes)

    def _take_down_clusters(
        self, members: np.ndarray, is_named: np.ndarray, starts: np.ndarray, sizes: np.ndarray
    ) -> None:
        """Whole clusters of what was taken down: each row a copy of the first that was named."""
        named = np.flatnonzero(is_named)
        cluster_of = np.repeat(np.arange(len(starts)), sizes)
        clusters, first = np.unique(cluster_of[named], return_index=True)
        origin = np.full(len(starts), -1, np.int64)
        origin[clusters] = members[named[first]]
        origins = origin[cluster_of]
        goes = origins >= 0
        self.kept[members[goes]] = origins[goes]
        self.states[members[goes]] = TAKEN_DOWN

    def _take_down_set_aside(self) -> None:
        """Old versions and withdrawn pages whose text equals one that was taken down.

        No copies are looked for among them, but their texts would stay among what was dropped.
        """
        if not (self.states == TAKEN_DOWN).any():
            return
        texts = self.arrays["exact_key"]
        for _, rows in self._sharing(self.arrays.stream("exact_key", self.states != IN)):
            is_taken = self.states[rows] == TAKEN_DOWN
            order = np.lexsort((*self.arrays.identity(rows)[1:], ~is_taken, texts[rows]))
            rows, is_taken = rows[order], is_taken[order]
            starts = run_starts(texts[rows])
            firsts = np.repeat(starts, np.diff(starts, append=len(rows)))
            goes = is_taken[firsts] & ~is_taken
            self.kept[rows[goes]] = self.kept[rows[firsts[goes]]]
            self.states[rows[goes]] = TAKEN_DOWN

    def _truly_equal(self, pairs: np.ndarray, name: str) -> np.ndarray:
        """Without pairs whose 64-bit keys are equal by chance: ``name`` is what they stand for."""
        values = self.arrays[name]
        return pairs[values[pairs[:, 0]] == values[pairs[:, 1]]]

    def _sharing(self, stream: Stream) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return rows_that_share(stream, self._num_rows, self.arrays.folder)

    def _itself(self) -> np.ndarray:
        return np.arange(self._num_rows, dtype=row_type(self._num_rows))

    def _parts(self) -> Iterator[slice]:
        for start in range(0, self._num_rows, ROWS_AT_A_TIME):
            yield slice(start, start + ROWS_AT_A_TIME)


def _label_stream(labels: np.ndarray, is_in: np.ndarray) -> Stream:
    for start in range(0, len(labels), ROWS_AT_A_TIME):
        rows = start + np.flatnonzero(is_in[start : start + ROWS_AT_A_TIME])
        yield labels[rows].astype(np.uint64) * ODD, rows
