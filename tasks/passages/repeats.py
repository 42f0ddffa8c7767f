"""Which runs come again. Pure: keys and places in, the places to cut out.

Of equal runs the first is the one in the first document (documents are ordered by a hash of their
ids), and in it the one that begins first. One that overlaps the first is left with it: of a word
said two hundred times one whole run stays.
"""

from dataclasses import dataclass

import numpy as np

from tasks.common.words import run_starts
from tasks.passages.rules import Rule

MIN_PAGES_OF_SHARE = 3  # a share of two pages says nothing
TOP_OF_SCOPE = 20  # of the passages that a scope repeats most, so many are shown
TOP_IN_ALL = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where runs stand; an entry for each run and key."""

    keys: np.ndarray  # uint64
    orders: np.ndarray  # uint64, the document's place in the order of documents
    documents: np.ndarray  # int64, the document's number
    units: np.ndarray  # int64, the unit of the document that the run begins with
    scopes: np.ndarray  # uint64


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """How many documents each scope has."""

    scopes: np.ndarray  # uint64, sorted
    counts: np.ndarray  # int64

    def of(self, scopes: np.ndarray) -> np.ndarray:
        """The documents of each of these scopes."""
        return self.counts[np.searchsorted(self.scopes, scopes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """Passages that come again most, the first of each."""

    scopes: np.ndarray  # uint64
    entries: np.ndarray  # int64
    counts: np.ndarray  # int64, how often it stands in all
    documents: np.ndarray  # int64, in how many documents


def come_again(keys: np.ndarray) -> np.ndarray:
    """The entries whose key another entry has too, in the order of their keys."""
    order = np.argsort(keys)
    ordered = keys[order]
    is_same = ordered[1:] == ordered[:-1]
    has_equal = np.zeros(len(keys), bool)
    has_equal[1:] |= is_same
    has_equal[:-1] |= is_same
    return order[has_equal]


def decide(places: Places, rule: Rule, pages: Pages) -> tuple[np.ndarray, Top]:
    """The entries to cut, and the passages that come again most."""
    order = np.lexsort((places.units, places.documents, places.orders, places.keys))
    keys, documents = places.keys[order], places.documents[order]
    starts = run_starts(keys)
    sizes = np.diff(np.append(starts, len(keys)))
    first = np.repeat(starts, sizes)
    end_of_first = places.units[order][first] + rule.num_units
    is_with_first = documents == documents[first]
    is_with_first &= places.units[order] < end_of_first
    is_new = np.ones(len(keys), bool)
    is_new[1:] = (documents[1:] != documents[:-1]) | (keys[1:] != keys[:-1])
    num_documents = _sums(is_new, starts)
    scopes = places.scopes[order][starts]
    if rule.min_pages is None:
        comes_again = _sums(~is_with_first, starts) > 0
    else:
        shares = num_documents / np.maximum(1, pages.of(scopes))
        comes_again = (shares >= rule.min_share) & (num_documents >= MIN_PAGES_OF_SHARE)
        comes_again |= num_documents >= rule.min_pages
    is_cut = np.repeat(comes_again, sizes)
    if rule.keep == "first":
        is_cut &= ~is_with_first
    groups = np.flatnonzero(comes_again)
    groups = groups[top_of(scopes[groups], sizes[groups], keys[starts][groups])]
    top = Top(
        scopes=scopes[groups],
        entries=order[starts[groups]],
        counts=sizes[groups],
        documents=num_documents[groups],
    )
    return order[is_cut], top


def top_of(scopes: np.ndarray, counts: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """The entries with the greatest counts, so many of each scope and so many in all."""
    order = np.lexsort((ties, -counts, scopes))
    starts = run_starts(scopes[order])
    sizes = np.diff(np.append(starts, len(order)))
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    of_scope = order[rank < TOP_OF_SCOPE]
    return of_scope[np.lexsort((ties[of_scope], -counts[of_scope]))][:TOP_IN_ALL]


def _sums(flags: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.add.reduceat(flags.astype(np.int64), starts) if len(starts) else starts
