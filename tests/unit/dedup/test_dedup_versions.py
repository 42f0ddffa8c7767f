"""Versions of pages and withdrawals, against the same laws said slowly, page by page."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.dedup.versions import Withdrawals, are_withdrawn, newest_versions, url_keys

DATES = ["", "2025-12-31", "2026-01-01T08:00:00Z", "2026-01-01T08:00:00.5Z", "2026-01-02T00:00:00Z"]
pages = st.tuples(st.sampled_from("ab"), st.sampled_from(["", "http://a/", "http://b/"]))
dated = st.lists(st.tuples(pages, st.integers(0, len(DATES) - 1)), max_size=12)


def keys_and_dates(rows: list) -> tuple[np.ndarray, np.ndarray]:
    keys = url_keys([source for (source, _), _ in rows], [url for (_, url), _ in rows])
    return keys, np.array([DATES[date].encode() for _, date in rows], np.bytes_)


@given(rows=dated, draw=st.randoms())
def test_each_row_stands_behind_the_newest_of_its_page(rows: list, draw):
    preference = draw.sample(range(len(rows)), len(rows))
    newest = newest_versions(*keys_and_dates(rows), np.array(preference, np.int64))
    for at, (page, _) in enumerate(rows):
        versions = [n for n, (other, _) in enumerate(rows) if other == page]
        best = max(versions, key=lambda n: (rows[n][1], -preference[n]))
        is_told_apart = page[1] and rows[best][1]
        assert newest[at] == (best if is_told_apart else at)


@given(rows=dated, gone=dated)
def test_a_row_goes_if_its_page_was_withdrawn_since(rows: list, gone: list):
    gone = [((source, url or "http://c/"), date) for (source, url), date in gone]
    found = are_withdrawn(*keys_and_dates(rows), Withdrawals(*keys_and_dates(gone)))
    expected = [
        any(page == other and date <= since for other, since in gone) for page, date in rows
    ]
    assert found.tolist() == expected


def test_sources_and_urls_do_not_run_into_each_other():
    keys = url_keys(["a", "ab", "a"], ["bc", "c", "bc"])
    assert keys[0] == keys[2] != keys[1]
