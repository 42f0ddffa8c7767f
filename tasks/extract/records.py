"""Archive records in bytes: WARC 0.17 to 1.1 and ARC 1. Pure: bytes in, records out.

A *block* is what one compressed member holds, or a whole uncompressed file. A well-behaved archive
has one record a block; a file compressed as a whole has all of them in one. A record whose block
does not bear out its Content-Length is damaged, and the next record is looked for by its first
line instead of being believed to start where the damaged one says.
"""

import hashlib
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# A whole plain file is mapped, not read; both slice to bytes and can be searched.
Block = bytes | mmap.mmap

PAGE_TYPES = ("response", "resource", "conversion")

RECORD_START = re.compile(rb"WARC/\d\.\d+\r?\n")
ARC_START = re.compile(rb"(?:https?|ftp|filedesc|dns)://?\S+ [\d.:a-fA-F]+ \d{14} \S+ \d+\r?\n")
HEADERS_END = re.compile(rb"\r?\n\r?\n")
NEXT_RECORD = re.compile(rb"(?:\r?\n){1,2}(?=WARC/\d\.\d+\r?\n)")
NEXT_ARC_RECORD = re.compile(rb"\n(?=(?:https?|ftp)://\S+ [\d.:a-fA-F]+ \d{14} \S+ \d+\r?\n)")
MAX_HEADERS_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One archive record, whole."""

    type: str  # response, resource, conversion, request …
    url: str
    record_id: str  # the archive's own name for it, or one made of date and content
    date: str | None
    content_type: str  # of the record's block, lower case, with parameters
    payload: bytes
    headers: dict[str, str] = field(default_factory=dict)  # the record's own, names in lower case


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRecord:
    """A stretch of an archive that held a record once."""

    reason: str  # damaged_record or truncated_record
    detail: str
    offset_bytes: int  # in the file for compressed members, else in the block


def is_record_start(head: bytes) -> bool:
    """Whether a record can begin with these bytes."""
    return bool(RECORD_START.match(head) or ARC_START.match(head))


def split_records(block: Block, *, is_cut: bool) -> Iterator[Record | BadRecord]:
    """Yield the records of a block; ``is_cut`` says that its end is missing."""
    position = _skip_newlines(block, 0)
    while position < len(block):
        parse = _parse_warc if RECORD_START.match(block, position) else _parse_arc
        found, end = parse(block, position, is_cut)
        yield found
        position = _skip_newlines(block, end)


def _parse_warc(block: Block, start: int, is_cut: bool) -> tuple[Record | BadRecord, int]:
    headers_end = HEADERS_END.search(block, start, start + MAX_HEADERS_BYTES)
    if not headers_end:
        return _bad(block, start, start, is_cut, "headers do not end")
    headers = parse_headers(block[start : headers_end.start()])
    length = headers.get("content-length", "")
    if not length.isdigit():
        return _bad(block, start, headers_end.end(), is_cut, f"Content-Length is {length!r}")
    end = headers_end.end() + int(length)
    if problem := _length_problem(block, end, RECORD_START):
        return _bad(block, start, headers_end.end(), is_cut, problem)
    return _warc_record(headers, bytes(block[headers_end.end() : end])), end


def _warc_record(headers: dict[str, str], payload: bytes) -> Record:
    url = headers.get("warc-target-uri", "").strip("<>")
    date = headers.get("warc-date")
    return Record(
        type=headers.get("warc-type", "").lower(),
        url=url,
        record_id=headers.get("warc-record-id") or _content_name(date, payload),
        date=date,
        content_type=headers.get("content-type", "").lower(),
        payload=payload,
        headers=headers,
    )


def _parse_arc(block: Block, start: int, is_cut: bool) -> tuple[Record | BadRecord, int]:
    line = ARC_START.match(block, start)
    if not line:
        return _bad(block, start, start, is_cut, "no record starts here")
    url, _address, stamp, content_type, length = line.group().decode("latin-1").split()
    end = line.end() + int(length)
    if problem := _length_problem(block, end, ARC_START):
        return _bad(block, start, line.end(), is_cut, problem)
    payload = bytes(block[line.end() : end])
    date = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T{stamp[8:10]}:{stamp[10:12]}:{stamp[12:14]}Z"
    is_page = url.startswith(("http://", "https://"))
    return Record(
        type="response" if is_page else "warcinfo",
        url=url,
        record_id=_content_name(date, payload),
        date=date,
        content_type="application/http" if payload.startswith(b"HTTP/") else content_type.lower(),
        payload=payload,
    ), end


def _length_problem(block: Block, end: int, start_of_next: re.Pattern[bytes]) -> str | None:
    """Why a record cannot end at ``end``, or None if blanks and a next record or the end follow."""
    if end > len(block):
        return "Content-Length reaches past the end"
    after = _skip_newlines(block, end)
    if after < len(block) and not start_of_next.match(block, after):
        return "Content-Length ends inside the record"
    return None


def _bad(
    block: Block, start: int, search_from: int, is_cut: bool, detail: str
) -> tuple[BadRecord, int]:
    """Give up the record at ``start``; the next one is where a record's first line is."""
    pattern = NEXT_RECORD if RECORD_START.match(block, start) else NEXT_ARC_RECORD
    found = pattern.search(block, search_from)
    end = found.end() if found else len(block)
    reason = "truncated_record" if is_cut and not found else "damaged_record"
    return BadRecord(reason=reason, detail=detail, offset_bytes=start), end


def parse_headers(head: bytes) -> dict[str, str]:
    """Read ``Name: value`` lines below a first line; names in lower case, the first one wins."""
    headers: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").splitlines()[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.setdefault(name.strip().lower(), value.strip())
    return headers


def _skip_newlines(block: Block, position: int) -> int:
    while position < len(block) and block[position] in b"\r\n":
        position += 1
    return position


def _content_name(date: str | None, payload: bytes) -> str:
    return f"{date}:{hashlib.blake2b(payload, digest_size=16).hexdigest()}"
