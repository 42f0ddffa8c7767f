"""Archive records in bytes: WARC 0.17 to 1.1 and ARC 1 and 2. Pure: bytes in, heads out.

What a record is, how its head is read and by what its first line is known. Where a record ends and
how the next one is found after damage is ``archive``'s part.
"""

import re
from dataclasses import dataclass

import xxhash

PAGE_TYPES = ("response", "resource", "conversion")

MAX_HEADERS_BYTES = 1 << 20
USUAL_HEADERS_BYTES = 1 << 12
MAX_FIRST_LINE_BYTES = 1 << 14
HEADERS_END = re.compile(rb"\n\r?\n")

WARC_LINE = rb"(?i:WARC)/\d{1,3}(?:\.\d{1,3})?[ \t]*\r?\n"
# From the right, because old crawlers wrote addresses and media types with spaces in them. ARC 2
# has five more fields before the length.
ARC_LINE = (
    rb"(?P<url>[A-Za-z][A-Za-z\d+.-]{0,30}:[^\r\n]{1,12000}?) (?P<address>[\d.:a-fA-F]+|-)"
    rb" (?P<date>\d{12,17}) (?P<type>[^\r\n]{1,1000}?)"
    rb"(?: (?P<code>\d{3}|-) (?P<checksum>\S+) (?P<location>\S+) (?P<offset>\d+) (?P<file>\S+))?"
    rb" (?P<length>\d{1,15})[ \t]*\r?\n"
)
WARC_START = re.compile(WARC_LINE)
ARC_START = re.compile(ARC_LINE)
# A first line that nothing separates from what precedes it has to look the part.
NEXT_RECORD = re.compile(
    rb"\n(?=" + WARC_LINE + rb"|" + ARC_LINE + rb")|(?=WARC/\d\.\d{1,2}\r\n(?:WARC|Content)-)"
)
# As the specifications of ARC 1 and 2 name the fields of a record's line.
ARC_NAMES = {
    "url": "URL",
    "address": "IP-address",
    "date": "Archive-date",
    "type": "Content-type",
    "code": "Result-code",
    "checksum": "Checksum",
    "location": "Location",
    "offset": "Offset",
    "file": "Filename",
    "length": "Archive-length",
}


class Headers(tuple[tuple[str, str], ...]):
    """Pairs of name and value as they were written, in their order; looked up in any case."""

    __slots__ = ()

    def get(self, name: str, default: str = "") -> str:
        """The first value under ``name``."""
        name = name.lower()
        return next((value for key, value in self if key.lower() == name), default)

    def get_all(self, name: str) -> list[str]:
        """Every value under ``name``, in order."""
        name = name.lower()
        return [value for key, value in self if key.lower() == name]

    def to_dict(self) -> dict[str, str | list[str]]:
        """By name as it was first written; the values of a name that comes again are a list."""
        found: dict[str, tuple[str, list[str]]] = {}
        for name, value in self:
            found.setdefault(name.lower(), (name, []))[1].append(value)
        return {name: values if len(values) > 1 else values[0] for name, values in found.values()}


NO_HEADERS = Headers()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One archive record, whole."""

    type: str  # response, resource, conversion, request …
    url: str
    record_id: str  # the archive's own name for it, or one made of date and content
    date: str | None
    content_type: str  # of the record's block, lower case, with parameters
    payload: bytes
    headers: Headers = NO_HEADERS  # the record's own, not those of an HTTP answer inside it


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRecord:
    """A stretch of an archive that held a record once."""

    reason: str  # damaged_record, truncated_record or too_large
    detail: str
    offset_bytes: int  # in the file, of the packed member that holds it; 0 in a plain file
    unpacked_bytes: int = 0  # from there to the record, in unpacked data
    about: Record | None = None  # what its head says, without payload, where that can be read

    @property
    def type(self) -> str:
        """The record's type, "" if that cannot be read."""
        return self.about.type if self.about else ""

    @property
    def place(self) -> str:
        """A name for the place that no other bad record of the same file has."""
        return f"{self.offset_bytes}+{self.unpacked_bytes}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What precedes a record's payload."""

    about: Record  # with an empty payload
    num_bytes: int  # of the head; the payload begins there
    payload_bytes: int | None  # as claimed; None if the claim cannot be read


def is_record_start(window: bytes | bytearray, position: int = 0) -> bool:
    """Whether a record's first line stands at ``position``."""
    return bool(WARC_START.match(window, position) or ARC_START.match(window, position))


def parse_head(window: bytes | bytearray, position: int) -> Head | None:
    """Read the head of the record that starts at ``position``; None if it does not end there."""
    if not WARC_START.match(window, position):
        line = ARC_START.match(window, position)
        return _arc_head(line) if line else None
    usual = position + USUAL_HEADERS_BYTES  # so that many heads without an end cost little
    end = HEADERS_END.search(window, position, usual)
    if NEXT_RECORD.search(window, position + 1, end.start() if end else usual):
        return None  # the head was cut, and what follows is another record's
    end = end or HEADERS_END.search(window, position, position + MAX_HEADERS_BYTES)
    if not end:
        return None
    headers = parse_headers(bytes(window[position : end.start()]))
    length = headers.get("content-length")
    about = Record(
        type=headers.get("warc-type").lower(),
        url=headers.get("warc-target-uri").strip("<>"),
        record_id=headers.get("warc-record-id"),
        date=headers.get("warc-date") or None,
        content_type=headers.get("content-type").lower(),
        payload=b"",
        headers=headers,
    )
    is_number = length.isascii() and length.isdigit() and len(length) <= 18
    return Head(
        about=about,
        num_bytes=end.end() - position,
        payload_bytes=int(length) if is_number else None,
    )


def _arc_head(line: re.Match[bytes]) -> Head:
    fields = {name: text(value) for name, value in line.groupdict(b"").items()}
    stamp = fields["date"].ljust(14, "0")
    date = f"{stamp[:4]}-{stamp[4:6]}-{stamp[6:8]}T{stamp[8:10]}:{stamp[10:12]}:{stamp[12:14]}Z"
    about = Record(
        type="warcinfo" if fields["url"].startswith("filedesc:") else "response",
        url=fields["url"],
        record_id="",
        date=date,
        content_type=fields["type"].lower(),
        payload=b"",
        headers=Headers((ARC_NAMES[name], value) for name, value in fields.items() if value),
    )
    return Head(
        about=about,
        num_bytes=line.end() - line.start(),
        payload_bytes=int(fields["length"]),
    )


def whole_record(about: Record, payload: bytes) -> Record:
    """The record with its payload, and with what only the payload tells."""
    kind, content_type = about.type, about.content_type
    is_arc_page = kind == "response" and about.headers[0][0] == ARC_NAMES["url"]
    if is_arc_page and payload.startswith(b"HTTP/"):
        content_type = "application/http"
    elif is_arc_page and not about.url.startswith("dns:"):
        kind = "resource"  # ARC gives the media type of what an answer carries, WARC the answer's
    return Record(
        type=kind,
        url=about.url,
        record_id=about.record_id or _content_name(about.date, payload),
        date=about.date,
        content_type=content_type,
        payload=payload,
        headers=about.headers,
    )


def parse_headers(head: bytes) -> Headers:
    """Read ``Name: value`` lines below a first line; a line that begins with a blank continues."""
    pairs: list[tuple[str, str]] = []
    for line in text(head).split("\n")[1:]:
        if line[:1] in {" ", "\t"} and pairs:
            name, value = pairs[-1]
            pairs[-1] = (name, f"{value} {line.strip()}".strip())
            continue
        name, colon, value = line.partition(":")
        if colon:
            pairs.append((name.strip(), value.strip()))
    return Headers(pairs)


def text(head: bytes) -> str:
    """Headers as text: UTF-8 as WARC has it, else Latin-1 as HTTP had it."""
    try:
        return head.decode()
    except UnicodeDecodeError:
        return head.decode("latin-1")


def _content_name(date: str | None, payload: bytes) -> str:
    return f"{date}:{xxhash.xxh3_128_hexdigest(payload)}"
