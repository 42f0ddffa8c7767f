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
    "curves": [],
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
