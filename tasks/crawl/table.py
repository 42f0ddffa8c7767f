"""The page table and the shards: what became of each URL or file, and where its bytes are.

In: rows and records, in order. Out: ``pages.parquet``, one row for each URL that was seen, and
``pages-00000.warc.gz`` …, whose bytes depend on nothing but the records and their order.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.funnel import Funnel
from tasks.common.page_table import PAGE_TABLE_NAME
from tasks.common.stage import Outcome
from tasks.crawl.record import info_record

ROWS_PER_GROUP = 50_000
MAX_SHARD_BYTES = 16 * 1024 * 1024

PAGE_SCHEMA = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("reason", pa.string()),  # why it was not kept; null if it was
        pa.field("status", pa.int32()),
        pa.field("content_type", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("fetched_at", pa.string()),
        pa.field("depth", pa.int32()),
        pa.field("location", pa.string()),  # where it redirected to
        pa.field("shard", pa.string()),  # the file that holds its record
        # What a later crawl needs to ask only for what has changed:
        pa.field("digest", pa.string()),  # of the page as it was last seen, kept or unchanged
        pa.field("etag", pa.string()),
        pa.field("last_modified", pa.string()),
        pa.field("stored_at", pa.string()),  # the date of the record that holds that page
        pa.field("canonical", pa.string()),  # its address by its own account, if that is another
        pa.field("interval_days", pa.float64()),  # after which to ask for it again
        pa.field("withdrawn_at", pa.string()),  # when it was found to be gone or closed to us
        pa.field("offset_bytes", pa.int64()),  # where in that file, if known
        pa.field("language", pa.string()),  # ISO 639-3 codes, the main one first, if known
    ]
)


def shard_name(index: int) -> str:
    """The file name of the ``index``-th archive file."""
    return f"pages-{index:05d}.warc.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRow:
    """A line of the page table."""

    url: str
    reason: str | None = None
    status: int | None = None
    content_type: str | None = None
    bytes: int | None = None
    fetched_at: str | None = None
    depth: int | None = None
    location: str | None = None
    shard: str | None = None
    digest: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    stored_at: str | None = None
    canonical: str | None = None
    interval_days: float | None = None
    withdrawn_at: str | None = None
    offset_bytes: int | None = None
    language: str | None = None

    def plain(self) -> dict[str, Any]:
        """As JSON, for a commit."""
        return {name: getattr(self, name) for name in PAGE_SCHEMA.names}  # a third of asdict


@dataclass(frozen=True)
class Shards:
    """Names and opens the archive files of one source.

    Args:
        folder: where they go.
        source, snapshot, date: what the first record of each file says.
    """

    folder: Path
    source: str
    snapshot: str
    date: str

    def write(self, records: Iterable[bytes], first_index: int) -> list[tuple[str, int]]:
        """Write records in order, turning to a next file when one is full.

        Returns:
            Each file's name and how many records it took, its opening one not counted.
        """
        return [
            (self.write_one(index, group), len(group))
            for index, group in enumerate(_groups(records), start=first_index)
        ]

    def write_one(self, index: int, records: Iterable[bytes]) -> str:
        """Write one file and return its name."""
        name = shard_name(index)
        with (self.folder / name).open("wb") as file:
            file.write(info_record(self.source, name, self.snapshot, self.date))
            file.writelines(records)
        return name


def finish(
    folder: Path, rows: Iterable[PageRow], metrics: Mapping[str, Any] | None = None
) -> Outcome:
    """Write the page table and draw up the ledger; holds few rows at a time.

    Args:
        metrics: what to add to the counts made here.
    """
    reasons: Counter[str | None] = Counter()
    statuses: Counter[str] = Counter()
    num_bytes = 0
    rows = iter(rows)
    with pq.ParquetWriter(folder / PAGE_TABLE_NAME, PAGE_SCHEMA, compression="zstd") as writer:
        while group := list(islice(rows, ROWS_PER_GROUP)):
            columns = {name: [getattr(row, name) for row in group] for name in PAGE_SCHEMA.names}
            writer.write_table(pa.table(columns, PAGE_SCHEMA))
            reasons.update(row.reason for row in group)
            statuses.update(str(row.status) for row in group if row.status)
            num_bytes += sum(row.bytes or 0 for row in group if row.reason is None)
    num_kept = reasons.pop(None, 0)
    dropped = {str(reason): reasons[reason] for reason in sorted(map(str, reasons))}
    found = {"pages": num_kept, "bytes": num_bytes, "statuses": dict(sorted(statuses.items()))}
    return Outcome(
        funnel=Funnel(num_in=num_kept + reasons.total(), num_kept=num_kept, dropped=dropped),
        metrics={**found, **(metrics or {})},
    )


def _groups(records: Iterable[bytes]) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    num_bytes = 0
    for record in records:
        if group and num_bytes + len(record) > MAX_SHARD_BYTES:
            yield group
            group, num_bytes = [], 0
        group.append(record)
        num_bytes += len(record)
    if group:
        yield group
