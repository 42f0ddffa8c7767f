"""The numbers that judge and calibrate a classifier. Pure: scores and truths in, numbers out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import spearmanr

NUM_BINS = 10
MIN_TO_CALIBRATE = 20
MIN_SCALE, MAX_SCALE = 0.01, 100.0


def area_under_curve(scores: Sequence[float], is_positive: Sequence[bool]) -> float | None:
    """How often a positive outscores a negative, a tie counting half; None without both kinds.

    Mann and Whitney (1947): the mean rank of the positives says it in one sort.
    """
    positive = np.asarray(is_positive, bool)
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        return None
    _, which, counts = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    middle_ranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(middle_ranks[which][positive].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative)


def reliability(
    probabilities: np.ndarray, is_right: np.ndarray, weights: np.ndarray | None = None
) -> list[dict[str, float]]:
    """The reliability curve (DeGroot and Fienberg 1983): what was said and what came true, in bins
    of equal width; those that are empty are left out.
    """
    weights = np.ones(len(probabilities)) if weights is None else weights
    which = np.minimum((probabilities * NUM_BINS).astype(int), NUM_BINS - 1)
    return [
        {
            "said": float(np.average(probabilities[here], weights=weights[here])),
            "true": float(np.average(is_right[here], weights=weights[here])),
            "weight": float(weights[here].sum()),
        }
        for here in (which == number for number in np.unique(which))
    ]


def equal_weights(kinds: np.ndarray) -> np.ndarray:
    """Weights by which each of the kinds that occur weighs as much as the others."""
    _, which, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    return np.asarray(1 / counts[which])


def calibration_error(curve: Sequence[dict[str, float]]) -> float | None:
    """Expected calibration error (Naeini et al. 2015): the mean distance between the two."""
    total = sum(bin_["weight"] for bin_ in curve)
    if not total:
        return None
    return float(sum(bin_["weight"] * abs(bin_["said"] - bin_["true"]) for bin_ in curve) / total)


def histogram(scores: np.ndarray) -> list[int]:
    """How many scores lie in each twentieth of [0, 1]."""
    return [int(n) for n in np.histogram(scores, bins=20, range=(0, 1))[0]]


def class_measures(
    truth: Sequence[str], guess: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, F1 averaged over the labels that occur, F1 of each, and the commonest's share."""
    right = np.asarray(truth) == np.asarray(guess)
    f1 = {}
    for label in labels:
        said, true = np.asarray(guess) == label, np.asarray(truth) == label
        if said.any() or true.any():
            f1[label] = 2 * int((said & true).sum()) / int(said.sum() + true.sum())
    commonest = max((list(truth).count(label) for label in labels), default=0)
    return {
        "accuracy": float(right.mean()) if len(right) else None,
        "macro_f1": float(np.mean(list(f1.values()))) if f1 else None,
        "majority_accuracy": commonest / len(right) if len(right) else None,
        "f1": f1,
    }


def points_measures(truth: np.ndarray, said: np.ndarray, threshold: float = 3.0) -> dict[str, Any]:
    """Mean squared error, F1 at a number of points (3 in FineWeb-Edu), rank correlation."""
    if len(truth) < 2:
        return {"mse": None, "f1_at_3": None, "spearman": None}
    good, called_good = truth >= threshold, said >= threshold
    num = int(good.sum() + called_good.sum())
    varies = len(set(truth)) > 1 and len(set(said)) > 1
    return {
        "mse": float(((truth - said) ** 2).mean()),
        "f1_at_3": 2 * int((good & called_good).sum()) / num if num else None,
        "spearman": float(spearmanr(truth, said).statistic) if varies else None,
    }


def logit_scale(values: np.ndarray, is_positive: np.ndarray) -> tuple[float, float]:
    """Scale and shift that make logits tell the truth (Platt 1999), both kinds weighing the same.

    (1, 0) where there is too little to say, or where the values do not tell the kinds apart.
    """
    positive = np.asarray(is_positive, bool)
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if min(num_positive, num_negative) < MIN_TO_CALIBRATE:
        return 1.0, 0.0
    weight = equal_weights(positive) / 2
    # Platt's targets: never quite sure, so that kinds that are set apart have a finite scale.
    sure, unsure = (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2)
    target = np.where(positive, sure, unsure)

    def loss(both: np.ndarray) -> float:
        z = both[0] * values + both[1]
        return float((weight * (np.logaddexp(0, z) - target * z)).sum())

    scale, shift = minimize(loss, np.array([1.0, 0.0]), method="Nelder-Mead").x
    return (float(scale), float(shift)) if MIN_SCALE < scale < MAX_SCALE else (1.0, 0.0)


def class_scale(values: np.ndarray, label: np.ndarray) -> float:
    """The scale of logits under which they tell the truth (temperature scaling, Guo et al. 2017);
    1 where there is too little to say.
    """
    if len(label) < MIN_TO_CALIBRATE:
        return 1.0

    def loss(log_scale: float) -> float:
        z = np.exp(log_scale) * values
        z = z - z.max(axis=1, keepdims=True)
        return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), label]).mean())

    bounds = (np.log(MIN_SCALE), np.log(MAX_SCALE))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def points_scale(values: np.ndarray, points: np.ndarray) -> tuple[float, float]:
    """Scale and shift from shrunken predictions to points, by least squares; (1, 0) where there is
    too little to say.
    """
    if len(values) < MIN_TO_CALIBRATE or np.ptp(values) == 0:
        return 1.0, 0.0
    centred = values - values.mean()
    scale = float((centred * (points - points.mean())).sum() / (centred**2).sum())
    if not MIN_SCALE < scale < MAX_SCALE:
        return 1.0, 0.0
    return scale, float(points.mean() - scale * values.mean())
