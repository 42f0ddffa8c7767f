"""The stage: columns filled, drops counted by first rule and by every rule."""

from pathlib import Path

import pyarrow.parquet as pq

from tasks.common.report_markdown import stage_markdown
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.filter.config import FilterConfig
from tasks.filter.stage import STAGE
from tests.stages import given
from tests.unit.filter.test_filter_rules import GOOD

CODE = "def add(a, b):\n    return a + b\n" * 5
ROWS = [
    {"id": "good", "text": GOOD},
    {"id": "code", "text": CODE, "kind": "code"},
    {"id": "short", "text": "To be."},
    {"id": "german", "text": "Alle Menschen sind frei und gleich an Würde geboren. " * 20},
]


def test_first_reasons_and_lonely_reasons(machine: Machine, store: Store):
    documents = given(machine, [ROWS, []])
    config = FilterConfig(recipes=["gopher-quality", "code"])
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    assert manifest.funnel.num_kept == 2
    assert sum(manifest.funnel.dropped.values()) == 2
    assert manifest.funnel.dropped["language"] >= 1
    assert manifest.metrics["would_drop"]["word_count"] == 1
    assert manifest.metrics["alone_drops"].get("word_count", 0) == 0, "it has no stop words either"
    report = stage_markdown(manifest, was_cached=False)
    assert "| rule | drops first | would drop | and no other would |" in report
    first = manifest.funnel.dropped.get("word_count", 0)
    assert f"| word_count | {first} | 1 | 0 |" in report
    artifact = store.open(manifest.ref)
    kept = pq.read_table(artifact.fetch("part-00000.parquet")).to_pylist()
    assert [(row["id"], row["language"]) for row in kept] == [("good", "en"), ("code", None)]
    assert len(pq.read_table(artifact.fetch("part-00001.parquet"))) == 0
    dropped = pq.read_table(artifact.fetch("dropped/part-00000.parquet")).to_pylist()
    assert all(row["detail"] for row in dropped), "each says what was measured and what is allowed"


def test_what_was_changed_in_kept_texts_is_counted(machine: Machine, store: Store):
    text = GOOD.replace("bread", "bread from jane@firma.de at 93.184.216.34") + "\nMenu"
    documents = given(
        machine, [[{"id": "kept", "text": text}, {"id": "gone", "text": "x@firma.de"}]]
    )
    config = FilterConfig(recipes=["gopher-quality", "c4", "fineweb"])
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    assert manifest.metrics["removed_lines"] == {"few_words": 1}
    assert manifest.metrics["masked"] == {"email": 1, "ip": 1}
    artifact = store.open(manifest.ref)
    (kept,) = pq.read_table(artifact.fetch("part-00000.parquet"))["text"].to_pylist()
    assert kept == GOOD.replace("bread", "bread from someone@example.org at 192.0.2.1")
    (gone,) = pq.read_table(artifact.fetch("dropped/part-00000.parquet"))["text"].to_pylist()
    assert gone == "x@firma.de", "what is set aside is kept as it was"


def test_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path):
    found = []
    for num_workers in (1, 2):
        machine = Machine(store=str(tmp_path / str(num_workers)), num_workers=num_workers)
        documents = given(machine, [ROWS, ROWS[:2], []])
        manifest, _ = materialise(
            STAGE,
            FilterConfig(recipes=["c4", "fineweb", "outliers"]),
            {"documents": [documents]},
            machine,
        )
        found.append({entry.name: entry.sha256 for entry in manifest.files})
    assert found[0] == found[1]
