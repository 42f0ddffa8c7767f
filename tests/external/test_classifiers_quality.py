"""Our quality classifiers against what people would keep, beside DCLM's recipe on the same data."""

from pathlib import Path

import pytest

from tasks.classifiers.measures import area_under_curve
from tests.benchmarks.classifiers import DCLM, quality_ways, records

pytestmark = [pytest.mark.external, pytest.mark.slow]


def test_the_amount_of_good_prose_tells_what_people_keep(external_data: Path, tmp_path: Path):
    judged = records(external_data, "quality/dclm-human-quality*")
    keep = [bool(record["label"]) for record in judged]
    texts = [record["text"] for record in judged]
    area = {
        name: area_under_curve(score(texts), keep)
        for name, score in quality_ways(external_data, tmp_path).items()
    }
    assert area["ours, instructions, amount"] > area[DCLM] + 0.2
    assert area["ours, encyclopedia and news, amount"] > area["length in characters"]
    assert area["ours, encyclopedia and news, amount"] > 0.77
