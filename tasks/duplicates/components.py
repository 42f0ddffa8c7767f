"""Who is connected with whom. Pure: pairs of rows in, the least row of each component out.

A forest of parents in one array (Tarjan 1975), joined a batch of pairs at a time: pairs are first
led to the roots of their trees, so that only what is not connected yet costs anything.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.common.words import run_starts

PAIRS_AT_A_TIME = 1 << 20
MAX_LEADERS = 16  # of one band key: what is like none of so many is left to the other bands


def row_type(num_rows: int) -> type[np.signedinteger]:
    """The smallest type that numbers so many rows."""
    return np.int32 if num_rows <= np.iinfo(np.int32).max else np.int64


class Components:
    """Connected components of ``num_rows`` rows, 4 bytes each (8 beyond two billions)."""

    def __init__(self, num_rows: int) -> None:
        self._parents = np.arange(num_rows, dtype=row_type(num_rows))

    def join(self, pairs: np.ndarray) -> None:
        """Connect the two rows of each pair; ``pairs`` has two columns."""
        for start in range(0, len(pairs), PAIRS_AT_A_TIME):
            self._join(pairs[start : start + PAIRS_AT_A_TIME])

    def labels(self) -> np.ndarray:
        """For each row the least row of its component; the array is the forest's own."""
        for start in range(0, len(self._parents), PAIRS_AT_A_TIME):
            rows = np.arange(start, min(start + PAIRS_AT_A_TIME, len(self._parents)))
            self._roots(rows)
        return self._parents

    def _join(self, pairs: np.ndarray) -> None:
        roots = np.stack([self._roots(pairs[:, 0]), self._roots(pairs[:, 1])])
        roots = roots[:, roots[0] != roots[1]]
        if not roots.size:
            return
        nodes, ends = np.unique(roots, return_inverse=True)
        left, right = ends.reshape(2, -1)
        graph = coo_array((np.ones(len(left)), (left, right)), shape=(len(nodes), len(nodes)))
        _, labels = connected_components(graph, directed=False)
        _, first = np.unique(labels, return_index=True)  # nodes ascend, so the first is the least
        self._parents[nodes] = nodes[first[labels]]

    def _roots(self, rows: np.ndarray) -> np.ndarray:
        found = self._parents[rows]
        while True:
            above = self._parents[found]
            if np.array_equal(above, found):
                break
            found = above
        self._parents[rows] = found
        return found


def neighbours(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pairs of rows with equal keys, given in the order of keys: enough to connect them all."""
    same = keys[1:] == keys[:-1]
    return np.stack([rows[:-1][same], rows[1:][same]], axis=1)


def followers(
    keys: np.ndarray, rows: np.ndarray, are_alike: Callable[[np.ndarray], np.ndarray]
) -> Iterator[np.ndarray]:
    """Pairs of rows with equal keys that are truly alike: each row with a leader of its key.

    The first row of a key leads those that are like it; of the others again the first, and so on.

    Args:
        keys: ascending; rows with equal keys stand in an order that depends on themselves alone.
        rows: one for each key.
        are_alike: says which of some pairs of rows are.
    """
    for _ in range(MAX_LEADERS):
        if not len(rows):
            return
        starts = run_starts(keys)
        leaders = np.repeat(rows[starts], np.diff(starts, append=len(rows)))
        follows = np.ones(len(rows), bool)
        follows[starts] = False
        pairs = np.stack([leaders, rows], axis=1)[follows]
        alike = are_alike(pairs)
        yield pairs[alike]
        keys, rows = keys[follows][~alike], rows[follows][~alike]
