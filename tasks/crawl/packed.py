"""Packed files as streams: gzip, bzip2, xz and zstd by suffix, anything else as it is.

In: a path. Out: its bytes in pieces, unpacked, in bounded memory. Damage ends the pieces; those
before it are there, and ``problem`` says what happened.
"""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import zstandard

PACKINGS = (".gz", ".zst", ".bz2", ".xz")
PIECE_BYTES = 1 << 18
MAX_WINDOW_BYTES = 1 << 31  # what ``zstd --long=31`` writes
ZSTD_INPUT_BYTES = 1 << 11  # can become a thousand times a thousand bytes, which must fit
DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError, pa.ArrowException)


def inner_name(name: str) -> str:
    """The name in lower case, without the suffix of a packing."""
    lower = name.lower()
    return lower.removesuffix(PurePosixPath(lower).suffix) if is_packed(name) else lower


def is_packed(name: str) -> bool:
    """Whether the bytes of a file of that name are not its content's."""
    return name.lower().endswith(PACKINGS)


def is_damage(error: BaseException) -> bool:
    """Whether one of DAMAGE is the file's fault; trouble in reading the disk is not."""
    return not (isinstance(error, OSError) and error.errno is not None)


class Unpacked:
    """The content of a file, once: iterate over it, then look at ``problem``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problem: str | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from _pieces(self._path)
        except DAMAGE as error:
            if not is_damage(error):
                raise
            self.problem = f"{type(error).__name__}: {error}"

    def lines(self, max_bytes: int) -> Iterator[bytes]:
        """Lines with their ends; one longer than ``max_bytes`` comes in several parts."""
        buffer = bytearray()
        for piece in self:
            buffer += piece
            if b"\n" in piece or len(buffer) > max_bytes:
                *whole, rest = bytes(buffer).split(b"\n")
                yield from (line + b"\n" for line in whole)
                buffer = bytearray(rest)
                if len(rest) > max_bytes:
                    yield rest
                    buffer.clear()
        if buffer:
            yield bytes(buffer)


def _pieces(path: Path) -> Iterator[bytes]:
    if path.suffix.lower() == ".zst":
        yield from _zstd_pieces(path)
        return
    with ExitStack() as stack:
        stream = _open(path, stack)
        while piece := stream.read1(PIECE_BYTES):  # not read: it would lose what it has at damage
            yield piece


def _open(path: Path, stack: ExitStack) -> Any:
    file = stack.enter_context(path.open("rb"))
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return stack.enter_context(gzip.GzipFile(fileobj=file))
    if suffix == ".bz2":
        return stack.enter_context(bz2.BZ2File(file))
    if suffix == ".xz":
        return stack.enter_context(lzma.LZMAFile(file))
    return file


def _zstd_pieces(path: Path) -> Iterator[bytes]:
    """Frame by frame: the library's own reader takes a file that was cut for one that ended."""
    with path.open("rb") as file:
        data = file.read(ZSTD_INPUT_BYTES)
        while data:
            unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
            while not unpacker.eof:
                if not data:
                    raise EOFError("the file ends inside a zstd frame")
                if piece := unpacker.decompress(data):
                    yield piece
                data = unpacker.unused_data if unpacker.eof else file.read(ZSTD_INPUT_BYTES)
            data = data or file.read(ZSTD_INPUT_BYTES)
