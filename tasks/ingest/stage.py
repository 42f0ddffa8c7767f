"""The ingest stage: the user's JSONL or Parquet files in, document shards out, one a file.

A line that is not a document is set aside with its reason; it does not stop the file.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.document import DOCUMENT_SCHEMA, document_id
from tasks.common.files import checksums, expand_files, open_text
from tasks.common.funnel import Funnel
from tasks.common.shard import ShardWriter, part_name
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.ingest.config import IngestConfig

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
FIELDS = {field.name: field.type for field in DOCUMENT_SCHEMA}
KINDS = ("prose", "code")
ALIASES = {"lang": "language", "license": "licence"}


def run(context: StageContext, config: IngestConfig) -> Outcome:
    """Bring documents from the user's files into the store, one shard a file."""
    files = expand_files(config.paths)
    for name in files:
        if not name.endswith(SUFFIXES):
            raise ValueError(f"{name}: documents are read from {', '.join(SUFFIXES)}")
    calls = [
        (config, name, str(path.resolve()), context.path, index)
        for index, (name, path) in enumerate(files.items())
    ]
    funnels = context.map(
        ingest_file, calls, key="file", names=lambda i: [part_name(i), f"dropped/{part_name(i)}"]
    )
    return Outcome(funnel=Funnel.total(map(Funnel.model_validate, funnels)))


def ingest_file(
    config: IngestConfig, name: str, path: str, folder: Path, index: int
) -> dict[str, Any]:
    """Read one file into shard ``index``; returns its ledger."""
    with ShardWriter(folder, index) as writer:
        for number, record in enumerate(_records(Path(path)), start=1):
            url = f"file://{config.source}/{name}#{number}"
            row, reason = as_document(record, url, config)
            if reason:
                writer.drop(row, reason, detail=f"{name}, record {number}")
            else:
                writer.keep(row)
    return writer.funnel.model_dump()


def as_document(record: Any, url: str, config: IngestConfig) -> tuple[dict[str, Any], str | None]:
    """A row of the document schema from any mapping with a text, or the reason why not."""
    row: dict[str, Any] = {"url": url, "source": config.source, "kind": config.kind, "text": ""}
    row["licence"] = config.licence
    reason = None
    if not isinstance(record, Mapping):
        reason = "not_an_object"
    elif not isinstance(record.get("text"), str):
        reason = "no_text"
    else:
        named = {ALIASES.get(str(key), str(key)): value for key, value in record.items()}
        fitting = {name: _fitting(name, value) for name, value in named.items()}
        row |= {name: value for name, value in fitting.items() if value is not None}
    if row["kind"] not in KINDS:
        row["kind"] = config.kind
    row["id"] = _own_or_new_id(row.get("id", ""), url)
    return {name: _writable(value) for name, value in row.items()}, reason


def _writable(value: Any) -> Any:
    """Without NULs and halves of characters, which JSON can spell and no file can hold."""
    if isinstance(value, list | tuple):
        return type(value)(map(_writable, value))
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "")
    return value


def _own_or_new_id(own: str, url: str) -> str:
    """An id of ours stays. Others are told apart by ``url``: every file may begin at "0", and to
    dedup one id is one document.
    """
    return own if re.fullmatch(r"[0-9a-f]{32}", own) else document_id(url, own)


def _fitting(name: str, value: Any) -> Any:
    """The value as the column of this name takes it; None if it does not, or there is none."""
    kind = FIELDS.get(name)
    if kind is None:
        return None
    if pa.types.is_list(kind):
        is_texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return value if is_texts else None
    if pa.types.is_map(kind):
        return _fitting_map(value)
    if pa.types.is_integer(kind):
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return value if is_whole and value.bit_length() < kind.bit_width else None
    if pa.types.is_floating(kind):
        return _fitting_number(value)
    return value if isinstance(value, str) else None


def _fitting_map(value: Any) -> list[tuple[str, float]] | None:
    """Numbers by name, as JSON spells them (an object) or Parquet gives them (pairs).

    A name without a number is left out: of a struct column every row has all names.
    """
    try:
        pairs = {name: number for name, number in dict(value).items() if number is not None}
    except (TypeError, ValueError):
        return None
    numbers = {name: _fitting_number(number) for name, number in pairs.items()}
    if not all(isinstance(name, str) for name in numbers):
        return None
    found = [(name, number) for name, number in numbers.items() if number is not None]
    return found if len(found) == len(numbers) else None


def _fitting_number(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None


def _records(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
        return
    with open_text(path) as lines:
        yield from _parsed(lines)


def _parsed(lines: Iterable[str]) -> Iterator[Any]:
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            yield None


def _identity(config: IngestConfig) -> Mapping[str, Any]:
    return config.model_dump(mode="json") | {"paths": checksums(config.paths)}


STAGE = Stage(name="ingest", version=5, config=IngestConfig, inputs=(), run=run, identity=_identity)
