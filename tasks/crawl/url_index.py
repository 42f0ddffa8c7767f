"""The columnar URL index of Common Crawl: which pages a crawl has, and where their records are.

In: one Parquet file of the index, readable here and there, and the filters of a source. Out: the
lines that pass. The index of a crawl is some 150 GB, sorted by reversed host name, so little of it
is read: row groups whose statistics rule a match out are left alone, then only the columns that are
filtered by, and the others only of row groups in which something passed.

Columns: https://github.com/commoncrawl/cc-index-table (cc-index-schema-flat.json).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.crawl.config import SourceConfig
from tasks.crawl.ranges import IndexedPage, is_in_share, rank

# Our name and type → the index's.
COLUMNS = {
    "url": ("url", pa.string()),
    "status": ("fetch_status", pa.int32()),
    "content_type": ("content_mime_detected", pa.string()),
    "languages": ("content_languages", pa.string()),
    "fetched_at": ("fetch_time", pa.timestamp("s")),
    "archive": ("warc_filename", pa.string()),
    "offset_bytes": ("warc_record_offset", pa.int64()),
    "length_bytes": ("warc_record_length", pa.int64()),
}
OPTIONAL = ("content_languages", "content_mime_detected")  # crawls before August 2018 lack them
PAGES_SCHEMA = pa.schema(
    [pa.field("rank", pa.uint64()), *(pa.field(name, kind) for name, (_, kind) in COLUMNS.items())]
)
BATCH_ROWS = 1 << 16
REVERSED_HOST = "url_host_name_reversed"


@dataclass(frozen=True)
class IndexPart:
    """What came of one file of the index: lines, and how much of it was read."""

    pages: pa.Table  # PAGES_SCHEMA, the lowest ranks first
    num_matches: int
    num_row_groups: int
    num_read: int


def read_part(file: Any, path: str, config: SourceConfig) -> IndexPart:
    """Find the lines of one index file that pass a source's filters, ``max_pages`` at most.

    Raises:
        ValueError: the file lacks a column that is filtered by.
    """
    parquet = pq.ParquetFile(pa.PythonFile(file, mode="r"), pre_buffer=True)
    groups = _candidates(parquet.metadata, path, config)
    pages, num_matches = PAGES_SCHEMA.empty_table(), 0
    for group in groups:
        found = _matches(parquet, group, config)
        num_matches += found.num_rows
        pages = lowest([pages, _ranked(found, config.sample_seed)], config.max_pages)
    return IndexPart(pages, num_matches, parquet.metadata.num_row_groups, len(groups))


def lowest(tables: Iterable[pa.Table], num_pages: int) -> pa.Table:
    """The ``num_pages`` lines of lowest rank."""
    table = pa.concat_tables(tables)
    order = [(name, "ascending") for name in ("rank", "archive", "offset_bytes")]
    return table.sort_by(order).slice(0, num_pages)


def indexed_pages(table: pa.Table) -> list[IndexedPage]:
    """Lines as values."""
    rows = table.drop_columns("rank").to_pylist()
    return [
        IndexedPage(**{**row, "fetched_at": row["fetched_at"].strftime("%Y-%m-%dT%H:%M:%SZ")})
        for row in rows
    ]


def _equalities(config: SourceConfig) -> dict[str, Sequence[Any]]:
    """Column → the values of which it must have one."""
    wanted: dict[str, Sequence[Any]] = {
        "url_host_registered_domain": config.registered_domains,
        "url_host_name": config.hosts,
        "url_host_tld": config.tlds,
        "content_mime_detected": config.mime_types,
        "fetch_status": config.statuses,
    }
    return {column: values for column, values in wanted.items() if values}


def _candidates(metadata: pq.FileMetaData, path: str, config: SourceConfig) -> list[int]:
    """The row groups that may hold a match and are of the share of the index to be read."""
    numbers = {metadata.schema.column(n).path: n for n in range(metadata.num_columns)}
    intervals = {
        numbers[column]: bounds
        for column, bounds in _intervals(config).items()
        if column in numbers
    }
    share = 1.0 if config.share is None else config.share
    return [
        group
        for group in range(metadata.num_row_groups)
        if is_in_share(config.sample_seed, f"{path}#{group}", share)
        and all(
            _may_overlap(metadata.row_group(group).column(number).statistics, bounds)
            for number, bounds in intervals.items()
        )
    ]


def _intervals(config: SourceConfig) -> dict[str, list[tuple[Any, Any]]]:
    """Column → closed intervals, into one of which each matching value falls.

    The index is sorted by reversed host, so that is what tells row groups apart.
    """
    bounds = {
        column: [(value, value) for value in values]
        for column, values in _equalities(config).items()
    }
    names = [_reversed(host) for host in config.hosts]
    if names and not any(map(_is_address, config.hosts)):  # addresses are not reversed, but null
        bounds[REVERSED_HOST] = [(name, name) for name in names]
    elif config.registered_domains:  # the domain, or that and a dot, after which "/" comes
        names = [_reversed(domain) for domain in config.registered_domains]
        bounds[REVERSED_HOST] = [(name, f"{name}/") for name in names]
    return bounds


def _is_address(host: str) -> bool:
    return host.replace(".", "").isdigit()


def _reversed(host: str) -> str:
    return ".".join(reversed(host.split(".")))


def _may_overlap(statistics: pq.Statistics | None, bounds: list[tuple[Any, Any]]) -> bool:
    if statistics is None or not statistics.has_min_max:
        return True
    return any(low <= statistics.max and statistics.min <= high for low, high in bounds)


def _matches(parquet: pq.ParquetFile, group: int, config: SourceConfig) -> pa.Table:
    """The lines of one row group that pass, in our columns."""
    have = set(parquet.schema_arrow.names)
    needed = [*_equalities(config), *(["content_languages"] if config.languages else [])]
    if missing := [column for column in needed if column not in have]:
        raise ValueError(
            f"the index of {config.crawl_id} has no column {', '.join(missing)}: leave that filter "
            "empty, or take a later crawl (languages are known since CC-MAIN-2018-39)"
        )
    mask = np.ones(parquet.metadata.row_group(group).num_rows, dtype=bool)
    if needed:
        mask = np.concatenate([_mask(batch, config) for batch in _batches(parquet, group, needed)])
    found, position = [_in_our_columns(parquet.schema_arrow.empty_table())], 0
    if mask.any():
        columns = [theirs for theirs, _ in COLUMNS.values() if theirs in have]
        for batch in _batches(parquet, group, columns):
            wanted = pa.array(mask[position : position + batch.num_rows])
            found.append(_url_matches(_in_our_columns(batch.filter(wanted)), config))
            position += batch.num_rows
    return pa.concat_tables(found)


def _batches(parquet: pq.ParquetFile, group: int, columns: list[str]) -> Iterator[pa.Table]:
    """A row group bit by bit: unpacked at once it may take a gigabyte."""
    for batch in parquet.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
        yield pa.Table.from_batches([batch])


def _mask(table: pa.Table, config: SourceConfig) -> np.ndarray:
    """Which lines pass the filters on columns."""
    mask = np.ones(table.num_rows, dtype=bool)
    for column, values in _equalities(config).items():
        wanted = pa.array(values, table.schema.field(column).type)
        mask &= _as_mask(pc.is_in(table[column], value_set=wanted))
    if config.languages:
        mask &= _as_mask(_main_language_is(table["content_languages"], config.languages))
    return mask


def _main_language_is(languages: pa.ChunkedArray, wanted: Sequence[str]) -> pa.ChunkedArray:
    return pc.match_substring_regex(languages, f"^({'|'.join(wanted)})(,|$)")


def _as_mask(values: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(values, False).to_numpy().astype(bool)


def _in_our_columns(table: pa.Table) -> pa.Table:
    def column(theirs: str, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
        if theirs not in table.schema.names and theirs in OPTIONAL:
            return pa.nulls(table.num_rows, kind)
        found = table[theirs]
        if pa.types.is_timestamp(found.type):  # of whatever unit, with or without a zone: UTC
            return found.cast(pa.timestamp("s", found.type.tz), safe=False).cast(kind)
        return found.cast(kind)

    return pa.table({ours: column(*theirs) for ours, theirs in COLUMNS.items()})


def _url_matches(table: pa.Table, config: SourceConfig) -> pa.Table:
    """Keep URLs that one of ``include`` matches, if there are any, and none of ``exclude``."""
    include = [re.compile(pattern) for pattern in config.include]
    exclude = [re.compile(pattern) for pattern in config.exclude]
    if not include and not exclude:
        return table
    keep = [
        (not include or any(pattern.search(url) for pattern in include))
        and not any(pattern.search(url) for pattern in exclude)
        for url in table["url"].to_pylist()
    ]
    return table.filter(pa.array(keep, pa.bool_()))


def _ranked(table: pa.Table, seed: int) -> pa.Table:
    names = zip(table["archive"].to_pylist(), table["offset_bytes"].to_pylist(), strict=True)
    ranks = [rank(seed, f"{archive}#{offset}") for archive, offset in names]
    return table.add_column(0, "rank", pa.array(ranks, pa.uint64()))
