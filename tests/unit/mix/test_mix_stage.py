"""The stage: nothing lost, nothing on both sides of the fence, the same for any shard order."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from tasks.common.manifest import Manifest
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.mix.assign import is_validation
from tasks.mix.config import MixConfig, MixWeight
from tasks.mix.stage import STAGE
from tests.stages import given

WEB = [{"id": f"w{n}", "text": f"web page {n} " * 20, "source": "web"} for n in range(150)]
BOOKS = [{"id": f"b{n}", "text": f"book {n} " * 90, "source": "my books/1"} for n in range(40)]


def rows_in(store: Store, manifest: Manifest, folder: str) -> list[str]:
    names = [
        e.name for e in manifest.files if e.name.startswith(folder) and "dropped" not in e.name
    ]
    artifact = store.open(manifest.ref)
    return [
        row
        for name in names
        if name.endswith(".parquet")
        for row in pq.read_table(artifact.fetch(name))["id"].to_pylist()
    ]


def test_every_document_is_on_one_side_of_the_fence(machine: Machine, store: Store):
    documents = given(machine, [WEB[:50], WEB[50:] + BOOKS[:5], BOOKS[5:]])
    config = MixConfig(
        weights=[MixWeight(group="my books/1", weight=2.0)],
        token_budget=20_000,
        validation_share=0.1,
        shard_bytes=5_000,
    )
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    train, held_out = (rows_in(store, manifest, split) for split in ("train/", "validation/"))
    assert sorted(train + held_out) == sorted(row["id"] for row in WEB + BOOKS)
    web = rows_in(store, manifest, "train/web/")
    assert web != sorted(web, key=lambda name: int(name[1:]))  # shuffled
    assert sum(e.name.startswith("train/web/part") for e in manifest.files) > 3
    table = json.loads(store.open(manifest.ref).fetch("mixture.json").read_text())
    assert table == manifest.metrics["mixture"]
    books, pages = table["groups"]
    assert books["folder"] == "my%20books%2F1"
    assert pages["documents"] == len(web)
    assert books["weight"] == pytest.approx(
        2 / (2 + pages["bytes"] / (pages["bytes"] + books["bytes"])), rel=1e-3
    )
    assert books["target_tokens"] + pages["target_tokens"] == pytest.approx(20_000, abs=2)


def test_order_and_number_of_shards_do_not_matter(machine: Machine, store: Store):
    def content(shards: list[list[dict]]) -> list[tuple[str, str]]:
        documents = given(machine, shards)
        manifest, _ = materialise(STAGE, MixConfig(), {"documents": [documents]}, machine)
        return [(entry.name, entry.sha256) for entry in manifest.files]

    assert content([WEB, BOOKS]) == content([BOOKS[::-1], WEB[70:], WEB[:70]])


def test_a_cap_sets_a_random_rest_aside(machine: Machine, store: Store):
    documents = given(machine, [WEB, BOOKS])
    config = MixConfig(max_bytes_per_group=10_000, shard_bytes=4_000)
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    assert manifest.funnel.dropped["group_cap"] > 0
    assert all(group["bytes"] <= 10_000 for group in manifest.metrics["mixture"]["groups"])


def test_the_fence_stands_still_when_documents_come(machine: Machine, store: Store):
    held_out = []
    for rows in (WEB[:100], WEB):
        documents = given(machine, [rows])
        config = MixConfig(validation_share=0.2, seed=len(rows))
        manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
        held_out.append(set(rows_in(store, manifest, "validation/")))
    assert held_out[0] <= held_out[1]


def test_an_empty_corpus_is_refused(machine: Machine):
    with pytest.raises(ValueError, match="no documents came this far"):
        materialise(STAGE, MixConfig(), {"documents": [given(machine, [[]])]}, machine)


def test_two_weights_for_one_group_are_refused():
    with pytest.raises(ValueError, match="named twice"):
        MixConfig(weights=[MixWeight(group="a", weight=1), MixWeight(group="a", weight=2)])


@drawn(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20), st.floats(0.01, 0.99))
def test_every_group_has_something_to_train_on(ranks, share):
    held_out = is_validation(np.array(ranks, np.uint64), share)
    assert not held_out.all()
    assert held_out.any() == (len(ranks) > 1)
