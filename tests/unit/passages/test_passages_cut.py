"""Joints: what stays stays as it was, and nothing runs together."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.passages.cut import united, without


@pytest.mark.parametrize(
    ("text", "gone", "left"),
    [
        ("one two three", "two", "one three"),
        ("one\ntwo\nthree", "two", "one\nthree"),
        ("one\n\ntwo\n\nthree\n", "two", "one\n\nthree\n"),
        ("one\n\ntwo three", "two", "one\n\nthree"),
        ("def f():\n    one\n    two\n", "one", "def f():\n    two\n"),
        ("  one\n  two", "one", "  two"),
        ("one two\n\n", "two", "one"),
        ("甲乙丙", "乙", "甲\n丙"),
        (" one ", "one", ""),
    ],
)
def test_joints(text, gone, left):
    start = text.index(gone)
    assert without(text, [(start, start + len(gone))]) == left


@given(
    st.text("ab \n漢", max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=4),
)
def test_what_is_not_blank_and_not_cut_stays_in_order(text, drawn):
    cuts = united([(min(p), min(max(p), len(text))) for p in drawn if min(p) < len(text)])
    kept = "".join(c for at, c in enumerate(text) if not any(a <= at < b for a, b in cuts))
    assert "".join(without(text, cuts).split()) == "".join(kept.split())
    assert without(text, []) == text


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), max_size=6))
def test_united_stretches_cover_the_same_and_do_not_touch(drawn):
    stretches = [(start, start + length) for start, length in drawn]
    merged = united(stretches)
    assert {at for a, b in merged for at in range(a, b)} == {
        at for a, b in stretches for at in range(a, b)
    }
    assert all(left[1] < right[0] for left, right in pairwise(merged))
