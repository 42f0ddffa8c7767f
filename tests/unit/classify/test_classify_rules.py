"""What scores decide: thresholds of groups, and GPT-3's draw against its own formula."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.classify.rules import keeps_by_chance, low_quality, thresholds

SCORES = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["en", "de"])), min_size=1, max_size=60
)


@given(SCORES, st.floats(0, 0.99))
def test_no_more_than_the_worst_share_of_a_group_goes(pairs: list[tuple[float, str]], share: float):
    scores, groups = zip(*pairs, strict=True)
    limits = thresholds(scores, groups, 0.0, share)
    for group in set(groups):
        own = [score for score, name in pairs if name == group]
        assert sum(score < limits[group] for score in own) <= share * len(own)


def test_the_least_score_holds_in_every_group():
    limits = thresholds([0.1, 0.9], ["de", "en"], 0.5, 0.0)
    assert limits == {"de": 0.5, "en": 0.9}
    assert low_quality("x", 0.1, "de", limits, None) == "0.100 < 0.500"
    assert low_quality("x", None, "de", limits, None) is None
    assert low_quality("x", 0.1, "fr", limits, None) is None


@pytest.mark.parametrize("score", [0.0, 0.5, 0.9, 1.0])
def test_the_share_kept_by_chance_is_that_of_gpt3(score: float):
    """Brown et al. (2020) keep a document if ``np.random.pareto(9) > 1 - score``."""
    kept = np.mean([keeps_by_chance(f"d{n}", score, 9) for n in range(20_000)])
    theirs = np.mean(np.random.default_rng(0).pareto(9, 200_000) > 1 - score)
    assert kept == pytest.approx(theirs, abs=0.01)
