"""Records: one JSON object a line, as post-training data travels."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]
VALIDATION_EVERY = 20  # one record in so many watches over-fitting


def read_records(path: Path) -> list[Record]:
    """The records of a file of ours; the user's files are checked line by line elsewhere."""
    return [json.loads(line) for _, line in numbered_lines(path)]


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, counted from 1.

    Not by ``str.splitlines``: it also breaks at U+2028 and its like, which JSON allows in a text.
    """
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            yield number, line


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records, one a line."""
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def split_validation(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """(train, validation), by a hash of the record's id; each has one of two or more records."""
    ranks = [_rank(record) for record in records]
    is_held_out = [rank % VALIDATION_EVERY == 0 for rank in ranks]
    if len(records) > 1 and not any(is_held_out):
        is_held_out[ranks.index(min(ranks))] = True
    if records and all(is_held_out):
        is_held_out[ranks.index(max(ranks))] = False
    train = [r for r, held_out in zip(records, is_held_out, strict=True) if not held_out]
    return train, [r for r, held_out in zip(records, is_held_out, strict=True) if held_out]


def _rank(record: Record) -> int:
    return int.from_bytes(hashlib.blake2b(record["id"].encode(), digest_size=8).digest())
