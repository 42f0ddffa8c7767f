"""Who is a copy of whom. Pure: keys of all documents in, the row that stands for each row out.

Nothing here depends on the order of the rows: clusters are connected components, and the one that
stays is chosen by the documents' own dates, lengths and ids.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

REASONS = (None, "exact_duplicate", "duplicate_id", "near_duplicate")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What is known of every document, one entry a row."""

    ids: np.ndarray  # bytes, UTF-8
    exact_keys: np.ndarray  # 16 bytes
    band_keys: np.ndarray  # uint64, one line a signed row, one column a band
    signed_rows: np.ndarray  # the row that each line of band keys belongs to
    num_chars: np.ndarray
    fetched_at: np.ndarray  # bytes, empty if unknown
    sources: np.ndarray  # bytes, UTF-8


def stands_for(corpus: Corpus, *, exact: bool, keep: str) -> np.ndarray:
    """For each row the row that is kept in its place; itself if it stays.

    Rows of one id are always one document: every later decision is keyed by id.
    """
    if not len(corpus.ids):
        return np.empty(0, np.int64)
    edges = [_equal_pairs(corpus.ids)]
    if exact:
        edges.append(_equal_pairs(corpus.exact_keys))
    edges += [corpus.signed_rows[_equal_pairs(band)] for band in corpus.band_keys.T]
    labels = _components(np.concatenate(edges, axis=1), len(corpus.ids))
    return _best_of_each(labels, _preference(corpus, keep))


def _equal_pairs(keys: np.ndarray) -> np.ndarray:
    """Pairs of neighbours among equal keys: enough to connect them all, however many."""
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    return np.stack([order[:-1][same], order[1:][same]])


def _components(edges: np.ndarray, num_rows: int) -> np.ndarray:
    graph = coo_array(
        (np.ones(edges.shape[1], np.int8), (edges[0], edges[1])), (num_rows, num_rows)
    )
    return connected_components(graph, directed=False)[1]


def _preference(corpus: Corpus, keep: str) -> np.ndarray:
    """Each row's place in the order of preference, 0 the best."""
    ties = (corpus.exact_keys, corpus.sources, corpus.ids)
    if keep == "longest":
        order = np.lexsort((*ties, -corpus.num_chars))
    else:
        unknown_last = np.where(corpus.fetched_at == b"", b"~", corpus.fetched_at)
        order = np.lexsort((*ties, unknown_last))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def _best_of_each(labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    by_place = np.argsort(places)
    _, first = np.unique(labels[by_place], return_index=True)
    return by_place[first][labels]


def reasons(kept: np.ndarray, corpus: Corpus) -> np.ndarray:
    """Why each row goes if ``kept`` stands for it, as an index into REASONS; 0 if it stays."""
    is_exact = corpus.exact_keys[kept] == corpus.exact_keys
    has_same_id = corpus.ids[kept] == corpus.ids
    why = np.select([is_exact, has_same_id], [1, 2], 3)
    return np.where(kept == np.arange(len(kept)), 0, why).astype(np.uint8)
