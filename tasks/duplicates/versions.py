"""Which of the versions of a page counts, if any. Pure: keys and times of documents in, rows out.

Later crawls of a site stand beside the earlier ones, so that one address may have several versions.
The one that was fetched last counts, unless the page was withdrawn since. Nothing here depends on
the order of the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.common.signature_index import UNKNOWN
from tasks.common.words import run_starts


@dataclass(frozen=True)
class Withdrawals:
    """Pages that may be kept no longer.

    Args:
        keys: of their sources and URLs, uint64; one may come several times.
        times: when that was seen, in microseconds since 1970.
    """

    keys: np.ndarray
    times: np.ndarray


def newest_versions(
    pages: np.ndarray,
    fetched_at: np.ndarray,
    preference: Sequence[np.ndarray],
    *,
    undated_too: bool = False,
) -> np.ndarray:
    """For each row the place of its page's newest version; its own if it is that one.

    A version without a time counts as the oldest. Where none has a time nothing is newer than the
    rest: they may as well be passages of one page, in a table of texts, and all of them stay.

    Args:
        pages: one key a page.
        fetched_at: microseconds since 1970, or UNKNOWN.
        preference: which of two versions of the same time to prefer, as keys of ``np.lexsort``.
        undated_too: even where no version has a time one of them counts, the preferred one.
    """
    order = np.lexsort((*preference, ~fetched_at, pages))  # ~ turns an order round
    starts = run_starts(pages[order])
    newest = np.empty(len(pages), np.int64)
    newest[order] = np.repeat(order[starts], np.diff(starts, append=len(pages)))
    if undated_too:
        return newest
    return np.where(fetched_at[newest] == UNKNOWN, np.arange(len(pages)), newest)


def are_withdrawn(keys: np.ndarray, fetched_at: np.ndarray, withdrawals: Withdrawals) -> np.ndarray:
    """Whether each row's page was withdrawn after, or at the very time when, it was fetched.

    A page that came back later has a later time, and stays.
    """
    found = np.zeros(len(keys), bool)
    if len(withdrawals.keys):
        order = np.lexsort((withdrawals.times, withdrawals.keys))
        pages, times = withdrawals.keys[order], withdrawals.times[order]
        rows = np.flatnonzero(np.isin(keys, pages))
        last = times[np.searchsorted(pages, keys[rows], side="right") - 1]
        found[rows] = fetched_at[rows] <= last
    return found
