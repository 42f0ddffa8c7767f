"""The stage: what is labelled teaches what is not; the same data, the same models, bit for bit."""

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.classify.config import ClassifyConfig
from tasks.classify.fasttext_model import Classifier, train
from tasks.classify.features import training_line
from tasks.classify.stage import STAGE
from tasks.common.manifest import Manifest
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tests.stages import given

KITCHEN = [
    "flour",
    "butter",
    "oven",
    "dough",
    "simmer",
    "whisk",
    "garlic",
    "recipe",
    "spoon",
    "onion",
]
HARBOUR = ["anchor", "mast", "harbour", "tide", "keel", "rudder", "sail", "captain", "rope", "deck"]
FILLER = ["the", "a", "and", "of", "to", "with", "for", "in", "on", "at"]
CONFIG = ClassifyConfig(dimensions=8, buckets=10_000)


def text_of(words: list[str], seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(words + FILLER) for _ in range(80))


def documents(num_each: int = 60) -> list[dict]:
    rows = []
    for n in range(num_each):
        kitchen, harbour = text_of(KITCHEN, n), text_of(HARBOUR, n)
        rows += [
            {"id": f"k{n}", "text": kitchen, "source": "cooks", "domain": "home cooking"},
            {"id": f"h{n}", "text": harbour, "source": "sailors", "domain": "sea"},
            {"id": f"w{n}", "text": text_of([KITCHEN, HARBOUR][n % 2], 1000 + n), "source": "web"},
            {"id": f"c{n}", "text": "x = 1\n" * 9, "source": "code", "kind": "code"},
        ]
    return rows


def classify(machine: Machine, config: ClassifyConfig, *shards: list[dict]) -> Manifest:
    refs = [given(machine, shards)]
    return materialise(STAGE, config, {"documents": refs}, machine)[0]


def read(machine: Machine, manifest: Manifest, folder: str = "") -> list[dict]:
    artifact = Store(machine.store).open(manifest.ref)
    names = artifact.names(".parquet", folder)
    return [row for name in names for row in pq.read_table(artifact.fetch(name)).to_pylist()]


def test_subjects_spread_from_the_labelled_to_the_others(machine: Machine):
    manifest = classify(machine, CONFIG, documents()[::2], documents()[1::2])
    assert manifest.metrics["domain_accuracy"] == 1.0
    assert manifest.metrics["domain_held_out_documents"] > 5
    for row in read(machine, manifest):
        if row["source"] == "web":
            assert row["domain"] == ["home cooking", "sea"][int(row["id"][1:]) % 2]
        if row["source"] in {"web", "cooks", "sailors"}:
            assert row["domain_score"] > 0.5
        assert row["quality_score"] is None


def test_quality_is_likeness_to_the_reference_and_the_worst_go(machine: Machine):
    config = CONFIG.model_copy(
        update={"quality_reference_sources": ["cooks"], "drop_lowest_share": 0.25}
    )
    manifest = classify(machine, config, documents())
    assert manifest.metrics["quality_auc"] > 0.7
    rows = {row["id"]: row for row in read(machine, manifest)}
    assert all(rows[f"c{n}"]["quality_score"] is None for n in range(60))
    assert all(f"k{n}" in rows for n in range(60)), "a reference document was dropped"
    dropped = read(machine, manifest, "dropped")
    assert {row["reason"] for row in dropped} == {"low_quality"}
    assert 20 <= len(dropped) <= 30
    kept = [row["quality_score"] for row in rows.values() if row["source"] in {"web", "sailors"}]
    assert max(row["quality_score"] for row in dropped) <= min(kept)


def test_without_labels_nothing_is_guessed(machine: Machine):
    rows = [{**row, "domain": None} for row in documents(5)]
    manifest = classify(machine, CONFIG, rows)
    assert manifest.funnel.num_kept == len(rows)
    assert {row["domain"] for row in read(machine, manifest)} == {None}
    assert not any(entry.name.endswith(".bin") for entry in manifest.files)


def test_the_same_bytes_for_any_workers_and_order(tmp_path: Path):
    config = CONFIG.model_copy(update={"quality_reference_sources": ["cooks"]})
    rows = documents()
    found = []
    for num_workers, shards in ((1, (rows,)), (2, (rows[100:], rows[:100]))):
        machine = Machine(store=str(tmp_path / str(num_workers)), num_workers=num_workers)
        manifest = classify(machine, config, *shards)
        models = {e.name: e.sha256 for e in manifest.files if e.name.endswith(".bin")}
        scores = {row["id"]: row["quality_score"] for row in read(machine, manifest)}
        found.append((models, scores))
    assert found[0] == found[1]
    assert len(found[0][0]) == 2


def test_training_twice_gives_the_same_file(tmp_path: Path):
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(training_line(row["source"], row["text"]) for row in documents(20)))
    for name in ("one.bin", "two.bin"):
        train(lines, tmp_path / name, CONFIG)
    assert (tmp_path / "one.bin").read_bytes() == (tmp_path / "two.bin").read_bytes()
    found = Classifier(tmp_path / "one.bin").probabilities(text_of(HARBOUR, 7))
    assert sum(found.values()) == pytest.approx(1, abs=1e-3)
    assert next(iter(found)) in {"sailors", "web"}
    assert Classifier(tmp_path / "one.bin").probabilities("") is not None


def test_a_file_that_teaches_nothing_says_why(tmp_path: Path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(RuntimeError, match="could not be trained"):
        train(tmp_path / "empty.txt", tmp_path / "x.bin", CONFIG)
