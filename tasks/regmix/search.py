"""Sampling mixtures and learning which is best. Pure: shares and losses in, weights out.

RegMix (Liu et al. 2024, arXiv:2407.01492): draw mixtures, train a small model on each, learn to
predict the loss from the weights, predict it for very many mixtures, and take the mean of the best.

Mixtures are rows, groups are columns.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import spearmanr

Regressor = Callable[[np.ndarray], np.ndarray]
"""(mixtures, groups) weights to (mixtures,) predicted losses."""
Kind = Literal["linear", "quadratic", "lightgbm"]
RIDGE = 1e-3  # weights are shares, so this is small beside any group that was tried
NEGLIGIBLE_WEIGHT = 1e-3  # less than a window in most runs


def draw_mixtures(
    shares: np.ndarray,
    limits: np.ndarray,
    size: int,
    *,
    strengths: tuple[float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """(size, groups) mixtures around ``shares``, each summing to 1 and nowhere above ``limits``.

    Dirichlet draws with parameters shares * G * strength; the strength is drawn log-uniformly for
    each, so that some are near the shares and others are extreme.
    """
    strength = np.exp(rng.uniform(math.log(strengths[0]), math.log(strengths[1]), size))
    gammas = rng.standard_gamma(np.outer(strength, shares * len(shares)))
    # All may underflow to zero together, at very low strengths: such a draw is the shares.
    gammas[gammas.sum(axis=1) == 0] = shares
    mixtures = gammas / gammas.sum(axis=1, keepdims=True)
    return within_limits(mixtures, limits)


def within_limits(mixtures: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """The same mixtures with what is above a limit handed on by weight; small weights become 0.

    All limits together must be above 1.
    """
    wanted = np.where(mixtures < NEGLIGIBLE_WEIGHT, 0.0, mixtures)
    wanted = wanted / wanted.sum(axis=1, keepdims=True)
    wanted = np.maximum(wanted, 1e-9 * limits)  # what is left over must find a place
    given = np.zeros_like(wanted)
    for _ in range(len(limits)):  # each round fills a group, or is the last
        full = given >= limits
        left = 1 - (given * full).sum(axis=1, keepdims=True)
        open_weights = np.where(full, 0.0, wanted)
        given = np.where(
            full, limits, left * open_weights / open_weights.sum(axis=1, keepdims=True)
        )
        if not (given > limits).any():
            break
        given = np.minimum(given, limits)
    given[given < NEGLIGIBLE_WEIGHT / 2] = 0.0
    return given / given.sum(axis=1, keepdims=True)


def fit(kind: Kind, mixtures: np.ndarray, losses: np.ndarray, seed: int) -> Regressor:
    """Learn to predict losses from weights."""
    if kind == "lightgbm":
        return _fit_trees(mixtures, losses, seed)
    return _fit_polynomial(1 if kind == "linear" else 2, mixtures, losses)


def _fit_polynomial(degree: int, mixtures: np.ndarray, losses: np.ndarray) -> Regressor:
    """Least squares with a little ridge, on the weights and with degree 2 on their squares too.

    A line is the baseline: it sends all weight to one group. Squares let a group's returns
    diminish, at one parameter a group. Weights sum to 1, so they carry the intercept.
    """

    def features(weights: np.ndarray) -> np.ndarray:
        return np.concatenate([weights**power for power in range(1, degree + 1)], axis=1)

    known, mean = features(mixtures), losses.mean()
    gram = known.T @ known + RIDGE * np.eye(known.shape[1])
    slopes = np.linalg.solve(gram, known.T @ (losses - mean))
    return lambda others: features(others) @ slopes + mean


def _fit_trees(mixtures: np.ndarray, losses: np.ndarray, seed: int) -> Regressor:
    """Boosted trees as in the paper, with leaves small enough for tens of runs."""
    import lightgbm

    settings = {
        "objective": "regression",
        "learning_rate": 0.05,
        "num_leaves": 4,
        "min_data_in_leaf": max(2, len(losses) // 20),
        "feature_fraction": 1.0,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "seed": seed,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(mixtures, label=losses, free_raw_data=False)
    model = lightgbm.train(settings, data, num_boost_round=200)
    return lambda others: np.asarray(model.predict(others))


def held_out_predictions(
    kind: Kind, mixtures: np.ndarray, losses: np.ndarray, num_folds: int, seed: int
) -> np.ndarray:
    """Each loss as predicted by a regression that did not see it."""
    folds = np.random.default_rng(seed).permutation(len(losses)) % num_folds
    predicted = np.empty(len(losses))
    for fold in range(num_folds):
        mine = folds == fold
        if mine.any():
            predict = fit(kind, mixtures[~mine], losses[~mine], seed)
            predicted[mine] = predict(mixtures[mine])
    return predicted


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's; 0 where one of the two does not vary."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The mixture found, and how well its losses were predicted."""

    weights: np.ndarray
    predicted_loss: float
    kind: Kind
    rank_correlations: dict[str, float]
    held_out: np.ndarray


def best_mixture(
    mixtures: np.ndarray,
    losses: np.ndarray,
    simulated: np.ndarray,
    *,
    kinds: tuple[Kind, ...],
    num_folds: int,
    num_top: int,
    seed: int,
) -> Found:
    """The mean of the ``num_top`` simulated mixtures with the lowest predicted losses.

    Of several regressions the one that ranks held-out runs better predicts; the first, if equal.
    """
    held_out = {
        kind: held_out_predictions(kind, mixtures, losses, num_folds, seed) for kind in kinds
    }
    ranks = {kind: rank_correlation(held_out[kind], losses) for kind in kinds}
    kind = max(kinds, key=lambda own: ranks[own])
    predict = fit(kind, mixtures, losses, seed)
    top = np.argsort(predict(simulated), kind="stable")[:num_top]
    weights = simulated[top].mean(axis=0)
    return Found(
        weights=weights,
        predicted_loss=float(predict(weights[None])[0]),
        kind=kind,
        rank_correlations={str(own): ranks[own] for own in kinds},
        held_out=held_out[kind],
    )
