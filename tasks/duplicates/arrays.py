"""Arrays with one entry a document, in files: mapped into memory only while they are looked at.

In: tables of keys. Out: files in a folder of the stage's own. What is mapped is the system's to
take back; only what is copied out of it counts.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from tasks.duplicates.index import ROWS_AT_A_TIME, Index


@dataclass
class Arrays:
    """Files of one folder, each with an entry for every document."""

    folder: Path
    kinds: dict[str, np.dtype] = field(default_factory=dict)

    def __getitem__(self, name: str) -> np.ndarray:
        """One array, mapped for reading."""
        path = self.folder / name
        if not path.stat().st_size:  # nothing cannot be mapped
            return np.empty(0, self.kinds[name])
        return np.memmap(path, self.kinds[name], "r")

    def save(self, name: str, values: np.ndarray) -> None:
        """Write one array whole."""
        self.kinds[name] = values.dtype
        values.tofile(self.folder / name)

    def fill(self, parts: Iterator[dict[str, np.ndarray]]) -> None:
        """Write several arrays, part by part."""
        with ExitStack() as stack:
            files = {
                name: stack.enter_context((self.folder / name).open("wb")) for name in self.kinds
            }
            for part in parts:
                for name, kind in self.kinds.items():
                    files[name].write(part[name].astype(kind, copy=False).tobytes())

    def stream(self, name: str, where: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """64-bit keys of the rows that are wanted, and the rows.

        Of 16-byte hashes the first half is the key.
        """
        values = self[name]
        for start in range(0, len(where), ROWS_AT_A_TIME):
            rows = start + np.flatnonzero(where[start : start + ROWS_AT_A_TIME])
            found = values[rows]
            if found.dtype.kind == "S":
                found = np.frombuffer(found.astype("S8").tobytes(), np.uint64)
            yield found, rows

    def preference(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Keys for ``np.lexsort`` that put the best of some rows first; ties are by id."""
        return (*self.identity(rows), self["rank"][rows])

    def identity(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Keys for ``np.lexsort`` by id; only rows with nothing to choose between are equal."""
        return tuple(self[name][rows] for name in ("exact_key", "source", "id"))


def array_kinds(id_bytes: int) -> dict[str, np.dtype]:
    """What is kept of each document, in bytes."""
    return {
        "id": np.dtype(f"S{id_bytes}"),
        "id_key": np.dtype(np.uint64),
        "exact_key": np.dtype("S16"),
        "source": np.dtype(np.int32),
        "fetched_at": np.dtype(np.int64),
        "url_key": np.dtype(np.uint64),
        "page_key": np.dtype(np.uint64),
        "is_signed": np.dtype(bool),
        "is_gone": np.dtype(bool),
        "rank": np.dtype(np.float64),
    }


def widths(index: Index) -> tuple[int, list[str]]:
    """Bytes of the longest id, and the names of all sources, sorted."""
    id_bytes, sources = 1, set[str]()
    for artifact, name in index.shards:
        with pq.ParquetFile(artifact.fetch(name)) as file:
            for batch in file.iter_batches(ROWS_AT_A_TIME, columns=["id", "source"]):
                id_bytes = max(id_bytes, pc.max(pc.binary_length(batch["id"])).as_py() or 0)
                sources.update(pc.unique(batch["source"]).to_pylist())
    return id_bytes, sorted(sources)


def key_parts(index: Index, sources: list[str]) -> Iterator[tuple[pa.Table, dict[str, np.ndarray]]]:
    """Tables of keys, one after another, and what of each goes into arrays as it is."""
    codes = pa.array(sources, pa.string())
    for artifact, name in index.shards:
        with pq.ParquetFile(artifact.fetch(name)) as file:
            for batch in file.iter_batches(ROWS_AT_A_TIME):
                ids = [value.encode() for value in batch["id"].to_pylist()]
                columns = {
                    "id": np.array(ids, np.bytes_),
                    "id_key": np.fromiter(map(xxhash.xxh3_64_intdigest, ids), np.uint64, len(ids)),
                    "exact_key": np.array(batch["exact_key"].to_pylist(), "S16"),
                    "source": pc.index_in(batch["source"], codes).to_numpy(),
                }
                for column in ("fetched_at", "url_key", "page_key", "is_signed"):
                    columns[column] = batch[column].to_numpy(zero_copy_only=False)
                yield pa.Table.from_batches([batch]), columns
