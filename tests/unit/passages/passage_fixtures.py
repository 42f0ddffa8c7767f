"""The passages stage on given documents, and what is easy to say about its answer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from tasks.common.manifest import Manifest
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.passages.config import PassagesConfig
from tasks.passages.stage import STAGE, _numbers
from tests.stages import given


class Made(NamedTuple):
    """What the stage left."""

    texts: dict[str, str]  # by id
    dropped: dict[str, dict[str, Any]]  # by id
    manifest: Manifest
    repeated: str


def passages(machine: Machine, shards: Sequence[Sequence[dict[str, Any]]], **settings: Any) -> Made:
    config = PassagesConfig(**{"min_left_words": 0, **settings})
    ref = given(machine, shards)
    manifest, _ = materialise(STAGE, config, {"documents": [ref]}, machine)
    return read(machine, manifest)


def read(machine: Machine, manifest: Manifest) -> Made:
    artifact = Store(machine.store).open(manifest.ref)
    kept, dropped = (
        [
            row
            for name in artifact.names(".parquet", folder)
            for row in pq.read_table(artifact.fetch(name)).to_pylist()
        ]
        for folder in ("", "dropped")
    )
    return Made(
        {row["id"]: row["text"] for row in kept},
        {row["id"]: row for row in dropped},
        manifest,
        artifact.fetch("repeated.jsonl").read_text(),
    )


def in_order(ids: Sequence[str]) -> list[str]:
    """Ids as the stage orders documents."""
    orders = dict(zip(ids, _numbers(ids).tolist(), strict=True))
    return sorted(ids, key=orders.__getitem__)
