"""The stage: columns filled, drops counted by first rule and by every rule."""

import pyarrow.parquet as pq

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
    config = FilterConfig(gopher_repetition=False, fineweb=False)
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    assert manifest.funnel.num_kept == 2
    assert sum(manifest.funnel.dropped.values()) == 2
    assert manifest.funnel.dropped["language"] >= 1
    assert manifest.metrics["would_drop"]["word_count"] == 1
    artifact = store.open(manifest.ref)
    kept = pq.read_table(artifact.fetch("part-00000.parquet")).to_pylist()
    assert [(row["id"], row["language"]) for row in kept] == [("good", "en"), ("code", None)]
    assert len(pq.read_table(artifact.fetch("part-00001.parquet"))) == 0
