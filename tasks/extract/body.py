"""The body of a record: its bytes as the page's author meant them, or the reason to refuse it.

Pure. In: an archive record. Out: its payload without HTTP's head, chunks and compression, with what
was said about it: media type and charset.
"""

import re
import zlib
from dataclasses import dataclass

from tasks.extract.records import HEADERS_END, Headers, Record, parse_headers

HTML_HINT = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)\b", re.I | re.S)
CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.I)
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A page's bytes with what was said about them."""

    data: bytes
    media_type: str
    charset: str | None


class Refused(Exception):  # noqa: N818 - an answer about a page, no error
    """A page that is none of ours; carries the reason."""

    def __init__(self, reason: str, detail: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def record_body(record: Record, max_bytes: int) -> Body:
    """The body of a record.

    Raises:
        Refused: it is no successful answer, cannot be unpacked, or is larger than ``max_bytes``.
    """
    return _http_body(record, max_bytes) if record.type == "response" else _plain_body(record)


def _plain_body(record: Record) -> Body:
    media_type, charset = _content_type(record.content_type or "text/plain")
    return Body(data=record.payload, media_type=media_type, charset=charset)


def _http_body(record: Record, max_bytes: int) -> Body:
    """Take an HTTP response apart; refuse what is no successful answer."""
    if not record.content_type.startswith("application/http"):
        raise Refused("content_type", record.content_type)
    end = HEADERS_END.search(record.payload)
    head = record.payload[: end.start()] if end else record.payload
    data = record.payload[end.end() :] if end else b""
    status = head[:64].split(None, 2)[1:2]
    if status != [b"200"]:
        raise Refused("http_status", status[0].decode("latin-1") if status else None)
    headers = parse_headers(head)
    data = _decode_transfer(data, headers, max_bytes)
    media_type, charset = _content_type(headers.get("content-type", ""))
    if not media_type and HTML_HINT.match(data[:2048]):
        media_type = "text/html"
    return Body(data=data, media_type=media_type, charset=charset)


def _decode_transfer(data: bytes, headers: Headers, max_bytes: int) -> bytes:
    """Undo chunking and compression, if the crawler left them in place."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        data = join_chunks(data)
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in {"gzip", "x-gzip", "deflate"}:
        return _inflate(data, max_bytes)
    if encoding == "br" and not HTML_HINT.match(data[:2048]):
        raise Refused("content_encoding", encoding)
    return data


def _inflate(data: bytes, max_bytes: int) -> bytes:
    if not data.startswith((b"\x1f\x8b", b"\x78")):
        return data  # said to be packed, and is not: crawlers unpack and keep the header
    try:
        inflated = zlib.decompressobj(GZIP_OR_ZLIB).decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise Refused("content_encoding", str(error)) from error
    if len(inflated) > max_bytes:
        raise Refused("too_large", f"more than {max_bytes} bytes unpacked")
    return inflated


def join_chunks(data: bytes) -> bytes:
    """Undo HTTP chunking; data that is not chunked, whatever its header says, comes back as is."""
    chunks, position = [], 0
    while match := re.compile(rb"\s*([0-9a-fA-F]{1,8})[^\r\n]*\r?\n").match(data, position):
        size = int(match.group(1), 16)
        chunks.append(data[match.end() : match.end() + size])
        position = match.end() + size
        if not size:
            return b"".join(chunks)
    return b"".join(chunks) if chunks and position >= len(data) else data


def _content_type(header: str) -> tuple[str, str | None]:
    charset = CHARSET.search(header)
    return header.partition(";")[0].strip().lower(), charset.group(1) if charset else None
