"""Trains one linear model over windows of words; a program of its own, started by ``learners``.

In: a JSON file of examples and settings. Out: weights. Logistic regression over the labels, or
least squares where examples have points, both with an L2 penalty, by L-BFGS. It has a process of
its own because a matrix library with several threads adds in an order that depends on their
number; its caller allows one, so that the same examples give the same bytes.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize

from tasks.common.classifier import LinearModel, softmax
from tasks.common.windows import NUM_BUCKETS, windows_of

MAX_ITERATIONS = 100
MIN_WINDOWS = 2  # an n-gram of one window teaches nothing about others


def main() -> None:
    """Read a job, write a model."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model = fit(job["texts"], job["targets"], job["num_labels"], job["settings"])
    model.save(Path(sys.argv[2]))


def fit(
    texts: list[str], targets: list[float], num_labels: int, settings: dict[str, Any]
) -> LinearModel:
    """Train on texts; the targets are indices of labels, or points where ``num_labels`` is 1."""
    matrix, text = _windows_matrix(texts, settings["max_windows"])
    active = np.flatnonzero(np.bincount(matrix.indices, minlength=NUM_BUCKETS) >= MIN_WINDOWS)
    target = np.asarray(targets)[text]
    solve = _least_squares if num_labels == 1 else _logistic
    penalty = 1 / (settings["inverse_penalty"] * max(1, len(text)))
    weights, bias = solve(matrix[:, active].tocsr(), target, num_labels, penalty)
    if num_labels == 2:  # one column says it: the logit of the second
        weights, bias = weights[:, 1:] - weights[:, :1], bias[1:] - bias[:1]
    all_weights = np.zeros((NUM_BUCKETS, weights.shape[1]), np.float32)
    all_weights[active] = weights
    return LinearModel(all_weights, bias)


def _windows_matrix(texts: list[str], max_windows: int) -> tuple[sp.csr_matrix, np.ndarray]:
    """N-grams of the first windows of each text, and which text each window is of."""
    matrices, of_text = [], []
    for part, windows in windows_of(texts):
        starts = np.searchsorted(windows.text, windows.text, "left")
        is_taken = np.arange(len(windows.text)) - starts < max_windows
        matrices.append(windows.matrix()[is_taken])
        of_text.append(windows.text[is_taken] + part.start)
    return sp.vstack(matrices).tocsr(), np.concatenate(of_text)


def _logistic(
    x: sp.csr_matrix, target: np.ndarray, num_labels: int, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Softmax regression in which all labels weigh the same, however many examples they have."""
    label = target.astype(np.int64)
    count = np.bincount(label, minlength=num_labels)
    weight = (1 / (num_labels * np.maximum(count, 1)))[label]
    rows = np.arange(len(label))

    def loss(z: np.ndarray) -> tuple[float, np.ndarray]:
        probability = softmax(z)
        value = -(weight * np.log(np.maximum(probability[rows, label], 1e-12))).sum()
        probability[rows, label] -= 1
        return float(value), probability * weight[:, None]

    return _minimize(x, num_labels, loss, penalty)


def _least_squares(
    x: sp.csr_matrix, target: np.ndarray, num_labels: int, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression on points around their mean."""
    mean = target.mean() if len(target) else 0.0

    def loss(z: np.ndarray) -> tuple[float, np.ndarray]:
        error = z[:, 0] - (target - mean)
        return float((error**2).mean() / 2), error[:, None] / len(error)

    weights, bias = _minimize(x, num_labels, loss, penalty)
    return weights, bias + mean


def _minimize(
    x: sp.csr_matrix, num_labels: int, loss: Any, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (buckets, labels) and biases of the least penalised loss."""
    transposed = x.T.tocsr()
    split = x.shape[1] * num_labels

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat[:split].reshape(-1, num_labels)
        value, slope = loss(x @ weights + flat[split:])
        gradient = transposed @ slope + penalty * weights
        flat_gradient = np.concatenate([gradient.ravel(), slope.sum(axis=0)])
        return value + penalty / 2 * float((weights**2).sum()), flat_gradient

    start = np.zeros(split + num_labels)
    options = {"maxiter": MAX_ITERATIONS, "maxcor": 6}
    flat = minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
    return flat[:split].reshape(-1, num_labels), flat[split:]


if __name__ == "__main__":
    main()
