"""One page: a record in, a text and what is known of it out, or the reason why there is none.

Pure, but not safe: the parsers are native code, which a page may hang or crash. Whoever calls this
on pages of the open web does it through ``guard``.
"""

import re
from dataclasses import dataclass, field, replace

from tasks.common.language import Detected, identify_paragraphs
from tasks.common.opt_outs import page_opt_outs
from tasks.extract.body import Body, Refused, record_body
from tasks.extract.charset import clean_text, decode
from tasks.extract.config import ExtractConfig
from tasks.extract.content import read_content
from tasks.extract.formats import read_format
from tasks.extract.metadata import Metadata, describe
from tasks.extract.records import Record

HTML_TYPES = {"text/html", "application/xhtml+xml"}
PLAIN_WEB_TYPES = {"text/plain", "text/markdown", "text/x-rst"}
CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd]")
BINARY_SAMPLE_CHARS = 4096
MAX_CONTROL_SHARE = 0.05
LINE_END_BLANKS = re.compile(r"[ \t]+(?=\n)")
GAP = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What extraction made of one record: a text, or a reason for having none."""

    text: str = ""
    metadata: Metadata = field(default_factory=Metadata)
    language: Detected | None = None  # None for code, which is not asked
    flaw: str | None = None  # what is missing of its bytes
    opt_outs: tuple[str, ...] = ()
    reason: str | None = None
    detail: str | None = None


def extract_page(record: Record, config: ExtractConfig) -> Page:
    """Turn one record into text."""
    try:
        body = record_body(record, config.max_page_bytes)
        page = _read(record, body, config)
    except Refused as refused:
        return Page(reason=refused.reason, detail=refused.detail)
    page = replace(page, flaw=body.flaw)
    if not page.text:
        return replace(page, reason="empty")
    if len(page.text) < config.min_chars:
        return replace(page, reason="too_short")
    if config.kind == "code":
        return page
    return replace(page, language=identify_paragraphs(page.text))


def _read(record: Record, body: Body, config: ExtractConfig) -> Page:
    if body.media_type in HTML_TYPES:
        return _html_page(record, body, config)
    if found := read_format(record, body):
        return Page(text=found.text, metadata=found.metadata, opt_outs=page_opt_outs(body.headers))
    return _text_page(record, body)


def _html_page(record: Record, body: Body, config: ExtractConfig) -> Page:
    html = decode(body.data, body.charset, is_html=True, url=record.url)
    _refuse_binary(html)
    content = read_content(
        html, markdown=config.output == "markdown", comments=config.keep_comments
    )
    metadata = describe(content.head, record.url, fetched_at=record.date)
    if not metadata.declared_language and (stated := body.headers.get("Content-Language")):
        metadata = replace(metadata, declared_language=stated)
    opt_outs = page_opt_outs(body.headers, content.head.metas)
    return Page(text=_tidy(content.text), metadata=metadata, opt_outs=opt_outs)


def _text_page(record: Record, body: Body) -> Page:
    """Text as it is; from the web only kinds meant for reading, from files any kind of text."""
    is_text = body.media_type.startswith("text/")
    if not (body.media_type in PLAIN_WEB_TYPES or (is_text and record.type != "response")):
        raise Refused("content_type", body.media_type or None)
    if record.type == "response" and record.url.endswith("/robots.txt"):
        raise Refused("robots_txt")
    text = decode(body.data, body.charset, is_html=False, url=record.url)
    _refuse_binary(text)
    return Page(text=clean_text(text).strip("\n").rstrip(), opt_outs=page_opt_outs(body.headers))


def _refuse_binary(text: str) -> None:
    """Refuse what calls itself text and is full of what no text has: control characters."""
    sample = text[:BINARY_SAMPLE_CHARS]
    if len(CONTROLS.findall(sample)) > MAX_CONTROL_SHARE * len(sample):
        raise Refused("binary")


def _tidy(text: str) -> str:
    """No blanks at line ends, and one empty line at most between two others."""
    return GAP.sub("\n\n", LINE_END_BLANKS.sub("", clean_text(text))).strip("\n").rstrip()
