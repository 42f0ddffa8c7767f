"""Archive files, read so that one bad byte costs one record.

In: a path to .warc, .arc, .wet or .wat, plain or packed (.gz, .zst, .lz4). Out: its records in
order, and a BadRecord for each stretch that cannot be read. A gzip file is read member by member:
after an error the reader looks for the next member that begins with a record's first line, instead
of giving up (the usual libraries return 10 of 20 records after one flipped bit).
"""

import mmap
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import zstandard
from fastwarc.stream_io import Lz4Reader

from tasks.extract.records import BadRecord, Record, is_record_start, split_records

GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_DICTIONARY_MAGIC = 0x184D2A5D
READ_BYTES = 1 << 16
PROBE_BYTES = 1 << 12
CUT = "the file ends inside it"
ARCHIVE_SUFFIXES = tuple(
    f".{kind}{packing}"
    for kind in ("warc", "arc", "wet")
    for packing in ("", ".gz", ".zst", ".lz4")
)


def read_archive(path: Path) -> Iterator[Record | BadRecord]:
    """Yield every record of one archive file, the damaged ones as BadRecord."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if path.suffix == ".gz":
        yield from _read_gzip(data)
    elif path.suffix == ".zst":
        yield from _read_unpacked(*_unpack_zstd(data))
    elif path.suffix == ".lz4":
        yield from _read_unpacked(*_unpack_lz4(path))
    else:
        yield from split_records(data, is_cut=True)


def _read_gzip(data: mmap.mmap) -> Iterator[Record | BadRecord]:
    position = 0
    while position < len(data):
        block, end, problem = _unpack_member(data, position)
        if problem:
            yield BadRecord(
                reason="truncated_record" if problem == CUT else "damaged_record",
                detail=f"gzip member at byte {position}: {problem}",
                offset_bytes=position,
            )
            position = _next_member(data, position + 1)
            continue
        for found in split_records(block, is_cut=False):
            yield replace(found, offset_bytes=position) if isinstance(found, BadRecord) else found
        position = _skip_padding(data, end)


def _unpack_member(data: mmap.mmap, start: int) -> tuple[bytes, int, str]:
    """Unpack the member at ``start``: its bytes, where it ends, and what is wrong with it."""
    if data[start : start + len(GZIP_MAGIC)] != GZIP_MAGIC:
        return b"", start, "no gzip member starts here"
    return _unpack(zlib.decompressobj(wbits=31), data, start)


def _unpack(unpacker: Any, data: mmap.mmap, start: int) -> tuple[bytes, int, str]:
    """Feed a zlib or zstd unpacker to the end of its member; CUT if the data ends first."""
    chunks: list[bytes] = []
    position = start
    try:
        while not unpacker.eof and position < len(data):
            chunks.append(unpacker.decompress(data[position : position + READ_BYTES]))
            position = min(position + READ_BYTES, len(data))
    except (zlib.error, zstandard.ZstdError) as error:
        return b"", start, str(error)
    return b"".join(chunks), position - len(unpacker.unused_data), "" if unpacker.eof else CUT


def _next_member(data: mmap.mmap, start: int) -> int:
    """Where the next member that begins with a record is; the end of the data if none."""
    while (found := data.find(GZIP_MAGIC, start)) >= 0:
        try:
            head = zlib.decompressobj(wbits=31).decompress(data[found : found + PROBE_BYTES])
        except zlib.error:
            head = b""
        if is_record_start(head.lstrip(b"\r\n")):
            return found
        start = found + 1
    return len(data)


def _skip_padding(data: mmap.mmap, position: int) -> int:
    while position < len(data) and data[position] == 0:
        position += 1
    return position


def _read_unpacked(block: bytes, problem: str) -> Iterator[Record | BadRecord]:
    """Records of a whole unpacked file; what could not be unpacked counts as one record."""
    yield from split_records(block, is_cut=bool(problem))
    if problem:
        yield BadRecord(reason="damaged_record", detail=problem, offset_bytes=len(block))


def _unpack_zstd(data: mmap.mmap) -> tuple[bytes, str]:
    """Unpack frame by frame; a leading skippable frame may hold the dictionary of the others."""
    dictionary, position = _zstd_dictionary(data)
    blocks: list[bytes] = []
    while position < len(data):
        unpacker = zstandard.ZstdDecompressor(dict_data=dictionary).decompressobj()
        block, position, problem = _unpack(unpacker, data, position)
        if problem:
            return b"".join(blocks), f"zstd frame: {problem}"
        blocks.append(block)
    return b"".join(blocks), ""


def _zstd_dictionary(data: mmap.mmap) -> tuple[zstandard.ZstdCompressionDict | None, int]:
    if int.from_bytes(data[:4], "little") != ZSTD_DICTIONARY_MAGIC:
        return None, 0
    end = 8 + int.from_bytes(data[4:8], "little")
    raw = data[8:end]
    if raw.startswith(zstandard.FRAME_HEADER):
        raw = zstandard.ZstdDecompressor().decompressobj().decompress(raw)
    return zstandard.ZstdCompressionDict(raw), end


def _unpack_lz4(path: Path) -> tuple[bytes, str]:
    chunks: list[bytes] = []
    try:
        with path.open("rb") as file, Lz4Reader(file) as reader:
            while chunk := reader.read(READ_BYTES):
                chunks.append(chunk)
    except (OSError, ValueError, RuntimeError) as error:
        return b"".join(chunks), f"lz4 frame: {error}"
    return b"".join(chunks), ""
