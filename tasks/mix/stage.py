"""The mix stage: shards in, one shuffled shard set a group and the mixture's table out.

Layout: ``train/GROUP/part-00000.parquet``, ``validation/GROUP/…`` and ``mixture.json``. Nothing is
repeated or thinned out here: the loader draws from the groups by the weights in the table.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from tasks.common.funnel import Funnel
from tasks.common.mixture import MIXTURE_NAME, TRAIN, VALIDATION
from tasks.common.shard import ShardWriter, part_name, read_tables
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.mix.assign import (
    CAP_REASON,
    Part,
    is_validation,
    parts_of,
    shuffle_rank,
    validation_rank,
)
from tasks.mix.config import MixConfig
from tasks.mix.weights import raw_weights, shares

INDEX_FOLDER = ".index"
NO_GROUP = "unknown"


def run(context: StageContext, config: MixConfig) -> Outcome:
    """Group, shuffle and weigh documents. In: scored ones. Out: training and validation sets."""
    shards = context.shards("documents")
    (context.path / INDEX_FOLDER).mkdir(exist_ok=True)
    sizes = context.map(
        index_shard,
        [(*shard, context.path, index, config) for index, shard in enumerate(shards)],
        key="index",
        names=lambda index: [_index_name(index)],
    )
    if not sum(sizes):
        raise ValueError("no documents came this far; look at the funnels of the stages before")
    index = _load([context.path / _index_name(i) for i in range(len(shards))])
    parts = _assign(index, config)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    funnels = context.map(
        write_part,
        [(context.path, part, _sources(shards, starts, part.rows)) for part in parts],
        key="part",
        names=lambda i: _part_files(parts[i]),
    )
    mixture = _mixture(index, parts, config)
    (context.path / MIXTURE_NAME).write_text(json.dumps(mixture, indent=1))
    _warn(context, mixture)
    return Outcome(
        funnel=Funnel.total(Funnel(**funnel) for funnel in funnels), metrics={"mixture": mixture}
    )


def index_shard(artifact: Artifact, name: str, folder: Path, index: int, config: MixConfig) -> int:
    """Save what assignment needs to know of one shard's documents; return how many there are."""
    rows = [
        row
        for table in read_tables(artifact.fetch(name))
        for row in _index_rows(table.select(["id", "text", config.group_by]), config)
    ]
    groups, num_bytes, orders, validation_ranks = zip(*rows, strict=True) if rows else ((),) * 4
    np.savez(
        folder / _index_name(index),
        group=np.array(groups, np.str_),
        num_bytes=np.array(num_bytes, np.int64),
        order=np.array(orders, np.uint64),
        validation=np.array(validation_ranks, np.uint64),
    )
    return len(rows)


def _index_rows(table: pa.Table, config: MixConfig) -> list[tuple[str, int, int, int]]:
    return [
        (
            row[config.group_by] or NO_GROUP,
            len(row["text"].encode()),
            shuffle_rank(row["id"], config.seed),
            validation_rank(row["id"]),
        )
        for row in table.to_pylist()
    ]


def _assign(index: dict[str, np.ndarray], config: MixConfig) -> list[Part]:
    parts: list[Part] = []
    for group in np.unique(index["group"]):
        rows = np.flatnonzero(index["group"] == group)
        held_out = is_validation(index["validation"][rows], config.validation_share)
        for split, chosen in ((TRAIN, rows[~held_out]), (VALIDATION, rows[held_out])):
            parts += parts_of(
                str(group),
                split,
                chosen,
                index["order"][chosen],
                index["num_bytes"][chosen],
                shard_bytes=config.shard_bytes,
                max_bytes=config.max_bytes_per_group if split == TRAIN else None,
            )
    return parts


def _sources(
    shards: list[tuple[Artifact, str]], starts: np.ndarray, rows: np.ndarray
) -> list[tuple[Artifact, str, np.ndarray, np.ndarray]]:
    """For each input shard that holds some of ``rows``: which of its rows, and their places."""
    owners = np.searchsorted(starts, rows, side="right") - 1
    found = []
    for owner in np.unique(owners):
        places = np.flatnonzero(owners == owner)
        found.append((*shards[owner], rows[places] - starts[owner], places))
    return found


def write_part(
    folder: Path, part: Part, sources: list[tuple[Artifact, str, np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    """Gather one output shard's rows from the input shards and write them in their order."""
    tables: list[pa.Table] = []
    places: list[np.ndarray] = []
    for artifact, name, rows, at in sources:
        order = np.argsort(rows)
        for table, chosen in _picked(artifact.fetch(name), rows[order]):
            tables.append(table)
            places.append(at[order][chosen])
    table = pa.concat_tables(tables).take(np.argsort(np.concatenate(places)))
    reasons = [CAP_REASON if over else None for over in part.is_over_cap]
    with ShardWriter(folder / _part_folder(part), part.number) as shard:
        shard.split(table, reasons)
    return shard.funnel.model_dump()


def _picked(path: Path, rows: np.ndarray) -> list[tuple[pa.Table, slice]]:
    """The given rows, in rising order, of a shard: tables, and the stretch of ``rows`` in each."""
    found, start = [], 0
    for table in read_tables(path):
        low, high = np.searchsorted(rows, [start, start + len(table)])
        if high > low:
            found.append((table.take(rows[low:high] - start), slice(low, high)))
        start += len(table)
    return found


def _mixture(index: dict[str, np.ndarray], parts: list[Part], config: MixConfig) -> dict[str, Any]:
    """The table: what each group has, what it is given, and how often that is seen."""
    table: dict[str, dict[str, int]] = {}
    for part in parts:
        kept = part.rows[~part.is_over_cap]
        row = table.setdefault(part.group, {"documents": 0, "bytes": 0, "validation_documents": 0})
        if part.split == VALIDATION:
            row["validation_documents"] += len(kept)
        else:
            row["documents"] += len(kept)
            row["bytes"] += int(index["num_bytes"][kept].sum())
    sizes = {group: row["bytes"] for group, row in table.items()}
    named = {weight.group: weight.weight for weight in config.weights}
    found = shares(
        {group: size / config.bytes_per_token for group, size in sizes.items()},
        raw_weights(sizes, named, config.default_weight),
        token_budget=config.token_budget,
        max_epochs=config.max_epochs,
    )
    groups = [
        {
            "group": share.group,
            "folder": quote(share.group, safe=""),
            **table[share.group],
            "est_tokens": round(sizes[share.group] / config.bytes_per_token),
            "weight": round(share.weight, 9),
            "target_tokens": round(share.target_tokens),
            "epochs": round(share.epochs, 4),
        }
        for share in found
    ]
    return {"groups": groups, "token_budget": config.token_budget}


def _warn(context: StageContext, mixture: dict[str, Any]) -> None:
    handed_out = sum(group["target_tokens"] for group in mixture["groups"])
    if handed_out < 0.999 * mixture["token_budget"]:
        context.log.warning(
            "all groups are at their epoch limit: the mixture has %d of %d tokens; "
            "raise max_epochs or bring more data",
            handed_out,
            mixture["token_budget"],
        )


def _load(paths: list[Path]) -> dict[str, np.ndarray]:
    parts = []
    for path in paths:
        with np.load(path) as file:
            parts.append(dict(file))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _part_folder(part: Part) -> str:
    return f"{part.split}/{quote(part.group, safe='')}"


def _part_files(part: Part) -> list[str]:
    folder, name = _part_folder(part), part_name(part.number)
    return [f"{folder}/{name}", f"{folder}/dropped/{name}"]


def _index_name(index: int) -> str:
    return f"{INDEX_FOLDER}/part-{index:05d}.npz"


STAGE = Stage(name="mix", version=3, config=MixConfig, inputs=("documents",), run=run)
