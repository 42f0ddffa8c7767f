"""Token shards: documents as one flat run of token ids that training maps into memory.

In: lists of ids, one a document. Out: two files a shard, and a reader that copies nothing.

``NAME.bin``      the ids of all documents in a row, little-endian, uint16 where the vocabulary has
                  fewer than 65,536 entries, else uint32
``NAME.idx.npy``  int64: format version, vocabulary size, then where each document ends in the run

The index is renamed into place last: a shard with an index is whole.
"""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

FORMAT_VERSION = 1
_HEADER = 2  # numbers before the document ends


def token_dtype(vocab_size: int) -> np.dtype:
    """The narrowest of the two id types that holds every id."""
    return np.dtype("<u2") if vocab_size < 65_536 else np.dtype("<u4")


class TokenWriter:
    """Write one shard: ``with TokenWriter(folder, "tokens-00000", vocab_size) as out: out.add(…)``.

    Nothing appears under the final names before the block ends well.
    """

    def __init__(self, folder: str | Path, name: str, vocab_size: int) -> None:
        if vocab_size < 1:
            raise ValueError(f"vocab_size must be at least 1, got {vocab_size}")
        self.path = Path(folder) / f"{name}.bin"
        self.vocab_size = vocab_size
        self.num_tokens = 0
        self._dtype = token_dtype(vocab_size)
        self._ends: list[int] = []

    def add(self, ids: Sequence[int] | np.ndarray) -> None:
        """Append one document."""
        array = np.asarray(ids, dtype=np.int64)
        if array.size and not 0 <= int(array.min()) <= int(array.max()) < self.vocab_size:
            raise ValueError(
                f"token ids {array.min()}..{array.max()} do not fit vocab_size = "
                f"{self.vocab_size}: was the text encoded with another tokenizer?"
            )
        self._file.write(array.astype(self._dtype).tobytes())
        self.num_tokens += array.size
        self._ends.append(self.num_tokens)

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = _temporary(self.path).open("wb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._file.close()
        if kind is not None:
            _temporary(self.path).unlink()
            return
        index = _index_path(self.path)
        with _temporary(index).open("wb") as file:
            np.save(file, np.array([FORMAT_VERSION, self.vocab_size, *self._ends], dtype="<i8"))
        _temporary(self.path).replace(self.path)
        _temporary(index).replace(index)


class TokenShard:
    """A shard on disk, read where it lies. ``tokens_N`` is the whole run, memory-mapped."""

    def __init__(self, path: str | Path) -> None:
        self.path = _data_path(Path(path))
        self.vocab_size, self._ends = _read_index(self.path)
        dtype = token_dtype(self.vocab_size)
        expected_bytes = self.num_tokens * dtype.itemsize
        actual_bytes = self.path.stat().st_size
        if actual_bytes != expected_bytes:
            raise ValueError(
                f"token shard {self.path} has {actual_bytes} bytes, its index says "
                f"{expected_bytes}: it is damaged, or the two files are not of one shard; "
                "write it again"
            )
        # An empty file cannot be mapped.
        empty = np.zeros(0, dtype)
        self.tokens_N = np.memmap(self.path, dtype, mode="r") if actual_bytes else empty

    @property
    def num_tokens(self) -> int:
        """Ids in the shard, all documents together."""
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def num_documents(self) -> int:
        """Documents in the shard."""
        return len(self._ends)

    def document(self, index: int) -> np.ndarray:
        """The ids of one document."""
        if not 0 <= index < self.num_documents:
            raise IndexError(f"document {index} of {self.num_documents} in {self.path}")
        start = int(self._ends[index - 1]) if index else 0
        return self.tokens_N[start : int(self._ends[index])]

    def documents_in(self, start: int, stop: int) -> range:
        """The indices of the documents that have any of the ids ``tokens_N[start:stop]``."""
        first, last = np.searchsorted(self._ends, [start, stop - 1], side="right")
        return range(int(first), int(last) + 1)


def _read_index(path: Path) -> tuple[int, np.ndarray]:
    index = _index_path(path)
    for file in (path, index):
        if not file.is_file():
            raise ValueError(f"token shard {path}: {file.name} is missing; write the shard again")
    try:
        numbers = np.load(index, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"token shard index {index} cannot be read: {error}") from error
    if numbers.dtype != np.int64 or numbers.ndim != 1 or len(numbers) < _HEADER:
        raise ValueError(f"token shard index {index} is not one: {numbers.dtype} {numbers.shape}")
    version, vocab_size, ends = int(numbers[0]), int(numbers[1]), numbers[_HEADER:]
    if version != FORMAT_VERSION:
        raise ValueError(f"token shard {path}: format {version}, this reads {FORMAT_VERSION}")
    if np.any(np.diff(ends, prepend=0) < 0):
        raise ValueError(f"token shard index {index} is damaged: a document ends before it begins")
    return vocab_size, ends


def _data_path(path: Path) -> Path:
    return path if path.suffix == ".bin" else path.with_name(path.name + ".bin")


def _index_path(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".bin") + ".idx.npy")


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")
