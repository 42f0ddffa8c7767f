"""Which of the versions of a page counts, if any. Pure: keys and dates of documents in, rows out.

Later crawls of a site stand beside the earlier ones, so that one address may have several versions.
The one that was fetched last counts, unless the page was withdrawn since. Nothing here depends on
the order of the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

NO_URL = 0


@dataclass(frozen=True)
class Withdrawals:
    """Pages that may be kept no longer.

    Args:
        keys: of their sources and URLs, uint64; one may come several times.
        dates: when that was seen, bytes, ISO 8601 in UTC.
    """

    keys: np.ndarray
    dates: np.ndarray


def url_keys(sources: Sequence[str], urls: Sequence[str]) -> np.ndarray:
    """64 bits for each document that are equal where source and URL are; NO_URL if it has none.

    A URL is taken as it is written: within one source, one crawler spelled them all. What a page
    says of its canonical address is not believed, since a mistaken template says the same on all
    pages of a site, and would leave one of them.
    """
    keys = (
        xxhash.xxh3_64_intdigest(f"{source}\0{url}".encode()) if url else NO_URL
        for source, url in zip(sources, urls, strict=True)
    )
    return np.fromiter(keys, np.uint64, len(urls))


def newest_versions(keys: np.ndarray, fetched_at: np.ndarray, preference: np.ndarray) -> np.ndarray:
    """For each row the row of its page's newest version; itself if it is that one.

    A version without a date counts as the oldest. Where none has a date nothing is newer than the
    rest: they may as well be passages of one page, in a table of texts, and all of them stay.

    Args:
        keys: of source and URL, uint64.
        fetched_at: bytes, ISO 8601 in UTC, empty if unknown.
        preference: which of two rows of the same date to prefer: the one with the lesser number.
    """
    newest = np.arange(len(keys))
    rows, pages = _rows_of_several(keys)
    if not len(rows):
        return newest
    dates = _instants(fetched_at[rows])
    _, age = np.unique(dates, return_inverse=True)  # the greater the younger
    order = np.lexsort((preference[rows], -age, pages))
    rows, pages, dates = rows[order], pages[order], dates[order]
    first = np.flatnonzero(np.diff(pages, prepend=-1))
    best = np.repeat(first, np.diff(first, append=len(pages)))
    newest[rows] = np.where(dates[best] == b"", rows, rows[best])
    return newest


def are_withdrawn(keys: np.ndarray, fetched_at: np.ndarray, withdrawals: Withdrawals) -> np.ndarray:
    """Whether each row's page was withdrawn after, or on the very date when, it was fetched.

    A page that came back later has a later date, and stays.
    """
    found = np.zeros(len(keys), bool)
    if len(withdrawals.keys):
        dates = _instants(withdrawals.dates)
        order = np.lexsort((dates, withdrawals.keys))
        pages, dates = withdrawals.keys[order], dates[order]
        rows = np.flatnonzero(np.isin(keys, pages))
        last = dates[np.searchsorted(pages, keys[rows], side="right") - 1]
        found[rows] = _instants(fetched_at[rows]) <= last
    return found


def _rows_of_several(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows whose key others have, too, and beside each a number of its key, ascending."""
    order = np.argsort(keys)
    is_repeated = keys[order[1:]] == keys[order[:-1]]
    shares = np.zeros(len(keys), bool)
    shares[1:] = is_repeated
    shares[:-1] |= is_repeated
    shares &= keys[order] != NO_URL
    rows = order[shares]
    return rows, np.cumsum(np.diff(keys[rows], prepend=keys[rows[:1]]) != 0)


def _instants(dates: np.ndarray) -> np.ndarray:
    """Dates that sort as the times they name: 08:00:00Z before 08:00:00.5Z."""
    return np.char.rstrip(dates, b"Z")
