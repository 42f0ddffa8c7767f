"""Who is a copy of whom. Pure: keys of all documents in, the row that stands for each row out.

Older versions of a page go first, so that no page is a copy of what another one once said. Nothing
here depends on the order of the rows: clusters are connected components, and the one that stays is
chosen by the documents' own dates, lengths and ids.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.common.shard import TAKEN_DOWN
from tasks.dedup.config import DedupConfig
from tasks.dedup.versions import Withdrawals, are_withdrawn, newest_versions

REASONS = (
    None,
    "exact_duplicate",
    "duplicate_id",
    "near_duplicate",
    "older_version",
    "withdrawn",
    TAKEN_DOWN,
)
OLDER_VERSION, WITHDRAWN, TAKEN = 4, 5, 6


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
    url_keys: np.ndarray  # uint64, of source and URL
    is_listed: np.ndarray  # whether a takedown list names it


def verdicts(
    corpus: Corpus, withdrawals: Withdrawals, config: DedupConfig
) -> tuple[np.ndarray, np.ndarray]:
    """For each row the row that is kept in its place, and why it goes.

    The first is the row itself if it stays, or if nothing does; the second is an index into
    REASONS, 0 for a row that stays.
    """
    rows = np.arange(len(corpus.ids))
    preference = _preference(corpus, config.keep)
    newest = rows
    if config.newest_per_url:
        newest = newest_versions(corpus.url_keys, corpus.fetched_at, preference)
    # of the newest version, so that a page that went and came back is only an older version
    is_gone = are_withdrawn(corpus.url_keys, corpus.fetched_at, withdrawals)[newest]
    is_old = newest != rows
    is_in = ~(is_gone | is_old)
    if not config.takedown_copies:
        is_in &= ~corpus.is_listed
    labels = _clusters(corpus, is_in, exact=config.exact)
    kept = _best_of_each(labels, preference)
    is_taken = np.isin(labels, labels[corpus.is_listed])[newest]
    conditions, codes = [is_taken, is_gone, is_old], [TAKEN, WITHDRAWN, OLDER_VERSION]
    why = np.select(conditions, codes, _reasons(kept, corpus))
    return np.where(is_gone | is_taken, rows, kept[newest]), why.astype(np.uint8)


def _clusters(corpus: Corpus, is_in: np.ndarray, *, exact: bool) -> np.ndarray:
    """A number for each row that it shares with its copies; rows that are not in are nobody's.

    Rows of one id are always one document: every later decision is keyed by id.
    """
    if not len(corpus.ids):
        return np.empty(0, np.int64)
    rows = np.flatnonzero(is_in)
    lines = np.flatnonzero(is_in[corpus.signed_rows])
    signed_rows = corpus.signed_rows[lines]
    edges = [rows[_equal_pairs(corpus.ids[rows])]]
    if exact:
        edges.append(rows[_equal_pairs(corpus.exact_keys[rows])])
    edges += [signed_rows[_equal_pairs(band[lines])] for band in corpus.band_keys.T]
    return _components(np.concatenate(edges, axis=1), len(corpus.ids))


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


def _reasons(kept: np.ndarray, corpus: Corpus) -> np.ndarray:
    is_exact = corpus.exact_keys[kept] == corpus.exact_keys
    has_same_id = corpus.ids[kept] == corpus.ids
    why = np.select([is_exact, has_same_id], [1, 2], 3)
    return np.where(kept == np.arange(len(kept)), 0, why)
