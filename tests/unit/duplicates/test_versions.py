"""Versions of pages and withdrawals, against the same laws said slowly, page by page."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.signature_index import NO_URL, UNKNOWN, instants, page_keys, url_keys
from tasks.duplicates.versions import Withdrawals, are_withdrawn, newest_versions

DATES = ["", "2025-12-31", "2026-01-01T08:00:00Z", "2026-01-01T08:00:00.5Z", "2026-01-02T00:00:00Z"]
pages = st.tuples(st.sampled_from("ab"), st.sampled_from(["", "http://a/", "http://b/"]))
dated = st.lists(st.tuples(pages, st.integers(0, len(DATES) - 1)), max_size=12)


def keys_and_dates(rows: list) -> tuple[np.ndarray, np.ndarray]:
    keys = url_keys([source for (source, _), _ in rows], [url for (_, url), _ in rows])
    return keys, instants([DATES[date] for _, date in rows])


@given(rows=dated, undated_too=st.booleans(), draw=st.randoms())
def test_each_row_stands_behind_the_newest_of_its_page(rows: list, undated_too: bool, draw):
    preference = draw.sample(range(len(rows)), len(rows))
    keys, fetched_at = keys_and_dates(rows)
    newest = newest_versions(
        keys, fetched_at, [np.array(preference, np.int64)], undated_too=undated_too
    )
    for at, key in enumerate(keys):
        versions = [n for n, other in enumerate(keys) if other == key]
        best = max(versions, key=lambda n: (rows[n][1], -preference[n]))
        is_told_apart = undated_too or rows[best][1]
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


def test_documents_without_a_url_have_no_key():
    assert url_keys(["a"], [""]).tolist() == page_keys([""]).tolist() == [NO_URL]


def test_spellings_of_one_address_are_one_page():
    same = ["https://www.A.com:443/b/", "http://a.com/b", "http://u@a.com./b#c"]
    other = ["http://a.com/b?c", "http://b.a.com/b", "http://a.com/B"]
    keys = page_keys([*same, *other]).tolist()
    assert len(set(keys[:3])) == 1 and len(set(keys)) == 4


def test_times_are_compared_whatever_their_zone():
    noon = instants(["2026-01-01T12:00:00Z", "2026-01-01T13:00:00+01:00", "2026-01-01T12:00:00"])
    assert len(set(noon.tolist())) == 1
    assert instants(["2026-01-01T12:00:00.000001Z"])[0] == noon[0] + 1
    assert instants([None, "", "yesterday"]).tolist() == [UNKNOWN] * 3
