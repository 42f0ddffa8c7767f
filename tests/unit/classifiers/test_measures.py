"""The numbers that judge classifiers, against slow readings of their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.classifiers.measures import (
    area_under_curve,
    calibration_error,
    class_measures,
    class_scale,
    equal_weights,
    logit_scale,
    points_measures,
    points_scale,
    reliability,
)
from tasks.common.classifier import sigmoid

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40)


@given(PAIRS)
def test_area_is_the_chance_that_a_positive_outscores_a_negative(pairs: list[tuple[int, bool]]):
    positives = [score for score, good in pairs if good]
    negatives = [score for score, good in pairs if not good]
    found = area_under_curve([s for s, _ in pairs], [good for _, good in pairs])
    if not positives or not negatives:
        assert found is None
        return
    wins = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
    assert found == pytest.approx(wins / (len(positives) * len(negatives)))


def draws(num: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and outcomes that come true as often as the logits say."""
    random = np.random.default_rng(5)
    logits = random.normal(0, 2, num)
    return logits, random.random(num) < sigmoid(logits)


def test_who_tells_the_truth_has_no_calibration_error_and_who_boasts_has():
    logits, outcome = draws()
    assert calibration_error(reliability(sigmoid(logits), outcome)) < 0.02
    assert calibration_error(reliability(sigmoid(3 * logits), outcome)) > 0.08
    assert calibration_error([]) is None


def test_a_calibration_error_by_hand():
    curve = reliability(
        np.array([0.9, 0.9, 0.9, 0.9, 0.2]), np.array([True, True, False, False, False])
    )
    assert calibration_error(curve) == pytest.approx((4 * 0.4 + 0.2) / 5)


def test_a_rare_kind_weighs_as_much_as_a_common_one():
    """Who says 0.5 of both kinds is right, if they weigh the same."""
    kinds = np.r_[np.zeros(90, bool), np.ones(10, bool)]
    said = np.full(100, 0.5)
    assert calibration_error(reliability(said, kinds)) == pytest.approx(0.4)
    assert calibration_error(reliability(said, kinds, equal_weights(kinds))) == pytest.approx(0)


def test_boasting_is_undone():
    logits, outcome = draws()
    scale, shift = logit_scale(4 * logits + 3, outcome)
    assert scale == pytest.approx(1 / 4, rel=0.05)
    assert shift == pytest.approx(-3 / 4, abs=0.08)


def test_kinds_that_are_set_apart_have_a_finite_scale_and_the_reversed_none():
    values = np.r_[np.full(50, -1.0), np.full(50, 1.0)]
    kinds = np.r_[np.zeros(50, bool), np.ones(50, bool)]
    assert logit_scale(values, kinds)[0] < 10
    assert logit_scale(-values, kinds) == (1.0, 0.0)
    assert logit_scale(values[:3], kinds[:3]) == (1.0, 0.0)


def test_the_temperature_of_classes_is_found():
    random = np.random.default_rng(3)
    logits = random.normal(0, 1.5, (20_000, 4))
    label = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)  # a draw of the softmax
    assert class_scale(logits * 5, label) == pytest.approx(1 / 5, rel=0.05)


def test_class_measures_by_hand():
    found = class_measures(["a", "a", "b", "c"], ["a", "b", "b", "b"], ["a", "b", "c"])
    assert found["accuracy"] == 0.5
    assert found["majority_accuracy"] == 0.5
    assert found["f1"] == {"a": pytest.approx(2 / 3), "b": 0.5, "c": 0.0}
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0.5) / 3)


def test_points_measures_by_hand():
    found = points_measures(np.array([0.0, 2, 3, 5]), np.array([1.0, 3, 2, 4]))
    assert found["mse"] == 1
    assert found["f1_at_3"] == 0.5
    assert found["spearman"] == pytest.approx(0.8)


def test_shrunken_points_are_stretched_again():
    points = np.tile(np.arange(6.0), 10)
    scale, shift = points_scale(2.5 + (points - 2.5) / 4, points)
    assert (scale, shift) == (pytest.approx(4), pytest.approx(-7.5))
