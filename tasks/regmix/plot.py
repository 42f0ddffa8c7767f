"""How well losses were predicted, as a picture in Markdown. Pure: numbers in, a data URI out."""

import base64
import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure

matplotlib.use("Agg")


def prediction_plot(losses: Sequence[float], predicted: Sequence[float]) -> str:
    """Measured against predicted losses of runs that the regression did not see, as an image."""
    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(predicted, losses, s=14)
    both = [*losses, *predicted]
    axes.plot([min(both), max(both)], [min(both), max(both)], color="grey", linewidth=0.8)
    axes.set_xlabel("predicted held-out loss, nats a token")
    axes.set_ylabel("measured")
    return _data_uri(figure, "predicted and measured losses")


def weights_plot(groups: Sequence[str], mixtures: dict[str, np.ndarray]) -> str:
    """The weights of several mixtures side by side, as an image."""
    figure = Figure(figsize=(5.2, 0.7 + 0.5 * len(groups)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(mixtures)
    for number, (name, weights) in enumerate(mixtures.items()):
        places = np.arange(len(groups)) + number * height
        axes.barh(places, weights, height, label=name)
    axes.set_yticks(np.arange(len(groups)) + 0.4 - height / 2, groups)
    axes.invert_yaxis()
    axes.set_xlabel("weight")
    axes.legend()
    return _data_uri(figure, "weights of the mixtures")


def _data_uri(figure: Figure, title: str) -> str:
    file = io.BytesIO()
    # no date and no version in it: the same numbers are the same bytes
    figure.savefig(file, format="png", dpi=80, metadata={"Software": None})
    return f"![{title}](data:image/png;base64,{base64.b64encode(file.getvalue()).decode()})"
