"""The report stage: all artifacts of a run in, ``report.html`` and ``report.md`` out.

The HTML file stands alone (no network, no scripts); the Markdown is for the orchestrator's UI.
"""

from pathlib import Path
from typing import Any

import jinja2

from tasks.common.mix_table import phase_rows
from tasks.common.mixture import read_mixture
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.report import gather, plots
from tasks.report.config import ReportConfig

TEMPLATES = Path(__file__).parent / "templates"
INPUTS = ("data", "training", "scores", "comparison")


def run(context: StageContext, config: ReportConfig) -> Outcome:
    """Draw the funnel, the mixture, the losses, the scores, the answers and the times."""
    logs = gather.training_logs(context.inputs["training"])
    values = _values(context, config) | {
        "training": gather.training_table(logs),
        "held_out": gather.held_out_groups(logs),
        "samples": gather.training_samples(logs),
    }
    figures = {"funnel_svg": plots.funnel_figure(values["funnel"])}
    figures["loss_svg"] = plots.loss_figure(logs)
    if values["duplicates"]:
        figures["curve_svg"] = plots.curve_figure(values["duplicates"]["near_copies"])
    if all(model.get("multiple_choice") for model in values["models"]):
        figures["accuracy_svg"] = plots.accuracy_figure(values["models"])
    pictures = {"loss_png": plots.as_data_url(plots.loss_figure(logs))}
    if values["duplicates"]:
        curve = plots.curve_figure(values["duplicates"]["near_copies"])
        pictures["curve_png"] = plots.as_data_url(curve)
    drawn = {name: plots.as_svg(figure) for name, figure in figures.items()}
    _render("report.html", values | drawn, context.path)
    _render("report.md", values | pictures, context.path)
    return Outcome(metrics=_headlines(values))


def _values(context: StageContext, config: ReportConfig) -> dict[str, Any]:
    data, training, scores = (context.inputs[name] for name in INPUTS[:3])
    comparison = context.input("comparison")
    by_stage = {artifact.ref.stage: artifact for artifact in training}
    pretraining = by_stage["pretrain"].manifest.metrics
    values: dict[str, Any] = {
        "funnel": gather.funnel_table(data),
        "dropped": gather.dropped_samples(data, config),
        "duplicates": gather.near_copies(data),
        "mixture": gather.mixture_table(by_stage["tokens"], pretraining["tokens"]),
        "phases": phase_rows(read_mixture(by_stage["tokens"])),
        "models": [
            {"name": a.manifest.label, "artifact": str(a.ref), **a.manifest.metrics} for a in scores
        ],
        "answers": gather.answers(scores, config.num_answer_samples),
        "comparison": comparison.manifest.metrics,
        "times": gather.stage_times([a.manifest for a in (*data, *training, *scores, comparison)]),
    }
    values["tiles"] = _tiles(values)
    return values


def _tiles(values: dict[str, Any]) -> list[dict[str, str]]:
    base, best = values["models"][0], values["models"][-1]
    comparison, choice = values["comparison"], best.get("multiple_choice")
    tiles = [
        {
            "value": f"{sum(row['tokens'] for row in values['mixture']) / 1e6:.2f} M",
            "title": "tokens to train on",
            "note": f"{sum(row['documents'] for row in values['mixture']):,} documents",
        },
        {
            "value": f"{base['bits_per_byte']:.3f}",
            "title": "bits per byte, pretrained",
            "note": f"a unigram model needs {base['unigram_bits_per_byte']:.3f}",
        },
        {
            "value": f"{100 * comparison['win_rate']:.0f} %",
            "title": "win rate of alignment",
            "note": f"95 % interval {100 * comparison['low']:.0f} to "
            f"{100 * comparison['high']:.0f} %",
        },
    ]
    if choice:
        tiles.insert(
            2,
            {
                "value": f"{100 * choice['accuracy']:.1f} %",
                "title": "multiple choice, aligned",
                "note": f"{100 * choice['low']:.1f} to {100 * choice['high']:.1f} %; "
                f"chance {100 * choice['chance']:.0f} %",
            },
        )
    return tiles


def _headlines(values: dict[str, Any]) -> dict[str, Any]:
    return {tile["title"]: tile["value"] for tile in values["tiles"]}


def _render(name: str, values: dict[str, Any], folder: Path) -> None:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=name.endswith(".html"),
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = _cell
    environment.filters["figure"] = _figure
    values = {"accuracy_svg": ""} | values
    (folder / name).write_text(environment.get_template(f"{name}.j2").render(values))


def _cell(text: str, max_chars: int = 200) -> str:
    """Text that cannot end a Markdown table's cell."""
    return " ".join(text.split()).replace("|", "\\|").replace("`", "'")[:max_chars]


def _figure(value: float | None, pattern: str) -> str:
    """A number, or a dash where there is none."""
    return "—" if value is None else pattern % value


STAGE = Stage(name="report", version=5, config=ReportConfig, inputs=INPUTS, run=run)
