"""Tables of texts as sources: JSONL, CSV, TSV and Parquet, plain or packed.

In: a file with a text, and often an address, a title and more, in each record. Out: an item a
record. A record that has no text, or cannot be read, is a refusal and does not stop the file. Plain
JSONL is read by the workers themselves; the rest is unpacked here and handed to them in blocks.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from tasks.common.record_fields import one_line
from tasks.crawl.config import SourceConfig
from tasks.crawl.item import BLOCK_BYTES, Bad, Block, Connector, Item, file_url, utc_time
from tasks.crawl.packed import DAMAGE, Unpacked, inner_name, is_damage, is_packed

MAX_LINE_BYTES = 64 * 1024 * 1024  # a longer line is taken for several, none of which is JSON
MAX_BATCH_ROWS = 8192
DELIMITERS = ",;\t|"
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")

# The usual names of columns, the likeliest first.
USUAL_COLUMNS = {
    "text": ("text", "content", "body", "raw_content"),
    "id": ("id", "doc_id", "uuid"),
    "url": ("url", "link", "uri", "source_url"),
    "title": ("title", "headline"),
    "author": ("author", "authors", "byline"),
    "date": ("date", "published", "publish_date", "date_published", "created", "timestamp"),
    "language": ("language", "lang"),
    "licence": ("licence", "license"),
    "fetched_at": ("fetched_at", "warc_date", "crawled_at"),
}


def table_connector(name: str) -> Connector | None:
    """How to read the file called ``name``, if its suffix is a table's."""
    suffix = PurePosixPath(inner_name(name)).suffix
    if suffix in {".jsonl", ".ndjson"}:
        return jsonl_blocks
    if suffix in {".csv", ".tsv"}:
        return csv_blocks
    return parquet_blocks if name.lower().endswith(".parquet") else None


def jsonl_blocks(name: str, path: Path, config: SourceConfig) -> Iterator[Block]:
    """Cut at line ends; of a plain file the workers are told the place, of a packed one given it
    unpacked.
    """
    place, line = 0, 1
    content = Unpacked(path)
    for data in _whole_lines(content):
        if is_packed(name):
            yield Block(partial(_read_lines, name, line, data), len(data))
        else:
            yield Block(partial(_read_part, name, line, path, place, len(data)))
        place += len(data)
        line += data.count(b"\n")
    if content.problem:
        yield Block(partial(_read_rows, name, line, [Bad("damaged_file")]))


def _whole_lines(content: Unpacked) -> Iterator[bytes]:
    """About BLOCK_BYTES at a time, to a line's end."""
    buffer = bytearray()
    for piece in content:
        buffer += piece
        if len(buffer) < BLOCK_BYTES:
            continue
        end = buffer.rfind(b"\n") + 1 or (len(buffer) if len(buffer) > MAX_LINE_BYTES else 0)
        if end:
            yield bytes(buffer[:end])
            del buffer[:end]
    if buffer:
        yield bytes(buffer)


def _read_part(
    name: str, line: int, path: Path, place: int, num_bytes: int, config: SourceConfig
) -> Iterator[Item]:
    with path.open("rb") as file:
        file.seek(place)
        yield from _read_lines(name, line, file.read(num_bytes), config)


def _read_lines(name: str, line: int, data: bytes, config: SourceConfig) -> Iterator[Item]:
    for number, text in enumerate(data.split(b"\n"), start=line):
        if text.strip():
            yield _item(_parsed(text), f"{name}#{number}", config)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig", "surrogateescape"))
    except (ValueError, RecursionError):
        return Bad("not_json")


def csv_blocks(name: str, path: Path, config: SourceConfig) -> Iterator[Block]:
    """Rows are cut here: only who has read all before knows whether a line end is quoted."""
    content = Unpacked(path)
    yield from _blocks_of(_csv_rows(content, config), name)


def _csv_rows(content: Unpacked, config: SourceConfig) -> Iterator[Any]:
    # A setting of the whole process; a longer field would be refused later anyway.
    csv.field_size_limit(config.max_page_bytes)
    lines = (
        line.decode("utf-8", "surrogateescape") for line in content.lines(config.max_page_bytes)
    )
    head = next(lines, "").removeprefix("\ufeff")
    rows = csv.reader(chain([head], lines), delimiter=max(DELIMITERS, key=head.count))
    header = next(rows, [])
    if not _has_text(header, config):
        yield Bad("no_text_column")
        return
    while True:
        try:
            yield dict(zip(header, next(rows), strict=False))
        except csv.Error:  # an unclosed quotation, most often; reading goes on behind it
            yield Bad("not_csv")
        except StopIteration:
            break
    if content.problem:
        yield Bad("damaged_file")


def parquet_blocks(name: str, path: Path, config: SourceConfig) -> Iterator[Block]:
    """Rows of the columns that are wanted, read a batch at a time."""
    yield from _blocks_of(_parquet_rows(path, config), name)


def _parquet_rows(path: Path, config: SourceConfig) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path) as file:
            columns = _wanted(file.schema_arrow.names, config)
            if not _has_text(columns, config):
                yield Bad("no_text_column")
                return
            for batch in file.iter_batches(batch_size=_batch_rows(file), columns=columns):
                yield from batch.to_pylist()
    except DAMAGE as error:
        if not is_damage(error):
            raise
        yield Bad("damaged_file")


def _batch_rows(file: pq.ParquetFile) -> int:
    """So many rows that a batch is well below a block, whatever the size of a row group."""
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    num_bytes = sum(group.total_byte_size for group in groups)
    bytes_a_row = num_bytes // max(file.metadata.num_rows, 1) + 1
    return min(MAX_BATCH_ROWS, max(1, BLOCK_BYTES // 4 // bytes_a_row))


def _blocks_of(rows: Iterator[Any], name: str) -> Iterator[Block]:
    block: list[Any] = []
    num_bytes, first = 0, 1
    for row in rows:
        block.append(row)
        num_bytes += _size(row)
        if num_bytes >= BLOCK_BYTES:
            yield Block(partial(_read_rows, name, first, block), num_bytes)
            first += len(block)
            block, num_bytes = [], 0
    if block:
        yield Block(partial(_read_rows, name, first, block), num_bytes)


def _size(row: Any) -> int:
    values = row.values() if isinstance(row, dict) else ()
    return 100 + sum(len(value) for value in values if isinstance(value, str))


def _read_rows(name: str, first: int, rows: Sequence[Any], config: SourceConfig) -> Iterator[Item]:
    for number, row in enumerate(rows, start=first):
        yield _item(row, f"{name}#{number}", config)


def _item(record: Any, place: str, config: SourceConfig) -> Item:
    """A record, found at ``file name#number``, as an item."""
    name, _, number = place.rpartition("#")
    own_url = f"{file_url(config, name)}#{number}"
    if isinstance(record, Bad):
        return Item(url=own_url, reason=record.reason)
    if not isinstance(record, Mapping):
        return Item(url=own_url, reason="not_an_object")
    facts = {fact: _value(record, names) for fact, names in _columns(config).items()}
    text, address = facts.pop("text"), _line(facts.pop("url"))
    fetched_at, facts["item_id"] = _line(facts.pop("fetched_at")), facts.pop("id")
    if not isinstance(text, str):
        return Item(url=own_url, reason="no_text")
    return Item(
        url=address if ADDRESS.fullmatch(address) else own_url,
        content_type="text/plain",
        body=_bytes(text),
        key=place,
        date=utc_time(fetched_at),
        facts={fact: _line(value) for fact, value in facts.items()},
    )


def _columns(config: SourceConfig) -> dict[str, tuple[str, ...]]:
    """For each fact the columns to look at; one that the user named stands alone."""
    return USUAL_COLUMNS | {fact: (name,) for fact, name in config.columns.items()}


def _wanted(names: Sequence[str], config: SourceConfig) -> list[str]:
    """The columns of a file that hold a fact, or something that a fact lies in."""
    looked_at = {name for names in _columns(config).values() for name in names}
    looked_at |= {name.partition(".")[0] for name in looked_at}
    return [name for name in names if name in looked_at]


def _has_text(names: Sequence[str], config: SourceConfig) -> bool:
    columns = _columns(config)["text"]
    return any(name in names or name.partition(".")[0] in names for name in columns)


def _value(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The first of the named columns that has a value; ``meta.url`` is the url inside meta."""
    for name in names:
        value: Any = record.get(name)
        if value is None and "." in name:
            outer, _, inner = name.partition(".")
            within = record.get(outer)
            value = within.get(inner) if isinstance(within, Mapping) else None
        if value not in (None, ""):
            return value
    return None


def _line(value: Any) -> str:
    """A scalar, or several, as one line; what is neither says nothing."""
    if isinstance(value, list | tuple):
        return "; ".join(filter(None, map(_line, value)))
    return one_line(value) if isinstance(value, str | int | date) else ""


def _bytes(text: str) -> bytes:
    """Bytes that were not UTF-8 come out as they were; extract finds their charset."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # halves of characters that JSON spelled out
        return text.encode("utf-8", "replace")
