"""Intervals and baselines against other people's arithmetic."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from tasks.common.statistics import share_interval, unigram_bits, wilson_interval


@given(st.integers(1, 5_000), st.data())
def test_wilson_is_scipys(asked, data):
    right = data.draw(st.integers(0, asked))
    theirs = stats.binomtest(right, asked).proportion_ci(method="wilson")
    assert wilson_interval(right, asked) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_nothing_asked_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=300))
def test_a_share_interval_is_scipys_standard_error_within_the_unit_interval(wins):
    assume(len(set(wins)) > 1)
    mean, low, high = share_interval(wins)
    half = stats.norm.ppf(0.975) * stats.sem(wins)
    assert (low, high) == pytest.approx((max(0, mean - half), min(1, mean + half)))


@given(st.sampled_from([0.0, 0.5, 1.0]), st.integers(1, 100))
def test_shares_without_spread_are_no_certainty(share, number):
    mean, low, high = share_interval([share] * number)
    assert mean == share
    assert (low, high) == wilson_interval(share * number, number)
    assert low < high


def test_a_unigram_model_of_even_counts_needs_log2_of_the_vocabulary():
    bits = unigram_bits(np.full(8, 1_000), np.full(8, 10))
    assert bits == pytest.approx(80 * math.log2(8))
