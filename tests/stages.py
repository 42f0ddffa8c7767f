"""Small stages for tests: real artifacts of given files, without the road before them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from flows.params import DedupParams
from tasks.common.manifest import ArtifactRef, Manifest
from tasks.common.shard import ShardWriter
from tasks.common.stage import Machine, Outcome, Stage, StageContext, materialise
from tasks.dedup.config import DedupConfig
from tasks.dedup.stage import STAGE as DEDUP
from tasks.duplicates.stage import STAGE as DUPLICATES
from tasks.signatures.stage import STAGE as SIGNATURES


class GivenConfig(BaseModel):
    """Documents by shard, or text files by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shards: list[list[dict[str, Any]]] = []
    files: dict[str, str] = {}


def _give(context: StageContext, config: GivenConfig) -> Outcome:
    for index, rows in enumerate(config.shards):
        with ShardWriter(context.path, index) as writer:
            for row in rows:
                writer.keep(document(**row))
    for name, text in config.files.items():
        (context.path / name).parent.mkdir(parents=True, exist_ok=True)
        (context.path / name).write_text(text)
    return Outcome()


GIVEN = Stage(name="given", version=1, config=GivenConfig, inputs=(), run=_give)


def document(**fields: Any) -> dict[str, Any]:
    """A document row; what a test does not care about is filled in."""
    row = {"source": "given", "kind": "prose", **fields}
    row.setdefault("id", json.dumps(row, sort_keys=True))
    row.setdefault("url", f"https://given.invalid/{row['id']}")
    return row


def given(
    machine: Machine,
    shards: Sequence[Sequence[Mapping[str, Any]]] = (),
    files: Mapping[str, str] | None = None,
) -> ArtifactRef:
    """An artifact with these documents and files."""
    config = GivenConfig(shards=[[dict(row) for row in rows] for rows in shards], files=files or {})
    return materialise(GIVEN, config, {}, machine)[0].ref


def judge(
    machine: Machine,
    documents: Sequence[ArtifactRef],
    pages: Sequence[ArtifactRef] = (),
    config: DedupParams | None = None,
) -> Manifest:
    """The verdicts on all documents, each artifact signed for itself."""
    config = config or DedupParams()
    signed = [
        materialise(SIGNATURES, config.signatures, {"documents": [ref]}, machine)[0].ref
        for ref in documents
    ]
    inputs = {"signatures": signed, "pages": pages}
    return materialise(DUPLICATES, config.duplicates, inputs, machine)[0]


def deduplicate(
    machine: Machine,
    documents: Sequence[ArtifactRef],
    pages: Sequence[ArtifactRef] = (),
    config: DedupParams | None = None,
) -> Manifest:
    """Signatures, duplicates and dedup, as the road puts them together."""
    verdicts = judge(machine, documents, pages, config)
    inputs = {"documents": documents, "duplicates": [verdicts.ref]}
    return materialise(DEDUP, DedupConfig(), inputs, machine)[0]
