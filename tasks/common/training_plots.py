"""A training run as pictures. Pure: the same log, the same bytes."""

import io
from typing import Any

from matplotlib.figure import Figure

from tasks.common.training_log import TrainingLog

IRON, EMBER, ASH = "#2f4b5c", "#d9622b", "#9aa5ab"


def training_figure(log: TrainingLog) -> Figure:
    """Losses; held-out groups, where there are any; rate and gradient norm; speed and MFU."""
    panels = [losses, *([_groups] if log.by_group()[1] else []), rates, speed]
    num_rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(10, 3 * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, 2, squeeze=False).flatten()
    for draw, axis in zip(panels, axes, strict=False):
        draw(axis, log)
        axis.set_xlabel("step")
        axis.spines[["top"]].set_visible(False)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    return figure


def training_png(log: TrainingLog) -> bytes:
    """``training_figure`` as a PNG file."""
    buffer = io.BytesIO()
    training_figure(log).savefig(buffer, format="png", dpi=80, metadata={"Software": None})
    return buffer.getvalue()


def losses(axis: Any, log: TrainingLog) -> None:
    """Training and held-out loss, and where the model that is kept was."""
    _line(axis, log, "step", "loss", color=ASH, lw=0.8, label="training")
    _line(axis, log, "eval", log.held_out(), color=EMBER, marker="o", ms=3, label="held out")
    best = log.last("done").get("best_step")
    if best is not None:
        axis.axvline(best, color=IRON, ls="--", lw=1, label="kept")
    axis.set_ylabel("loss, nats")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False)


def _groups(axis: Any, log: TrainingLog) -> None:
    unit, measured = log.by_group()
    for group in measured[-1][1]:
        points = [(step, values[group]) for step, values in measured if group in values]
        axis.plot(*zip(*points, strict=True), marker="o", ms=3, lw=1, label=group[:30])
    axis.set_ylabel(f"held out, {unit}")
    if len(measured[-1][1]) <= 8:  # more names would hide the curves; the table has them
        axis.legend(frameon=False, fontsize=7)


def rates(axis: Any, log: TrainingLog) -> None:
    """Gradient norm, and the learning rate on the right."""
    _line(axis, log, "step", "grad_norm", color=ASH, lw=0.8)
    axis.set_ylabel("gradient norm")
    other = axis.twinx()
    _line(other, log, "step", "lr", color=EMBER, lw=1)
    other.set_ylabel("learning rate", color=EMBER)


def speed(axis: Any, log: TrainingLog) -> None:
    """Tokens a second, and the share of the machine that they use on the right."""
    _line(axis, log, "step", "tokens_per_second", color=ASH, lw=3)
    axis.set_ylabel("tokens a second")
    axis.set_ylim(bottom=0)
    if log.usual("mfu") is not None:
        other = axis.twinx()
        _line(other, log, "step", "mfu", color=EMBER, lw=0.8)
        other.set_ylabel("MFU", color=EMBER)
        other.set_ylim(bottom=0)


def _line(axis: Any, log: TrainingLog, kind: str, field: str, **style: Any) -> None:
    points = [(e["step"], e[field]) for e in log.of(kind) if e.get(field) is not None]
    if points:
        axis.plot(*zip(*points, strict=True), **style)
