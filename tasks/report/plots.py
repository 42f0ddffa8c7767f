"""Plots as SVG text and PNG data addresses. Pure: the same values, the same pictures."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tasks.common import training_plots
from tasks.common.training_log import TrainingLog
from tasks.common.training_plots import EMBER, IRON

plt.rcParams.update({"svg.hashsalt": "bloomery", "font.size": 9, "axes.spines.top": False})
plt.rcParams.update({"axes.spines.right": False, "svg.fonttype": "none"})


def loss_figure(logs: Mapping[str, TrainingLog]) -> Figure:
    """Training and held-out loss by step, one panel a stage; below, learning rate and gradient
    norm, and speed."""
    panels = (training_plots.losses, training_plots.rates, training_plots.speed)
    figure, axes = plt.subplots(
        len(panels), max(1, len(logs)), figsize=(10, 7), squeeze=False, layout="constrained"
    )
    for column, (stage, log) in enumerate(logs.items()):
        for draw, row in zip(panels, axes, strict=True):
            draw(row[column], log)
        axes[0][column].set_title(stage)
        axes[-1][column].set_xlabel("step")
    return figure


def funnel_figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Kept and dropped documents by stage, from the top down."""
    figure, axis = plt.subplots(figsize=(10, 0.4 + 0.3 * max(1, len(rows))))
    names = [row["stage"] for row in rows]
    kept = [row["num_kept"] for row in rows]
    dropped = [row["num_in"] - row["num_kept"] for row in rows]
    axis.barh(names, kept, color=IRON, label="kept")
    axis.barh(names, dropped, left=kept, color=EMBER, label="dropped")
    axis.invert_yaxis()
    axis.set_xlabel("documents")
    axis.legend(frameon=False)
    figure.tight_layout()
    return figure


def curve_figure(bands: dict[str, Any]) -> Figure:
    """How likely a pair of documents is found to be alike, by its Jaccard similarity."""
    figure, axis = plt.subplots(figsize=(5, 3))
    similarity = [step / 200 for step in range(201)]
    rows, num_bands = bands["rows_per_band"], bands["num_bands"]
    axis.plot(similarity, [1 - (1 - s**rows) ** num_bands for s in similarity], color=IRON)
    axis.axvline(bands["half_found_at"], color=EMBER, ls="--", lw=1)
    axis.set(xlabel="Jaccard similarity", ylabel="found", xlim=(0, 1), ylim=(0, 1.02))
    axis.set_title(f"{num_bands} bands of {rows} rows (dashed: half are found)")
    figure.tight_layout()
    return figure


def accuracy_figure(models: Sequence[dict[str, Any]]) -> Figure:
    """Multiple-choice accuracy with 95 % intervals, and chance as a line."""
    figure, axis = plt.subplots(figsize=(5, 3))
    for index, model in enumerate(models):
        score = model["multiple_choice"]
        below, above = score["accuracy"] - score["low"], score["high"] - score["accuracy"]
        axis.errorbar(
            index, score["accuracy"], yerr=[[below], [above]], fmt="o", color=IRON, capsize=4
        )
        axis.axhline(score["chance"], color=EMBER, ls="--", lw=1)
    axis.set_xticks(range(len(models)), [model["name"] for model in models])
    axis.set(ylabel="accuracy", title="multiple choice (dashed: chance)")
    axis.set_xlim(-0.5, len(models) - 0.5)
    figure.tight_layout()
    return figure


def as_svg(figure: Figure) -> str:
    """The figure as an ``<svg>`` element."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def as_data_url(figure: Figure) -> str:
    """The figure as a PNG ``data:`` address, for Markdown."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    plt.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
