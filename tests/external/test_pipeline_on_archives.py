"""The whole pipeline over real web archives, some of them damaged: bad records are set aside."""

import json
from pathlib import Path

import pytest
import yaml

from tests.integration.small import small_params
from tests.integration.test_pipeline import Box

pytestmark = [pytest.mark.external, pytest.mark.slow, pytest.mark.xdist_group("archives")]


def _damage(archives: Path, folder: Path) -> None:
    """A truncated archive, and one with a flipped bit in the middle."""
    folder.mkdir()
    whole = (archives / "dolma-sample-0000.warc.gz").read_bytes()
    (folder / "truncated.warc.gz").write_bytes(whole[: len(whole) * 2 // 3])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (folder / "flipped.warc.gz").write_bytes(flipped)


def test_from_real_and_damaged_archives_to_an_aligned_model(external_data, tmp_path):
    archives = external_data / "web" / "real-warc"
    _damage(archives, tmp_path / "damaged")
    box = Box(tmp_path)
    values = small_params(tmp_path).model_dump(mode="json")
    values["sources"] += [
        {"name": "archives", "type": "warc", "paths": [str(archives)]},
        {"name": "damaged", "type": "warc", "paths": [str(tmp_path / "damaged")]},
    ]
    params = tmp_path / "archives.yaml"
    params.write_text(yaml.safe_dump(values))

    report = Path(box.bloomery("run", "pipeline", "--params", str(params)).stdout.split()[-1])
    text = report.read_text()
    assert "extract archives" in text and "extract damaged" in text

    extractions = {row["label"]: row["artifact"] for row in box.artifacts("extract")}
    funnels = {
        label: json.loads(box.bloomery("show", artifact, "--json").stdout)["funnel"]
        for label, artifact in extractions.items()
    }
    bad = {"damaged_record", "truncated_record"}
    assert funnels["archives"]["num_kept"] > 100
    assert bad <= funnels["damaged"]["dropped"].keys()
    assert sum(funnels["damaged"]["dropped"][reason] for reason in bad) == 2
