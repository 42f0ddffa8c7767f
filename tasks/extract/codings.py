"""HTTP's transfer and content codings undone: chunks, gzip, deflate, br, zstd.

Pure. In: bytes and what a header claims of them. Out: the bytes unpacked, bounded, with what was
wrong with them. A claim is checked against the bytes, because crawlers unpack bodies and keep the
headers, and servers send what they do not announce.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import brotli
from isal import igzip_lib

from tasks.extract.packing import (
    GZIP_MAGIC,
    ISAL_ERROR,
    ZSTD_MAGIC,
    Member,
    Packing,
    Unpacker,
    gzip_packing,
    zstd_packing,
)

MAX_MEMBERS = 1000  # of one body; empty ones in great number are meant to take time
MAX_CODINGS = 4  # one upon another; nobody means more than two
TRANSPARENT = {"", "identity", "none", "utf-8", "binary", "chunked"}  # said, and changing nothing
CHUNK_HEAD = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]{0,4096})?(\r?\n)")
LINE_END = re.compile(rb"\r?\n")
TRAILERS = re.compile(rb"(?:[\w-]{1,100}:[^\r\n]{0,4096}\r?\n){0,50}(?:\r?\n)?\Z")
CONTROL = re.compile(rb"[\x00-\x08\x10-\x1a\x1c-\x1f]")  # in no text; ISO 2022 needs the others
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
TEXT_PROBE_BYTES = 512
INPUT_BYTES = 1 << 12  # given more at a time, brotli gives less of a stream that is cut
ZLIB_HEAD = re.compile(rb"[\x08\x18\x28\x38\x48\x58\x68\x78][\x00-\xff]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Bytes with a coding undone, as many as could be had."""

    data: bytes
    flaw: str | None = None  # why there may be fewer than were sent


class UndecodableError(ValueError):
    """Not one byte could be had."""


class TooLargeError(ValueError):
    """There are more bytes than the caller takes."""


def undo_chunks(data: bytes, *, is_claimed: bool) -> Decoded:
    """Undo HTTP chunking (RFC 9112, section 7.1).

    Without a claim, only what is chunked to its last byte is joined; with one, chunks that break
    off are joined too. Anything else comes back as it is.
    """
    chunks: list[bytes] = []
    position = 0
    while head := CHUNK_HEAD.match(data, position):
        size = int(head.group(1), 16)
        if not size:
            is_end = (chunks or is_claimed) and TRAILERS.match(data, head.end())
            return Decoded(b"".join(chunks)) if is_end else Decoded(data)
        end = head.end() + size
        line_end = LINE_END.match(data, end)
        if not line_end and (end < len(data) or head.group(2) == b"\n"):
            break  # this was no chunk's head, or the chunk is damaged
        chunks.append(data[head.end() : end])
        position = line_end.end() if line_end else len(data)
    if not chunks or not is_claimed:
        return Decoded(data)
    return Decoded(b"".join([*chunks, data[position:]]), "the chunks break off")


def undo_content_codings(data: bytes, header: str, max_bytes: int) -> Decoded:
    """Undo the codings that a Content-Encoding header lists, the last one first.

    Raises:
        UndecodableError: the bytes are no text, and are not what the header says.
        TooLargeError: more than ``max_bytes`` come out.
    """
    codings = [coding.strip().lower() for coding in header.split(",")]
    codings = [coding for coding in codings if coding not in TRANSPARENT]
    if len(codings) > MAX_CODINGS:
        raise UndecodableError(f"{len(codings)} codings: {header[:80]}")
    flaws = []
    for coding in reversed(codings):
        decoded = _undo(data, coding, max_bytes)
        data = decoded.data
        flaws += [decoded.flaw] if decoded.flaw else []
    return Decoded(data, "; ".join(flaws) or None)


def undo_unannounced_gzip(data: bytes, max_bytes: int) -> Decoded:
    """Unpack what begins as gzip and is said to be text, which never begins so."""
    flaw = None
    for _ in range(MAX_CODINGS):
        if flaw or not data.startswith(GZIP_MAGIC):
            break
        data, flaw = _unpack(data, gzip_packing(b""), max_bytes)
        if flaw and not data:
            raise UndecodableError(flaw)
    return Decoded(data, flaw)


def looks_like_text(data: bytes) -> bool:
    """Whether the bytes begin as text does, in whatever charset."""
    return data.startswith(UTF_16_MARKS) or not CONTROL.search(data, 0, TEXT_PROBE_BYTES)


def _undo(data: bytes, coding: str, max_bytes: int) -> Decoded:
    """Undo one coding if the bytes are in it; leave them if they are text as they stand."""
    packing = _packing(data, coding)
    unpacked, flaw = _unpack(data, packing, max_bytes) if packing else (b"", "is not in it")
    if not flaw:
        return Decoded(unpacked)
    if looks_like_text(data):
        return Decoded(data)
    if not unpacked:
        raise UndecodableError(f"{coding}: {flaw}")
    return Decoded(unpacked, f"{coding}: {flaw}")


def _packing(data: bytes, coding: str) -> Packing | None:
    """How to undo a coding; gzip and deflate, which servers mix up, are told apart by the bytes."""
    if coding in {"gzip", "x-gzip", "deflate"}:
        if data.startswith(GZIP_MAGIC):
            return gzip_packing(b"")
        if ZLIB_HEAD.match(data) and not int.from_bytes(data[:2], "big") % 31:
            return _inflating(igzip_lib.DECOMP_ZLIB)
        # Without the wrapper that RFC 9110 (section 8.4.1.2) asks for, some servers send it.
        return _inflating(igzip_lib.DECOMP_DEFLATE) if coding == "deflate" else None
    if coding == "zstd":
        return zstd_packing(b"") if data.startswith(ZSTD_MAGIC) else None
    return _stream("brotli stream", _BrotliUnpacker, brotli.error) if coding == "br" else None


def _inflating(flag: int) -> Packing:
    return _stream("deflate stream", lambda: igzip_lib.IgzipDecompressor(flag), ISAL_ERROR)


def _stream(name: str, unpacker: Callable[[], Unpacker], error: type[Exception]) -> Packing:
    return Packing(
        name=name, magic=b"", input_bytes=INPUT_BYTES, errors=(error,), unpacker=unpacker
    )


def _unpack(data: bytes, packing: Packing, max_bytes: int) -> tuple[bytes, str | None]:
    """What the members hold, and what is wrong with the last; what follows them is left out."""
    pieces: list[bytes] = []
    num_bytes = num_members = 0
    member: Member | None = Member(data, 0, packing)
    while member:
        num_members += 1
        if num_members > MAX_MEMBERS:
            raise UndecodableError(f"more than {MAX_MEMBERS} of a {packing.name}")
        while piece := member.read():
            pieces.append(piece)
            num_bytes += len(piece)
            if num_bytes > max_bytes:
                raise TooLargeError(f"more than {max_bytes} bytes unpacked")
        if member.problem:
            break
        following = member.following() if packing.magic else None
        member = None if following and following.problem else following
    return b"".join(pieces), member.problem if member else None


class _BrotliUnpacker:
    """brotli's unpacker in ``packing``'s form."""

    unused_data = b""

    def __init__(self) -> None:
        self._unpacker = brotli.Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._unpacker.is_finished())

    @property
    def needs_input(self) -> bool:
        return bool(self._unpacker.can_accept_more_data())

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return bytes(self._unpacker.process(data, output_buffer_limit=max_length))
