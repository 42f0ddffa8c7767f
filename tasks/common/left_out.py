"""The documents in batches of which a training made no update.

In: a store and an artifact. Out: one row a document, with its id and address, of every training
behind the artifact. The log of a training names token shards and places in them; a token shard is
named as the Parquet shard whose rows it holds in the same order.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tasks.common.manifest import ArtifactRef, Manifest
from tasks.common.store import Store
from tasks.common.trace import in_order, made_of, open_shard
from tasks.common.training import METRICS_NAME
from tasks.common.training_log import TrainingLog

COLUMNS = ("id", "url", "source")


def documents_left_out(
    store: Store, manifests: Iterable[Manifest], start: ArtifactRef
) -> Iterator[dict[str, Any]]:
    """Rows of ``artifact``, ``step``, ``why``, ``id``, ``url``, ``source``, training by training.

    Of records (sft, dpo) the id is the record's, and there is no address. Of a shard whose
    documents are no longer in the store the id is the place: ``SHARD#INDEX``.
    """
    for manifest in in_order(made_of(manifests, start)):
        if manifest.metrics.get("skipped_batches"):
            yield from _of_training(store, manifest)


def _of_training(store: Store, manifest: Manifest) -> Iterator[dict[str, Any]]:
    path = store.open(manifest.ref).fetch(METRICS_NAME)
    by_step = {event["step"]: event for event in TrainingLog.read(path).of("skipped")}
    for step, event in sorted(by_step.items()):
        told = {"artifact": str(manifest.ref), "step": step, "why": event["why"]}
        for file, places in event["documents"].items():
            for row in _rows(store, manifest, file, places):
                yield told | row


def _rows(
    store: Store, manifest: Manifest, file: str, places: list[int] | list[str]
) -> Iterator[dict[str, Any]]:
    found = _shard_of(store, manifest, file)
    if found is None:
        is_shard = file.endswith(".bin")
        for place in places:
            name = f"{file}#{place}" if is_shard else str(place)
            yield dict.fromkeys(COLUMNS) | {"id": name}
        return
    with open_shard(store, *found) as shard:
        yield from shard.read(list(COLUMNS)).take(places).to_pylist()


def _shard_of(store: Store, manifest: Manifest, file: str) -> tuple[ArtifactRef, str] | None:
    """The documents that a token shard was made of, if they are there; by what it is called, for
    the folder it lay in when it was read may be another machine's."""
    for tokens in map(ArtifactRef.parse, manifest.identity.inputs.get("tokens", ())):
        (corpus,) = store.manifest(tokens).input_refs[:1] if store.has(tokens) else (None,)
        if corpus is None or not store.has(corpus):
            continue
        for entry in store.manifest(corpus).files:
            if file.endswith(f"/{entry.name.removesuffix('.parquet')}.bin"):
                return corpus, entry.name
    return None


def as_lines(rows: Iterable[dict[str, Any]], *, as_json: bool) -> Iterator[str]:
    """One line a document, as JSON or with tabs."""
    names = ("artifact", "step", "id", "url", "source", "why")
    for row in rows:
        yield json.dumps(row) if as_json else "\t".join(str(row[name] or "") for name in names)
