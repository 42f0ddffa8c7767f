"""Intervals and baselines. Pure arithmetic, with the sources of the formulas."""

import math
from collections.abc import Sequence

import numpy as np

Z_95 = 1.959963984540054


def wilson_interval(num_right: float, num_asked: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927), right also near 0 and 1 and for few trials."""
    if num_asked == 0:
        return 0.0, 1.0
    p, n, z2 = num_right / num_asked, num_asked, Z_95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def share_interval(shares: Sequence[float]) -> tuple[float, float, float]:
    """Mean of values in [0, 1] (wins, with halves for draws) and its 95 % interval.

    By the normal approximation on their own spread, kept within [0, 1]; values that are all the
    same show no spread, and to them Wilson's interval applies: five wins of five are no certainty.
    """
    values = np.asarray(shares, dtype=float)
    mean = float(values.mean())
    if values.min() == values.max():
        return mean, *wilson_interval(float(values.sum()), len(values))
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean, max(0.0, mean - Z_95 * error), min(1.0, mean + Z_95 * error)


def unigram_bits(train_counts: np.ndarray, validation_counts: np.ndarray) -> float:
    """Bits that a unigram model (add-one) needs for the validation tokens, by training counts."""
    smoothed = train_counts + 1.0
    return float(-(validation_counts * np.log2(smoothed / smoothed.sum())).sum())
