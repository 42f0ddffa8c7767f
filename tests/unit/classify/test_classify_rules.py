"""What scores decide: thresholds of groups, and GPT-3's draw against its own formula."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.classify.rules import NUM_BINS, keeps_by_chance, low_quality, thresholds

SCORES = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["en", "de"])), min_size=1, max_size=60
)


@given(SCORES, st.floats(0, 0.99))
def test_no_more_than_the_worst_share_of_a_group_goes(pairs: list[tuple[float, str]], share: float):
    limits = thresholds(((group, np.array([score])) for score, group in pairs), 0.0, share)
    assert set(limits) == {group for _, group in pairs}
    for group in limits:
        own = [score for score, name in pairs if name == group]
        assert sum(score < limits[group] for score in own) <= share * len(own)
        assert sum(score < limits[group] + 1 / NUM_BINS for score in own) > share * len(own)


def test_limits_take_no_memory_a_document():
    rng = np.random.default_rng(0)
    pieces = (("en", rng.random(10_000)) for _ in range(300))
    tracemalloc.start()
    try:
        (limit,) = thresholds(pieces, 0.0, 0.25).values()
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert limit == pytest.approx(0.25, abs=0.01)
    assert peak_bytes < 4_000_000  # of three million documents


def test_the_least_score_holds_in_every_group():
    limits = thresholds([("de", np.array([0.125])), ("en", np.array([0.75]))], 0.5, 0.1)
    assert limits == {"de": 0.5, "en": 0.75}
    assert low_quality("x", 0.1, "de", limits, 0.5, None) == "0.100 < 0.500"
    assert low_quality("x", None, "de", limits, 0.5, None) is None
    assert low_quality("x", 0.1, "fr", {}, 0.5, None) == "0.100 < 0.500"
    assert low_quality("x", 0.6, "fr", {}, 0.5, None) is None


@pytest.mark.parametrize("score", [0.0, 0.5, 0.9, 1.0])
def test_the_share_kept_by_chance_is_that_of_gpt3(score: float):
    """Brown et al. (2020) keep a document if ``np.random.pareto(9) > 1 - score``."""
    kept = np.mean([keeps_by_chance(f"d{n}", score, 9) for n in range(20_000)])
    theirs = np.mean(np.random.default_rng(0).pareto(9, 200_000) > 1 - score)
    assert kept == pytest.approx(theirs, abs=0.01)
