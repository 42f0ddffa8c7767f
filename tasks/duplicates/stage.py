"""The duplicates stage: the signature index in; for each shard of it a shard of verdicts out.

It reads keys, never a text. Versions of pages are told apart first; what is left is connected band
by band, and of each component one document stays. Whatever was signed when, the verdicts are those
of deciding about everything at once, because that is what is done.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.common.files import checksums, expand_files
from tasks.common.page_table import PAGE_TABLE_NAME, withdrawn_pages
from tasks.common.shard import part_name
from tasks.common.signature_index import instants, url_keys
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.common.url_list import UrlList
from tasks.common.verdict import VERDICT_SCHEMA
from tasks.duplicates.arrays import Arrays, array_kinds, key_parts, widths
from tasks.duplicates.components import PAIRS_AT_A_TIME, followers, neighbours, row_type
from tasks.duplicates.config import DuplicatesConfig
from tasks.duplicates.curve import best_bands, curve_summary
from tasks.duplicates.decision import Decision
from tasks.duplicates.index import ROWS_AT_A_TIME, Index
from tasks.duplicates.policy import ranks
from tasks.duplicates.spill import rows_that_share
from tasks.duplicates.verdicts import verdict_table
from tasks.duplicates.versions import Withdrawals, are_withdrawn

WORK_FOLDER = ".work"


def run(context: StageContext, config: DuplicatesConfig) -> Outcome:
    """Decide which documents stay. In: signatures and crawls. Out: a verdict on each document."""
    index = Index.of(context.shards("signatures"))
    if not index.shards:
        raise ValueError("duplicates was given no shards; give it the artifacts of signatures")
    num_bands, rows_per_band = _bands(context.inputs["signatures"], config)
    folder = context.path / WORK_FOLDER
    folder.mkdir(exist_ok=True)
    arrays = _read_keys(folder, index, _withdrawals(context, config), config)
    named = _named_by_lists(context, index, config)
    decision = Decision(arrays, index.num_rows, config)
    decision.find_versions()
    decision.take_down(np.fromiter(named, np.int64, len(named)))
    arrays.save("is_in", decision.may_match() & arrays["is_signed"])
    context.map(
        pair_band,
        [(index, arrays, band, rows_per_band, config) for band in range(num_bands)],
        key="band",
        names=lambda band: [f"{WORK_FOLDER}/{_pairs_name(band)}"],
    )
    decision.find_copies(_read_pairs(arrays, num_bands))
    reasons = _write_verdicts(context.path, index, decision, named)
    curve = {"near_copies": curve_summary(num_bands, rows_per_band)} if num_bands else {}
    dropped = {reason: reasons[reason] for reason in sorted(filter(None, reasons))}
    counts = {"num_documents": index.num_rows, "dropped": dropped}
    return Outcome(metrics=counts | curve | decision.metrics())


def _write_verdicts(
    folder: Path, index: Index, decision: Decision, named: Mapping[int, str]
) -> Counter[str | None]:
    """A shard of verdicts for each table of keys; returns how often each reason is given."""
    reasons: Counter[str | None] = Counter()
    for shard, bounds in enumerate(zip(index.starts[:-1], index.starts[1:], strict=True)):
        with pq.ParquetWriter(
            folder / part_name(shard), VERDICT_SCHEMA, compression="zstd"
        ) as writer:
            for start in range(*bounds, ROWS_AT_A_TIME):
                rows = np.arange(start, min(start + ROWS_AT_A_TIME, bounds[1]))
                table = verdict_table(decision, rows, named)
                writer.write_table(table)
                for count in pc.value_counts(table["reason"]).to_pylist():
                    reasons[count["values"]] += count["counts"]
    return reasons


def pair_band(
    index: Index, arrays: Arrays, band: int, rows_per_band: int, config: DuplicatesConfig
) -> int:
    """Save pairs of rows that agree in one band; return how many there are."""
    is_in, num_pairs = arrays["is_in"], 0
    keys = index.band(band, rows_per_band, is_in)
    with (arrays.folder / _pairs_name(band)).open("wb") as file:
        for found, rows in rows_that_share(keys, len(is_in), arrays.folder):
            if config.min_similarity > 0:
                order = np.lexsort((*arrays.identity(rows), found))
                parts = followers(
                    found[order],
                    rows[order],
                    lambda pairs: index.agreement(pairs) >= config.min_similarity,
                )
            else:
                parts = iter([neighbours(found, rows)])
            for pairs in parts:
                file.write(pairs.astype(row_type(len(is_in))).tobytes())
                num_pairs += len(pairs)
    return num_pairs


def find_named(artifact: Artifact, name: str, lists: Sequence[str]) -> list[tuple[int, str]]:
    """The rows of one table of keys that takedown lists name, and the entry of each."""
    names = UrlList(_lines(lists))
    found, start = [], 0
    with pq.ParquetFile(artifact.fetch(name)) as file:
        for batch in file.iter_batches(ROWS_AT_A_TIME, columns=["url"]):
            urls = enumerate(batch["url"].to_pylist(), start)
            found += [(row, entry) for row, url in urls if (entry := names.match(url))]
            start += len(batch)
    return found


def _named_by_lists(
    context: StageContext, index: Index, config: DuplicatesConfig
) -> dict[int, str]:
    """Row → the entry that names it."""
    if not config.takedown:
        return {}
    lists = [str(path.resolve()) for path in expand_files(config.takedown).values()]
    if unreadable := UrlList(_lines(lists)).unreadable:
        raise ValueError(
            f"takedown: {unreadable[0]!r} is neither a host nor a URL; mend the line, or begin "
            "it with # to leave it out"
        )
    found = context.map(find_named, [(*shard, lists) for shard in index.shards], key="takedown")
    return {
        int(start) + row: entry
        for start, rows in zip(index.starts[:-1], found, strict=True)
        for row, entry in rows
    }


def _lines(lists: Sequence[str]) -> Iterator[str]:
    for path in lists:
        with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
            yield from file


def _bands(signatures: Sequence[Artifact], config: DuplicatesConfig) -> tuple[int, int]:
    """How many bands to look into, and their rows; none if near copies may stay."""
    made_with = [artifact.manifest.identity.config for artifact in signatures]
    if any(each != made_with[0] for each in made_with):
        raise ValueError("signatures of one corpus must be made with the same settings")
    if not config.minhash:
        return 0, config.rows_per_band
    num_permutations = made_with[0]["num_permutations"]
    if not made_with[0]["minhash"]:
        raise ValueError("minhash=true needs signatures that were made with minhash=true")
    if config.threshold:
        return best_bands(config.threshold, num_permutations)
    if config.num_bands * config.rows_per_band > num_permutations:
        raise ValueError(
            f"{config.num_bands} bands of {config.rows_per_band} rows need "
            f"{config.num_bands * config.rows_per_band} permutations, and signatures have "
            f"{num_permutations}; set num_permutations"
        )
    return config.num_bands, config.rows_per_band


def _read_keys(
    folder: Path, index: Index, withdrawals: Withdrawals, config: DuplicatesConfig
) -> Arrays:
    """All keys but signatures, as arrays in files."""

    def parts() -> Iterator[dict[str, np.ndarray]]:
        for table, columns in key_parts(index, sources):
            is_gone = are_withdrawn(columns["url_key"], columns["fetched_at"], withdrawals)
            yield columns | {"rank": ranks(table, config), "is_gone": is_gone}

    id_bytes, sources = widths(index)
    arrays = Arrays(folder, array_kinds(id_bytes))
    arrays.fill(parts())
    return arrays


def _withdrawals(context: StageContext, config: DuplicatesConfig) -> Withdrawals:
    """What the page tables of some crawls say was withdrawn."""
    keys, times = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    for crawl in context.inputs["pages"] if config.drop_withdrawn else ():
        source = crawl.manifest.identity.config["name"]
        table = withdrawn_pages(crawl.fetch(PAGE_TABLE_NAME))
        keys.append(url_keys([source] * len(table), table["url"].to_pylist()))
        times.append(instants(table["withdrawn_at"].to_pylist()))
    return Withdrawals(np.concatenate(keys), np.concatenate(times))


def _read_pairs(arrays: Arrays, num_bands: int) -> Iterator[np.ndarray]:
    """All bands' pairs, some at a time."""
    kind = row_type(len(arrays["is_in"]))
    for band in range(num_bands):
        with (arrays.folder / _pairs_name(band)).open("rb") as file:
            while len(pairs := np.fromfile(file, kind, 2 * PAIRS_AT_A_TIME)):
                yield pairs.reshape(-1, 2)


def _pairs_name(band: int) -> str:
    return f"pairs-{band:05d}"


def _identity(config: DuplicatesConfig) -> Mapping[str, Any]:
    return config.model_dump(mode="json") | {"takedown": checksums(config.takedown)}


STAGE = Stage(
    name="duplicates",
    version=2,
    config=DuplicatesConfig,
    inputs=("signatures", "pages"),
    run=run,
    identity=_identity,
)
