"""The page table and the shards: what became of each URL or file, and where its bytes are.

In: rows and records, in order. Out: ``pages.parquet``, one row for each URL that was seen, and
``pages-00000.warc.gz`` …, whose bytes depend on nothing but the records and their order.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.funnel import Funnel
from tasks.common.stage import Outcome
from tasks.crawl.record import info_record

TABLE_NAME = "pages.parquet"
MAX_SHARD_BYTES = 16 * 1024 * 1024
ROWS_AT_ONCE = 65_536

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

    def plain(self) -> dict[str, Any]:
        """As JSON, for a commit."""
        return asdict(self)


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


def finish(folder: Path, rows: Iterable[PageRow]) -> Outcome:
    """Write the page table and draw up the ledger; the rows may be more than fit in memory."""
    funnel = Funnel()
    num_bytes, statuses = 0, Counter[str]()
    with pq.ParquetWriter(folder / TABLE_NAME, PAGE_SCHEMA, compression="zstd") as table:
        rest = iter(rows)
        while batch := list(islice(rest, ROWS_AT_ONCE)):
            columns = {name: [getattr(row, name) for row in batch] for name in PAGE_SCHEMA.names}
            table.write_table(pa.table(columns, PAGE_SCHEMA))
            funnel = Funnel.total([funnel, Funnel.of(row.reason for row in batch)])
            num_bytes += sum(row.bytes or 0 for row in batch if row.reason is None)
            statuses.update(str(row.status) for row in batch if row.status)
    metrics = {
        "pages": funnel.num_kept,
        "bytes": num_bytes,
        "statuses": dict(sorted(statuses.items())),
    }
    return Outcome(funnel=funnel, metrics=metrics)


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
