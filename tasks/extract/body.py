"""The body of a record: its bytes as the page's author meant them, or the reason to refuse it.

Pure. In: an archive record. Out: its payload without HTTP's head, chunks and compression, with what
was said about it: media type, charset, headers. A body that was cut is given as far as it goes,
with a word on that.
"""

import re
from dataclasses import dataclass

from tasks.extract.codings import (
    TooLargeError,
    UndecodableError,
    undo_chunks,
    undo_content_codings,
    undo_unannounced_gzip,
)
from tasks.extract.records import HEADERS_END, NO_HEADERS, Headers, Record, parse_headers

HTML_HINT = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)\b", re.I | re.S)
HINT_BYTES = 2048
CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.I)
MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+")
STATUS_LINE = re.compile(rb"(?:HTTP(?:/\d+(?:\.\d+)?)?|ICY)[ \t]+(\d{3})(?!\d)", re.I)
WHOLE_RANGE = re.compile(r"bytes 0-(\d{1,18})/(\d{1,18})")
TEXT_TYPES = re.compile(r"text/|application/xhtml\+xml|\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A page's bytes with what was said about them."""

    data: bytes
    media_type: str
    charset: str | None
    headers: Headers = NO_HEADERS  # of the HTTP answer, if it was one
    flaw: str | None = None  # why there may be less of it than there was


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
    is_http = record.content_type.startswith("application/http")
    if is_http or (record.type == "response" and STATUS_LINE.match(record.payload)):
        return _http_body(record, max_bytes)
    return _plain_body(record)


def _plain_body(record: Record) -> Body:
    """A payload that is the page itself: a file's, a conversion's, an ARC record's without head."""
    media_type, charset = content_type([record.content_type])
    if not media_type:
        media_type = "text/html" if HTML_HINT.match(record.payload[:HINT_BYTES]) else "text/plain"
    flaw = _truncation(record)
    return Body(data=record.payload, media_type=media_type, charset=charset, flaw=flaw)


def _http_body(record: Record, max_bytes: int) -> Body:
    """Take an HTTP answer apart; refuse what is no successful one."""
    payload = record.payload.lstrip(b"\r\n") if record.payload[:1] in b"\r\n" else record.payload
    end = HEADERS_END.search(payload)
    head = payload[: end.start()] if end else payload
    headers = parse_headers(head)
    _check_status(head, headers)
    media_type, charset = content_type(headers.get_all("content-type"))
    data, flaws = _decode(payload[end.end() :] if end else b"", headers, media_type, max_bytes)
    if not media_type and HTML_HINT.match(data[:HINT_BYTES]):
        media_type = "text/html"
    return Body(
        data=data,
        media_type=media_type,
        charset=charset,
        headers=headers,
        flaw="; ".join(filter(None, [_truncation(record), *flaws])) or None,
    )


def _check_status(head: bytes, headers: Headers) -> None:
    """Take 200, its copy by a proxy (203), and a range that is the whole (206); nothing else.

    The other 2xx are answers about a page rather than pages: accepted, created, no content; 202 is
    what many bot walls say.
    """
    line = STATUS_LINE.match(head)
    status = line.group(1).decode() if line else None
    if status == "206" and _is_whole(headers.get("content-range")):
        return
    if status not in {"200", "203"}:
        raise Refused("http_status", status)


def _is_whole(content_range: str) -> bool:
    span = WHOLE_RANGE.fullmatch(content_range)
    return bool(span and int(span.group(1)) + 1 == int(span.group(2)))


def _decode(
    data: bytes, headers: Headers, media_type: str, max_bytes: int
) -> tuple[bytes, list[str | None]]:
    """Undo chunking and compression, if the crawler left them in place."""
    is_claimed = "chunked" in headers.get("transfer-encoding").lower()
    joined = undo_chunks(data, is_claimed=is_claimed)
    header = ",".join(headers.get_all("content-encoding"))
    try:
        unpacked = undo_content_codings(joined.data, header, max_bytes)
        if TEXT_TYPES.match(media_type):
            unannounced = undo_unannounced_gzip(unpacked.data, max_bytes)
        else:
            unannounced = unpacked
    except UndecodableError as error:
        raise Refused("content_encoding", str(error)) from error
    except TooLargeError as error:
        raise Refused("too_large", str(error)) from error
    flaws = [joined.flaw, unpacked.flaw, unannounced.flaw]
    if not header and not is_claimed:
        flaws.append(_shortage(data, headers.get("content-length")))
    return unannounced.data, flaws


def _shortage(data: bytes, claim: str) -> str | None:
    """How much of a body that came as it is was lost on the way."""
    is_short = claim.isascii() and claim.isdigit() and len(claim) < 18 and len(data) < int(claim)
    return f"{len(data)} of {claim} bytes came" if is_short else None


def _truncation(record: Record) -> str | None:
    """What the crawler says of having cut the record (WARC 1.1, section 5.13)."""
    reason = record.headers.get("warc-truncated")
    return f"WARC-Truncated: {reason}" if reason else None


def content_type(values: list[str]) -> tuple[str, str | None]:
    """Media type and charset of one or several Content-Type headers, as browsers take them.

    The last that names a type counts; a charset lasts as long as the type does (Fetch standard,
    "extract a MIME type").
    """
    media_type, charset = "", None
    for value in values:
        essence = value.partition(";")[0].strip().lower()
        named = CHARSET.search(value)
        is_type = MEDIA_TYPE.fullmatch(essence) and essence != "*/*"
        if is_type and essence != media_type:
            media_type, charset = essence, None
        if named and (is_type or not charset):
            charset = named.group(1)
    return media_type, charset
