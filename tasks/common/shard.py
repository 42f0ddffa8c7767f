"""Shards: Parquet files of documents, written deterministically and read in bounded memory.

A shard named ``part-00003.parquet`` holds what stayed; ``dropped/part-00003.parquet`` holds what
that same piece of work refused, each row with its reason.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.common.document import DOCUMENT_SCHEMA, DROPPED_SCHEMA
from tasks.common.funnel import Funnel

ROWS_PER_BATCH = 1024
ROWS_PER_GROUP = 8192

TAKEN_DOWN = "takedown"  # the reason of what someone has the right to see gone
# What still says, of a document that was taken down, which one that was.
TRACE_COLUMNS = ("id", "url", "source", "kind", "fetched_at", "reason", "detail")


def part_name(index: int) -> str:
    """The file name of the ``index``-th shard."""
    return f"part-{index:05d}.parquet"


class ShardWriter:
    """Writes one shard and its dropped twin, and keeps the ledger of both.

    Use as a context manager. Rows are plain dicts with any subset of the schema's columns
    (unknown columns are refused), or Arrow tables.
    """

    def __init__(self, folder: Path, index: int) -> None:
        self._kept = _ParquetSink(folder / part_name(index), DOCUMENT_SCHEMA)
        self._dropped = _ParquetSink(folder / "dropped" / part_name(index), DROPPED_SCHEMA)
        self.funnel = Funnel()

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *_exc: object) -> None:
        self._kept.close()
        self._dropped.close()

    def keep(self, row: dict[str, Any]) -> None:
        """Keep one document."""
        self._kept.add(row)
        self.funnel.num_in += 1
        self.funnel.num_kept += 1

    def drop(self, row: dict[str, Any], reason: str, detail: str | None = None) -> None:
        """Set one document aside with its reason."""
        self._dropped.add({**row, "reason": reason, "detail": detail})
        self.funnel.num_in += 1
        self.funnel.dropped[reason] = self.funnel.dropped.get(reason, 0) + 1

    def pass_on_dropped(self, table: pa.Table) -> None:
        """Set rows aside that were refused before, with the reasons they have."""
        self._dropped.add_table(table)
        self.funnel = Funnel.total([self.funnel, Funnel.of(table["reason"].to_pylist())])

    def split(
        self,
        table: pa.Table,
        reasons: Sequence[str | None],
        details: Sequence[str | None] | None = None,
    ) -> None:
        """Keep the rows of ``table`` whose reason is None, set the others aside."""
        reason_column = pa.array(reasons, pa.string())
        detail_column = pa.array(details or [None] * len(table), pa.string())
        keep = reason_column.is_null()
        self._kept.add_table(table.filter(keep))
        dropped = table.append_column("reason", reason_column).append_column(
            "detail", detail_column
        )
        self._dropped.add_table(_withheld(dropped.filter(pc.invert(keep))))
        self.funnel = Funnel.total([self.funnel, Funnel.of(reasons)])


def _withheld(dropped: pa.Table) -> pa.Table:
    """The same, without what documents said that were taken down."""
    is_down = pc.equal(dropped["reason"], TAKEN_DOWN)
    if not pc.any(is_down).as_py():
        return dropped
    for field in DROPPED_SCHEMA:
        if field.name not in TRACE_COLUMNS:
            nothing = pa.scalar("" if field.name == "text" else None, field.type)
            column = pc.if_else(is_down, nothing, dropped[field.name].cast(field.type))
            dropped = dropped.set_column(dropped.schema.get_field_index(field.name), field, column)
    return dropped


class _ParquetSink:
    """Buffers rows and writes them as one zstd Parquet file; the same rows, the same bytes."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._schema = schema
        self._rows: list[dict[str, Any]] = []
        self._tables: list[pa.Table] = []
        self._buffered = 0
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")

    def add(self, row: dict[str, Any]) -> None:
        unknown = row.keys() - set(self._schema.names)
        assert not unknown, f"columns outside the schema: {sorted(unknown)}"
        self._rows.append(row)
        self._buffered += 1
        if self._buffered >= ROWS_PER_GROUP:
            self._flush()

    def add_table(self, table: pa.Table) -> None:
        self._rows_to_table()
        self._tables.append(table.select(self._schema.names).cast(self._schema))
        self._buffered += len(table)
        if self._buffered >= ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _rows_to_table(self) -> None:
        if self._rows:
            self._tables.append(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def _flush(self) -> None:
        self._rows_to_table()
        if self._tables:
            table = pa.concat_tables(self._tables).combine_chunks()
            self._writer.write_table(table, row_group_size=ROWS_PER_GROUP)
        self._tables, self._buffered = [], 0


def read_tables(
    path: Path, rows: int = ROWS_PER_BATCH, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Yield a shard's rows in tables of at most ``rows``, in order; all columns or some."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows, columns=columns):
            yield pa.Table.from_batches([batch])


def count_rows(path: Path) -> int:
    """The number of rows a Parquet file declares."""
    return pq.read_metadata(path).num_rows


def set_column(table: pa.Table, name: str, values: Sequence[Any]) -> pa.Table:
    """Fill the schema's column ``name`` of ``table`` with ``values``."""
    field = DOCUMENT_SCHEMA.field(name)
    return table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
