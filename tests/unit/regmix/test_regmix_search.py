"""Sampling and regression: laws, and known functions whose best mixture is known too."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.regmix.search import (
    best_mixture,
    draw_mixtures,
    fit,
    held_out_predictions,
    rank_correlation,
    within_limits,
)

SHARES = np.array([0.5, 0.3, 0.2])
FREE = np.ones(3)


def drawn(size: int, shares=SHARES, limits=FREE, strengths=(0.5, 5.0), seed=0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return draw_mixtures(shares, limits, size, strengths=strengths, rng=rng)


def test_draws_are_mixtures_around_the_shares():
    mixtures = drawn(20_000)
    assert mixtures.min() >= 0
    assert mixtures.sum(axis=1) == pytest.approx(1)
    assert mixtures.mean(axis=0) == pytest.approx(SHARES, abs=0.01)
    weak, strong = (drawn(5_000, strengths=(s, s)).std(axis=0) for s in (0.3, 30.0))
    assert (weak > 3 * strong).all()


LIMITS = st.lists(st.floats(0.02, 1), min_size=2, max_size=6)


@given(LIMITS, st.integers(0, 100))
def test_no_mixture_goes_beyond_a_limit(limits, seed):
    limits = np.array(limits)
    assume(limits.sum() > 1)
    shares = np.ones(len(limits)) / len(limits)
    mixtures = drawn(50, shares, limits, seed=seed)
    assert mixtures.sum(axis=1) == pytest.approx(1)
    if limits.sum() > 1.01:
        assert (mixtures <= limits * 1.01).all()


def test_what_is_over_a_limit_is_handed_on_by_weight():
    found = within_limits(np.array([[0.6, 0.3, 0.1]]), np.array([0.4, 1.0, 1.0]))
    assert found == pytest.approx(np.array([[0.4, 0.45, 0.15]]))


def losses_of(mixtures: np.ndarray, noise: float = 0.0) -> np.ndarray:
    """Diminishing returns in the first two groups, nothing from the third: best at (.5, .5, 0)."""
    kept = np.exp(-3 * mixtures[:, 0]) + np.exp(-3 * mixtures[:, 1])
    return 4 + kept + noise * np.random.default_rng(5).standard_normal(len(mixtures))


def test_a_linear_loss_is_learnt_exactly_and_ranked_perfectly():
    mixtures = drawn(30)
    losses = mixtures @ np.array([3.0, 2.0, 5.0])
    predicted = held_out_predictions("linear", mixtures, losses, 5, seed=0)
    assert predicted == pytest.approx(losses, abs=0.02)
    assert rank_correlation(predicted, losses) > 0.99
    slopes = fit("linear", mixtures, losses, 0)(np.eye(3))
    assert slopes == pytest.approx([3.0, 2.0, 5.0], abs=0.02)


@pytest.mark.parametrize("kind", ["quadratic", "lightgbm"])
def test_the_mixture_found_is_better_than_what_was_drawn(kind):
    mixtures, simulated = drawn(64), drawn(20_000, seed=1)
    losses = losses_of(mixtures, noise=0.02)
    found = best_mixture(
        mixtures, losses, simulated, kinds=(kind,), num_folds=6, num_top=100, seed=0
    )
    assert found.weights.sum() == pytest.approx(1)
    true = losses_of(found.weights[None])[0]
    assert true < losses_of(SHARES[None])[0]
    assert true < np.quantile(losses_of(mixtures), 0.2)
    assert found.rank_correlations[kind] > 0.5


@pytest.mark.parametrize("kind", ["quadratic", "lightgbm"])
def test_a_curve_is_preferred_to_a_line_where_returns_diminish(kind):
    """The loss is least in the middle of the second group's range, so no line ranks well."""
    mixtures, simulated = drawn(128, strengths=(1, 2)), drawn(20_000, strengths=(1, 2), seed=1)
    losses = (mixtures[:, 1] - 0.3) ** 2
    found = best_mixture(
        mixtures, losses, simulated, kinds=(kind, "linear"), num_folds=6, num_top=100, seed=0
    )
    assert found.kind == kind
    assert found.rank_correlations[kind] > 0.8 > found.rank_correlations["linear"]
    assert found.weights[1] == pytest.approx(0.3, abs=0.08)


def test_what_was_held_out_is_not_seen():
    """Losses without any pattern cannot be ranked; a regression that saw them would do well."""
    mixtures = drawn(200)
    losses = np.random.default_rng(3).standard_normal(200)
    for kind in ("linear", "quadratic", "lightgbm"):
        predicted = held_out_predictions(kind, mixtures, losses, 5, seed=0)
        assert abs(rank_correlation(predicted, losses)) < 0.25
    assert rank_correlation(fit("lightgbm", mixtures, losses, 0)(mixtures), losses) > 0.6
