"""WARC records: one page or file as the bytes of one gzip member.

Pure, and deterministic to the byte: ids and dates are derived or given, never drawn. Of a page's
headers only those are stored that describe the page; Date, Server, cookies and the like change
with every answer, would make equal crawls differ, and serve no later stage. As in Common Crawl,
the payload is stored unpacked and its headers say so.
"""

import base64
import hashlib
import io
import uuid
from collections.abc import Mapping, Sequence

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

SOFTWARE = "Bloomery"
# Kept of an answer's headers, in this order and spelling.
KEPT_HEADERS = (
    "Content-Type",
    "Content-Language",
    "ETag",
    "Last-Modified",
    "Link",
    "X-Robots-Tag",
    "TDM-Reservation",
    "TDM-Policy",
    "Content-Usage",
)
NOT_MODIFIED_PROFILE = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
SAME_PAYLOAD_PROFILE = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"


def record_id(url: str, snapshot: str) -> str:
    """Name a record by what it holds: the page at ``url`` as of ``snapshot``."""
    name = f"{snapshot}\n{url}"
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, name)}>"


def info_record(source: str, file_name: str, snapshot: str, date: str) -> bytes:
    """The record that opens each file: what made it and of which source it is a part."""
    fields = {"software": SOFTWARE, "format": "WARC File Format 1.1", "isPartOf": source}
    text = "".join(f"{key}: {value}\r\n" for key, value in fields.items())
    name = f"{snapshot}\n{source}\n{file_name}"
    return _record("warcinfo", None, name, date, text.encode(), "application/warc-fields")


def page_record(
    url: str, snapshot: str, date: str, headers: Sequence[tuple[str, str]], body: bytes
) -> bytes:
    """A fetched page as a ``response`` record; ``headers`` are those of KEPT_HEADERS it had."""
    http = StatusAndHeaders(
        "200 OK", [*headers, ("Content-Length", str(len(body)))], protocol="HTTP/1.1"
    )
    return _record("response", url, snapshot, date, body, None, http)


def revisit_record(
    url: str,
    snapshot: str,
    date: str,
    headers: Sequence[tuple[str, str]],
    *,
    digest: str,
    stored_at: str,
    not_modified: bool,
) -> bytes:
    """A page that is still what it was, as a ``revisit`` record (WARC 1.1, 6.7).

    Args:
        digest: the payload's, as its own record has it.
        stored_at: the date of that record.
        not_modified: the server said so (304); else it sent the same bytes again.
    """
    status = "304 Not Modified" if not_modified else "200 OK"
    fields = {
        "WARC-Profile": NOT_MODIFIED_PROFILE if not_modified else SAME_PAYLOAD_PROFILE,
        "WARC-Refers-To-Target-URI": url,
        "WARC-Refers-To-Date": stored_at,
        "WARC-Payload-Digest": digest,
    }
    http = StatusAndHeaders(status, list(headers), protocol="HTTP/1.1")
    return _record("revisit", url, snapshot, date, b"", None, http, fields)


def payload_digest(body: bytes) -> str:
    """The digest of a payload as WARC files write it."""
    return f"sha1:{base64.b32encode(hashlib.sha1(body, usedforsecurity=False).digest()).decode()}"


def file_record(
    url: str,
    snapshot: str,
    date: str,
    content_type: str,
    body: bytes,
    fields: Mapping[str, str] | None = None,
) -> bytes:
    """A file, or a piece of one, as a ``resource`` record with ``fields`` of our own naming."""
    return _record("resource", url, snapshot, date, body, content_type, fields=fields)


def _record(
    record_type: str,
    url: str | None,
    snapshot: str,
    date: str,
    body: bytes,
    content_type: str | None,
    http: StatusAndHeaders | None = None,
    fields: Mapping[str, str] | None = None,
) -> bytes:
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=True, warc_version="1.1")  # zlib writes no time into the member
    headers = {"WARC-Record-ID": record_id(url or "", snapshot), "WARC-Date": date}
    if content_type:
        headers["Content-Type"] = content_type
    headers.update(fields or {})
    writer.write_record(
        writer.create_warc_record(
            url,
            record_type,
            payload=io.BytesIO(body),
            length=len(body),
            http_headers=http,
            warc_headers_dict=headers,
        )
    )
    return out.getvalue()
