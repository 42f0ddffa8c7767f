"""Records: one JSON object a line, as post-training data travels."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]
VALIDATION_EVERY = 20  # one record in so many watches over-fitting


def read_records(path: Path) -> list[Record]:
    """The records of a file of ours; the user's files are checked line by line elsewhere."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records, one a line."""
    with path.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def split_validation(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """(train, validation), by a hash of the record's id."""
    train: list[Record] = []
    validation: list[Record] = []
    for record in records:
        digest = hashlib.blake2b(record["id"].encode(), digest_size=8).digest()
        held_out = int.from_bytes(digest) % VALIDATION_EVERY == 0
        (validation if held_out else train).append(record)
    return train, validation
