"""Rows that share a key, found in bounded memory: keys are dealt out to files by their range.

In: a stream of keys and rows, of any length. Out: the rows whose key others have, too, part after
part. A part is sorted in memory; a key with more rows than a part has is held whole.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

ROWS_A_PART = 1 << 20  # 60 bytes each while they are sorted and looked at
MAX_PARTS = 512  # files open at once
RECORD = np.dtype([("key", np.uint64), ("row", np.int64)])

Stream = Iterable[tuple[np.ndarray, np.ndarray]]


def rows_that_share(
    stream: Stream, num_rows: int, folder: Path, rows_a_part: int = ROWS_A_PART
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield keys, ascending, and rows: those of the stream whose key comes more than once.

    Args:
        stream: keys (uint64, spread evenly) and their rows, some at a time.
        num_rows: about how many there will be.
        folder: for files that are gone afterwards.
        rows_a_part: how many to hold in memory, about.
    """
    num_parts = min(-(-num_rows // rows_a_part), MAX_PARTS)
    if num_parts <= 1:
        parts = list(stream)
        if parts:
            keys, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
            del parts
            yield _repeated(keys, rows)
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix=".spill-") as spilled:
        paths = [Path(spilled) / str(part) for part in range(num_parts)]
        with ExitStack() as stack:
            files = [stack.enter_context(path.open("wb")) for path in paths]
            for keys, rows in stream:
                for part, records in _dealt(keys, rows, num_parts):
                    files[part].write(records.tobytes())
        for path in paths:
            records = np.fromfile(path, RECORD)
            path.unlink()
            keys, rows = records["key"].copy(), records["row"].copy()
            del records
            yield _repeated(keys, rows)


def _dealt(keys: np.ndarray, rows: np.ndarray, num_parts: int) -> Iterator[tuple[int, np.ndarray]]:
    parts = ((keys >> np.uint64(32)) * np.uint64(num_parts)) >> np.uint64(32)
    order = np.argsort(parts, kind="stable")
    records = np.empty(len(keys), RECORD)
    records["key"], records["row"] = keys[order], rows[order]
    ends = np.cumsum(np.bincount(parts.astype(np.int64), minlength=num_parts))
    for part, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        if start < end:
            yield part, records[start:end]


def _repeated(keys: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(keys)
    keys = keys[order]
    same = keys[1:] == keys[:-1]
    shares = np.zeros(len(keys), bool)
    shares[1:] = same
    shares[:-1] |= same
    return keys[shares], rows[order[shares]]
