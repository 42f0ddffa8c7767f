"""The mix stage: shards in, one shuffled shard set a group and the mixture's table out.

Layout: ``train/GROUP/part-00000.parquet`` (``train/GROUP/PORTION/…`` where documents of a group
count differently), ``validation/GROUP/…``, ``mixture.json`` and a summary. Nothing is repeated or
thinned out here: the loader draws from the portions by the weights in the table.

The shuffle is external. Three passes, each over shards and committed piece by piece:

1. *index*: what decides about a document, some 35 bytes each, to disk;
2. *scatter*: read each shard once, a bundle of them at a time, cut the rows into one run a bucket
   (a bucket is a range of random ranks in a portion: an output shard), and write the runs into one
   scratch file;
3. *gather*: read each bucket's runs, sort by rank, write the output shard.

A process holds one shard's worth of text, whatever the corpus.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zstandard

from tasks.common.document import DOCUMENT_SCHEMA
from tasks.common.funnel import Funnel
from tasks.common.mix_table import Portion, mixture_markdown, mixture_table
from tasks.common.mixture import MIXTURE_NAME, TRAIN, VALIDATION
from tasks.common.shard import ShardWriter, part_name, read_tables
from tasks.common.stage import SUMMARY_NAME, Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.mix.config import MixConfig
from tasks.mix.select import (
    Choice,
    Index,
    Verdicts,
    bucket_of,
    choose,
    judge,
    label,
    shuffle_rank,
    validation_rank,
)

INDEX_FOLDER, SCATTER_FOLDER = ".index", ".scatter"
NO_GROUP = "unknown"
SCATTERED_SCHEMA = DOCUMENT_SCHEMA.append(pa.field("order", pa.uint64())).append(
    pa.field("reason", pa.string())
)
MIN_CHUNK_BYTES = 32_000_000  # of text that is scattered at once: fewer, larger runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder of output shards: how many buckets it is cut into, and the number of the first."""

    folder: str
    num_buckets: int
    first: int


def run(context: StageContext, config: MixConfig) -> Outcome:
    """Group, shuffle and weigh documents. In: scored ones. Out: training and validation sets."""
    shards = context.shards("documents")
    for folder in (INDEX_FOLDER, SCATTER_FOLDER):
        (context.path / folder).mkdir(exist_ok=True)
    sizes = context.map(
        index_shard,
        [(*shard, context.path, number, config) for number, shard in enumerate(shards)],
        key="index",
        names=lambda number: [_index_name(number)],
    )
    if not any(size["documents"] for size in sizes):
        raise ValueError("no documents came this far; look at the funnels of the stages before")

    def pieces() -> Iterator[Index]:
        return (_load_index(context.path / _index_name(n)) for n in range(len(shards)))

    choice = choose(pieces, config)
    places, table = _survey(pieces(), choice)
    bundles = _bundles([size["bytes"] for size in sizes], _chunk_bytes(config))
    context.map(
        scatter_shards,
        [
            ([(n, *shards[n]) for n in bundle], context.path, number, choice, places)
            for number, bundle in enumerate(bundles)
        ],
        key="scatter",
        names=lambda number: _scattered(context.path, number),
    )
    parts = [(place, n) for place in places.values() for n in range(place.num_buckets)]
    funnels = context.map(
        gather_part,
        [(context.path, place, number) for place, number in parts],
        key="part",
        names=lambda i: _part_files(context.path, *parts[i]),
    )
    (context.path / MIXTURE_NAME).write_text(json.dumps(table, indent=1))
    (context.path / SUMMARY_NAME).write_text(mixture_markdown(table) + "\n")
    _warn(context, table)
    return Outcome(
        funnel=Funnel.total(Funnel(**funnel) for funnel in funnels), metrics={"mixture": table}
    )


# --- index -------------------------------------------------------------------------------------


def index_shard(
    artifact: Artifact, name: str, folder: Path, number: int, config: MixConfig
) -> dict[str, int]:
    """Save what choosing needs to know of one shard's documents; return how much there is."""
    columns = ["id", "text", "quality_score", "cluster_size", config.group_by]
    tables = read_tables(artifact.fetch(name), columns=columns)
    pieces = [_index_of(table, config) for table in tables]
    pieces = pieces or [_index_of(DOCUMENT_SCHEMA.empty_table(), config)]
    index = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}
    np.savez(folder / _index_name(number), allow_pickle=False, **index)
    return {"documents": len(index["group"]), "bytes": int(index["num_bytes"].sum())}


def _index_of(table: pa.Table, config: MixConfig) -> dict[str, np.ndarray]:
    ids = table["id"].to_pylist()
    groups = [group or NO_GROUP for group in table[config.group_by].to_pylist()]
    return {
        "group": np.array(groups, np.str_),
        "num_bytes": pc.fill_null(pc.binary_length(table["text"]), 0).to_numpy().astype(np.int64),
        "order": np.array([shuffle_rank(own, config.seed) for own in ids], np.uint64),
        "validation": np.array([validation_rank(own) for own in ids], np.uint64),
        "quality": pc.fill_null(table["quality_score"], math.nan).to_numpy().astype(np.float32),
        "copies": pc.fill_null(table["cluster_size"], 1).to_numpy().astype(np.int32),
    }


def _survey(
    pieces: Iterator[Index], choice: Choice
) -> tuple[dict[tuple[str, str], Place], dict[str, Any]]:
    """Count what goes where: the places of output, by split and portion, and the mixture."""
    config = choice.config
    kept: dict[tuple[str, str], np.ndarray] = {}  # documents, bytes
    all_bytes: dict[tuple[str, str], int] = {}
    portions: dict[str, tuple[str, tuple[float, ...]]] = {}
    held_out: dict[str, int] = {}
    for index in pieces:
        verdicts = judge(choice, index)
        for key, group, times, rows in _destinations(index, verdicts, config):
            num_bytes, stays = index["num_bytes"][rows], verdicts.reasons[rows] == None  # noqa: E711
            all_bytes[key] = all_bytes.get(key, 0) + int(num_bytes.sum())
            counted = np.array([stays.sum(), num_bytes[stays].sum()])
            kept[key] = kept.get(key, np.zeros(2, np.int64)) + counted
            if key[0] == TRAIN:
                portions[key[1]] = (group, times)
            else:
                held_out[group] = held_out.get(group, 0) + int(stays.sum())
    places, first = {}, 0
    for key in sorted(all_bytes):
        num_buckets = max(1, math.ceil(all_bytes[key] / config.shard_bytes))
        places[key] = Place(folder="/".join(key), num_buckets=num_buckets, first=first)
        first += num_buckets
    table = mixture_table(
        config.rules(),
        [
            Portion(
                name=portion_name(group, times, config),
                group=group,
                folder=folder,
                times=times,
                num_documents=int(kept[TRAIN, folder][0]),
                num_bytes=int(kept[TRAIN, folder][1]),
                num_tokens=int(kept[TRAIN, folder][1]) / config.bytes_per_token,
            )
            for folder, (group, times) in portions.items()
        ],
        are_exact=False,
    )
    for row in table["groups"]:
        row["validation_documents"] = held_out.get(row["group"], 0)
    return places, table


def _destinations(
    index: Index, verdicts: Verdicts, config: MixConfig
) -> Iterator[tuple[tuple[str, str], str, tuple[float, ...], np.ndarray]]:
    """(split and folder), group, times and rows of all documents that go to one place."""
    groups, codes = np.unique(index["group"], return_inverse=True)
    vectors, own = np.unique(verdicts.times, axis=0, return_inverse=True)
    own = np.where(verdicts.is_validation, len(vectors), own.ravel())
    both = codes * (len(vectors) + 1) + own
    for number in np.unique(both):
        code, portion = divmod(int(number), len(vectors) + 1)
        rows, group = np.flatnonzero(both == number), str(groups[code])
        if portion == len(vectors):
            yield (VALIDATION, quote(group, safe="")), group, (), rows
        else:
            times = tuple(map(float, vectors[portion]))
            yield (TRAIN, _portion_folder(group, times, config)), group, times, rows


def portion_name(group: str, times: Sequence[float], config: MixConfig) -> str:
    """What the loader calls a portion: the group's name, if the group can only be one."""
    return f"{group}~{label(times)}" if _has_portions(config) else group


def _portion_folder(group: str, times: Sequence[float], config: MixConfig) -> str:
    own = quote(group, safe="")
    return f"{own}/{label(times)}" if _has_portions(config) else own


def _has_portions(config: MixConfig) -> bool:
    return bool(config.phases or config.rehydrate)


# --- scatter and gather ------------------------------------------------------------------------


def _bundles(sizes: Sequence[int], max_bytes: int) -> list[list[int]]:
    """Neighbouring shards together, as many as ``max_bytes`` hold, at least one."""
    bundles: list[list[int]] = []
    left = 0
    for number, size in enumerate(sizes):
        if not bundles or size > left:
            bundles.append([])
            left = max_bytes
        bundles[-1].append(number)
        left -= size
    return bundles


def _chunk_bytes(config: MixConfig) -> int:
    return max(MIN_CHUNK_BYTES, config.shard_bytes)


def scatter_shards(
    shards: Sequence[tuple[int, Artifact, str]],
    folder: Path,
    number: int,
    choice: Choice,
    places: Mapping[tuple[str, str], Place],
) -> int:
    """Write the rows of some input shards as one run a bucket; return how many rows there were."""
    num_buckets = sum(place.num_buckets for place in places.values())
    num_rows = 0
    tables = (table for shard in shards for table in _judged(*shard, folder, choice, places))
    for chunk_number, chunk in enumerate(_chunks(tables, _chunk_bytes(choice.config))):
        stem = folder / SCATTER_FOLDER / f"{number:05d}-{chunk_number:05d}"
        _write_runs(stem, chunk, num_buckets)
        num_rows += len(chunk)
    return num_rows


def _judged(
    number: int,
    artifact: Artifact,
    name: str,
    folder: Path,
    choice: Choice,
    places: Mapping[tuple[str, str], Place],
) -> Iterator[pa.Table]:
    """A shard's rows, each with its rank, the reason to drop it and its bucket."""
    index = _load_index(folder / _index_name(number))
    verdicts = judge(choice, index)
    buckets = np.zeros(len(index["group"]), np.int64)
    for key, _, _, rows in _destinations(index, verdicts, choice.config):
        place = places[key]
        buckets[rows] = place.first + bucket_of(index["order"][rows], place.num_buckets)
    start = 0
    for table in read_tables(artifact.fetch(name)):
        own = slice(start, start + len(table))
        table = table.append_column("order", pa.array(index["order"][own]))
        table = table.append_column("reason", pa.array(verdicts.reasons[own], pa.string()))
        table = table.select(SCATTERED_SCHEMA.names).cast(SCATTERED_SCHEMA)
        yield table.append_column("bucket", pa.array(buckets[own]))
        start += len(table)


def _chunks(tables: Iterator[pa.Table], max_bytes: int) -> Iterator[pa.Table]:
    """Neighbouring tables together, up to about ``max_bytes`` of memory."""
    found, size = [], 0
    for table in tables:
        found.append(table)
        size += table.nbytes
        if size >= max_bytes:
            yield pa.concat_tables(found)
            found, size = [], 0
    if found:
        yield pa.concat_tables(found)


def _write_runs(stem: Path, table: pa.Table, num_buckets: int) -> None:
    """``STEM.runs``: the rows by bucket, each bucket's compressed alone; ``STEM.npy``: where each
    one begins in it, and the end."""
    buckets = table["bucket"].to_numpy()
    order = np.argsort(buckets, kind="stable")
    table = table.drop_columns("bucket").take(order).combine_chunks()
    starts = np.searchsorted(buckets[order], np.arange(num_buckets + 1))
    offsets = np.zeros(num_buckets + 1, np.int64)
    compress = zstandard.ZstdCompressor(level=1).compress
    with stem.with_suffix(".runs").open("wb") as file:
        for bucket in range(num_buckets):
            if starts[bucket] < starts[bucket + 1]:
                run = table.slice(starts[bucket], starts[bucket + 1] - starts[bucket])
                (batch,) = run.to_batches()
                file.write(compress(batch.serialize()))
            offsets[bucket + 1] = file.tell()
    np.save(stem.with_suffix(".npy"), offsets)


def gather_part(folder: Path, place: Place, number: int) -> dict[str, Any]:
    """Write one output shard: its bucket's runs, in the order of their ranks."""
    tables = [SCATTERED_SCHEMA.empty_table()]
    for path in sorted((folder / SCATTER_FOLDER).glob("*.npy")):
        tables.append(_read_run(path, place.first + number))
    table = pa.concat_tables(tables)
    if not len(table):
        return Funnel().model_dump()
    table = table.take(pc.sort_indices(table, [("order", "ascending"), ("id", "ascending")]))
    with ShardWriter(folder / place.folder, number) as shard:
        shard.split(table.select(DOCUMENT_SCHEMA.names), table["reason"].to_pylist())
    return shard.funnel.model_dump()


def _read_run(offsets_path: Path, bucket: int) -> pa.Table:
    start, stop = np.load(offsets_path, mmap_mode="r")[bucket : bucket + 2]
    if start == stop:
        return SCATTERED_SCHEMA.empty_table()
    with offsets_path.with_suffix(".runs").open("rb") as file:
        file.seek(start)
        run = zstandard.ZstdDecompressor().decompress(file.read(stop - start))
    batch = pa.ipc.read_record_batch(pa.py_buffer(run), SCATTERED_SCHEMA)
    return pa.Table.from_batches([batch])


def _warn(context: StageContext, table: Mapping[str, Any]) -> None:
    for phase in table["phases"]:
        wanted = phase["share"] * table["token_budget"]
        if phase["target_tokens"] < 0.999 * wanted:
            context.log.warning(
                "all groups of phase %s are at their epoch limit: it has %d of %d tokens; "
                "raise max_epochs, choose less narrowly or bring more data",
                phase["name"],
                phase["target_tokens"],
                wanted,
            )


def _part_files(folder: Path, place: Place, number: int) -> list[str]:
    name = part_name(number)
    names = [f"{place.folder}/{name}", f"{place.folder}/dropped/{name}"]
    return [own for own in names if (folder / own).exists()]  # a bucket may be empty


def _scattered(folder: Path, number: int) -> list[str]:
    found = (folder / SCATTER_FOLDER).glob(f"{number:05d}-*")
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _load_index(path: Path) -> Index:
    with np.load(path) as file:
        return dict(file)


def _index_name(number: int) -> str:
    return f"{INDEX_FOLDER}/part-{number:05d}.npz"


STAGE = Stage(name="mix", version=5, config=MixConfig, inputs=("documents",), run=run)
