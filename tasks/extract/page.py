"""One page: a record in, a title and a text out, or the reason why there is none.

Pure, but not safe: the parsers are native code, which some pages hang or crash. Whoever calls this
on pages of the open web does it through ``guard``.
"""

import re
import zlib
from dataclasses import dataclass

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from tasks.extract.charset import clean_text, decode
from tasks.extract.config import ExtractConfig
from tasks.extract.records import HEADERS_END, Record, parse_headers

HTML_TYPES = {"text/html", "application/xhtml+xml"}
PLAIN_WEB_TYPES = {"text/plain", "text/markdown", "text/x-rst"}
HTML_HINT = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|head|body)\b", re.I | re.S)
CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.I)
# When the main-content heuristic leaves next to nothing of a page that has text, the heuristic is
# wrong and the whole text is right.
MIN_MAIN_CHARS = 250
MIN_MAIN_SHARE = 0.2
GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What extraction made of one record: a text, or a reason for having none."""

    text: str = ""
    title: str | None = None
    reason: str | None = None
    detail: str | None = None


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
        self.page = Page(reason=reason, detail=detail)


def extract_page(record: Record, config: ExtractConfig) -> Page:
    """Turn one record into text."""
    try:
        body = _http_body(record, config) if record.type == "response" else _plain_body(record)
        page = _html_page(body) if body.media_type in HTML_TYPES else _text_page(record, body)
    except Refused as refused:
        return refused.page
    if not page.text:
        return Page(title=page.title, reason="empty")
    if len(page.text) < config.min_chars:
        return Page(text=page.text, title=page.title, reason="too_short")
    return page


def _plain_body(record: Record) -> Body:
    media_type, charset = _content_type(record.content_type or "text/plain")
    return Body(data=record.payload, media_type=media_type, charset=charset)


def _http_body(record: Record, config: ExtractConfig) -> Body:
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
    data = _decode_transfer(data, headers, config.max_page_bytes)
    media_type, charset = _content_type(headers.get("content-type", ""))
    if not media_type and HTML_HINT.match(data[:2048]):
        media_type = "text/html"
    return Body(data=data, media_type=media_type, charset=charset)


def _decode_transfer(data: bytes, headers: dict[str, str], max_bytes: int) -> bytes:
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


def _html_page(body: Body) -> Page:
    tree = HTMLTree.parse(decode(body.data, body.charset, is_html=True))
    title = " ".join(clean_text(tree.title or "").split())
    return Page(text=main_text(tree), title=title or None)


def main_text(tree: HTMLTree) -> str:
    """A page's main text: lists, headings and the indentation of code kept, menus left out.

    Known limit: Resiliparse takes ``<ul>`` lists within two levels of ``<body>`` for menus.
    """
    text = _tidy(extract_plain_text(tree, main_content=True, alt_texts=False))
    if len(text) >= MIN_MAIN_CHARS:
        return text
    whole = _tidy(extract_plain_text(tree, main_content=False, alt_texts=False))
    return whole if len(text) < MIN_MAIN_SHARE * len(whole) else text


def _text_page(record: Record, body: Body) -> Page:
    """Text as it is; from the web only kinds meant for reading, from files any kind of text."""
    is_text = body.media_type.startswith("text/")
    if not (body.media_type in PLAIN_WEB_TYPES or (is_text and record.type != "response")):
        raise Refused("content_type", body.media_type or None)
    if record.type == "response" and record.url.endswith("/robots.txt"):
        raise Refused("robots_txt")
    text = clean_text(decode(body.data, body.charset, is_html=False))
    return Page(text=text.strip("\n").rstrip())


def _tidy(text: str) -> str:
    """No-break spaces become spaces, line ends lose theirs, gaps shrink to one empty line."""
    lines = (line.rstrip() for line in clean_text(text).replace("\xa0", " ").split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def _content_type(header: str) -> tuple[str, str | None]:
    charset = CHARSET.search(header)
    return header.partition(";")[0].strip().lower(), charset.group(1) if charset else None
