"""Who is a copy of whom. Pure: keys of all documents in, the row that stands for each row out.

Nothing here depends on the order of the rows: clusters are connected components, and the one that
stays is chosen by the documents' own dates, lengths and ids.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

BAND_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What is known of every document, one entry a row."""

    ids: np.ndarray  # text
    exact_keys: np.ndarray  # hex, as bytes
    signatures: np.ndarray  # uint32, one line a signed row
    signed_rows: np.ndarray  # the row that each line of signatures belongs to
    num_chars: np.ndarray
    fetched_at: np.ndarray  # text, empty if unknown
    sources: np.ndarray  # text


def stands_for(
    corpus: Corpus, *, exact: bool, num_bands: int, rows_per_band: int, keep: str
) -> np.ndarray:
    """For each row the row that is kept in its place; itself if it stays.

    Rows of one id are always one document: every later decision is keyed by id.
    """
    if not len(corpus.ids):
        return np.empty(0, np.int64)
    edges = [_equal_pairs(corpus.ids)]
    if exact:
        edges.append(_equal_pairs(corpus.exact_keys))
    if num_bands:
        edges += [
            corpus.signed_rows[pair]
            for pair in _band_pairs(corpus.signatures, num_bands, rows_per_band)
        ]
    labels = _components(np.concatenate(edges, axis=1), len(corpus.ids))
    return _best_of_each(labels, _preference(corpus, keep))


def _equal_pairs(keys: np.ndarray) -> np.ndarray:
    """Pairs of neighbours among equal keys: enough to connect them all, however many."""
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    return np.stack([order[:-1][same], order[1:][same]])


def _band_pairs(signatures: np.ndarray, num_bands: int, rows_per_band: int) -> list[np.ndarray]:
    return [
        _equal_pairs(_band_keys(signatures[:, band * rows_per_band : (band + 1) * rows_per_band]))
        for band in range(num_bands)
    ]


def _band_keys(rows: np.ndarray) -> np.ndarray:
    """One 64-bit key a row of a band."""
    keys = np.zeros(len(rows), np.uint64)
    for column in rows.T:
        keys = (keys ^ (keys >> np.uint64(29))) * BAND_BASE + column
    return keys


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
        unknown_last = np.where(corpus.fetched_at == "", "~", corpus.fetched_at)
        order = np.lexsort((*ties, unknown_last))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return places


def _best_of_each(labels: np.ndarray, places: np.ndarray) -> np.ndarray:
    by_place = np.argsort(places)
    _, first = np.unique(labels[by_place], return_index=True)
    return by_place[first][labels]


def reason(kept: int, row: int, corpus: Corpus) -> str | None:
    """Why ``row`` goes, if ``kept`` stands for it."""
    if kept == row:
        return None
    if corpus.exact_keys[kept] == corpus.exact_keys[row]:
        return "exact_duplicate"
    return "duplicate_id" if corpus.ids[kept] == corpus.ids[row] else "near_duplicate"
