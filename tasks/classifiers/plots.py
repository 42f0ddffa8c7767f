"""Plots of a classifier's measures as PNG. Pure: the same values, the same picture."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

IRON, EMBER, ASH = "#2f4b5c", "#d9622b", "#9aa5ab"


def calibration_png(purpose: str, held_out: Mapping[str, Any]) -> bytes:
    """The reliability curve, or points given against points predicted, beside the histogram of
    scores.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    curve = held_out["curve"]
    top = held_out["top"]
    left.plot([0, top], [0, top], color=ASH, ls="--", lw=1)
    left.plot(
        [bin_["said"] for bin_ in curve],
        [bin_["true"] for bin_ in curve],
        color=EMBER,
        marker="o",
        ms=4,
    )
    left.set(title=f"{purpose}: calibration", xlabel=held_out["said"], ylabel=held_out["true"])
    _bars(right, held_out["histograms"])
    right.set(title=f"{purpose}: scores, held out", xlabel="score", ylabel="documents")
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def _bars(axis: Any, histograms: Mapping[str, Sequence[int]]) -> None:
    for (name, counts), colour in zip(histograms.items(), (IRON, EMBER), strict=False):
        width = 1 / len(counts)
        left_edges = [number * width for number in range(len(counts))]
        axis.bar(left_edges, counts, width, align="edge", color=colour, alpha=0.6, label=name)
    axis.legend(frameon=False)
