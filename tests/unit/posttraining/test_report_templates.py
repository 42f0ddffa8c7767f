"""What the report shows of a road: its stages and the phases of its mixture."""

from pathlib import Path
from typing import Any

import pytest

from tasks.common.mix_table import MixRules, Phase, Portion, mixture_table, phase_rows
from tasks.report.stage import _render

SCORES = {
    "name": "base",
    "artifact": "pretrain/0",
    "bits_per_byte": 1.0,
    "perplexity": 2.0,
    "unigram_bits_per_byte": 3.0,
}
COMPARISON = {
    **{"win_rate": 0.5, "low": 0.4, "high": 0.6, "questions": 9, "draws": 1},
    **{"candidate_chrf": 30.0, "baseline_chrf": 20.0},
}
VALUES: dict[str, Any] = {
    "tiles": [],
    "duplicates": None,
    "mixture": [],
    "phases": [],
    "training": [],
    "held_out": {"unit": "", "rows": []},
    "samples": [],
    "loss_png": "",
    "loss_svg": "",
    "models": [SCORES | {"multiple_choice": None}],
    "comparison": COMPARISON,
    "answers": [],
    "dropped": [],
    "times": [],
}


def _funnel(*stages: str) -> list[dict[str, Any]]:
    return [{"stage": stage, "num_in": 9, "num_kept": 8, "dropped": []} for stage in stages]


def _markdown(folder: Path, **values: Any) -> str:
    _render("report.md", VALUES | values, folder)
    return (folder / "report.md").read_text()


def test_the_chart_has_passages_where_they_are_on_the_road(tmp_path: Path):
    without = _markdown(tmp_path, funnel=_funnel("filter web", "dedup"))
    assert "passages" not in without
    assert "\n  dedup --> classify\n" in without
    on_the_road = _markdown(tmp_path, funnel=_funnel("filter web", "dedup", "passages"))
    assert "\n  dedup --> passages --> classify\n" in on_the_road
    for text in (without, on_the_road):
        assert "\n  classify --> mix --> tokens --> pretrain" in text


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_phases_are_shown_where_there_are_several(tmp_path: Path, name: str):
    web = Portion(
        name="web",
        group="web",
        folder="web",
        times=(1.0, 1.0),
        num_documents=1,
        num_bytes=4_000,
        num_tokens=1_000,
    )
    rules = MixRules(token_budget=1_000, phases=[Phase(name="anneal", share=0.25)])
    rows = phase_rows(mixture_table(rules, [web], are_exact=True))
    values = VALUES | {"funnel": _funnel("dedup"), "funnel_svg": "", "phases": rows}
    _render(name, values, tmp_path)
    text = (tmp_path / name).read_text()
    if name.endswith(".md"):
        wanted = (
            "| phase | main | anneal |\n|---|---:|---:|\n| share | 75.0% | 25.0% |\n| web | 100"
        )
        assert f"\n\n{wanted}" in text
    else:
        assert '<td>share</td><td class="n">75.0%</td><td class="n">25.0%</td>' in text


TRAINED = {
    **{"stage": "sft", "steps": 60, "best_step": 40, "stopped_early": True, "tokens": 1_234},
    **{"val_loss": 2.5, "tokens_per_second": 99.0, "mfu": None, "data_wait_share": 0.0012},
    "peak_memory_bytes": 3 << 20,
}


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_training_is_shown_with_what_models_wrote(tmp_path: Path, name: str):
    said = {"prompt": "Why?", "greedy": "# <b>Because\n|of`", "sampled": "that"}
    shown = {
        "training": [TRAINED],
        "held_out": {
            "unit": "bits per byte",
            "rows": [{"group": "web", "first": 3.0, "last": 1.25}],
        },
        "samples": [{"stage": "sft", "step": 60, "samples": [said]}],
        "funnel": [],
        "funnel_svg": "",
    }
    _render(name, VALUES | shown, tmp_path)
    text = (tmp_path / name).read_text()
    for told in ("kept: 40; stopped early", "1,234", "2.500", "0.12 %", "3 MiB", "—", "1.250"):
        assert told in text
    if name.endswith(".md"):
        assert "> # <b>Because \\|of'" in text
    else:
        assert "# &lt;b&gt;Because\n|of`" in text
