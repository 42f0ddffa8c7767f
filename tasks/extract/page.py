"""One page: a record in, a title and a text out, or the reason why there is none.

Pure, but not safe: the parsers are native code, which some pages hang or crash. Whoever calls this
on pages of the open web does it through ``guard``.
"""

import re
from dataclasses import dataclass

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from tasks.extract.body import Body, Refused, record_body
from tasks.extract.charset import clean_text, decode
from tasks.extract.config import ExtractConfig
from tasks.extract.formats import read_format
from tasks.extract.records import Record

HTML_TYPES = {"text/html", "application/xhtml+xml"}
PLAIN_WEB_TYPES = {"text/plain", "text/markdown", "text/x-rst"}
# When the main-content heuristic leaves next to nothing of a page that has text, the heuristic is
# wrong and the whole text is right.
MIN_MAIN_CHARS = 250
MIN_MAIN_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What extraction made of one record: a text, or a reason for having none."""

    text: str = ""
    title: str | None = None
    author: str | None = None
    date: str | None = None
    reason: str | None = None
    detail: str | None = None


def extract_page(record: Record, config: ExtractConfig) -> Page:
    """Turn one record into text."""
    try:
        body = record_body(record, config.max_page_bytes)
        page = _page(record, body)
    except Refused as refused:
        return Page(reason=refused.reason, detail=refused.detail)
    if not page.text:
        return Page(title=page.title, reason="empty")
    if len(page.text) < config.min_chars:
        return Page(text=page.text, title=page.title, reason="too_short")
    return page


def _page(record: Record, body: Body) -> Page:
    if body.media_type in HTML_TYPES:
        return _html_page(body)
    if found := read_format(record, body):
        stated = found.metadata
        return Page(text=found.text, title=stated.title, author=stated.author, date=stated.date)
    return _text_page(record, body)


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
