"""Links: what a page points to and what it asks of robots.

Pure: HTML in, links and directives out. It scans tags rather than build a tree: a tree costs more
than the crawl needs, and 100,000 nested elements hang every C parser we measured, in the process
that must keep all hosts served. Every expression here runs in linear time on any input.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import unescape

from tasks.crawl.urls import normalise

MAX_LINKS_PER_PAGE = 10_000
MAX_TAG_CHARS = 4096
# No "<" inside a tag: each tag is scanned once, even where none is ever closed.
TAG = re.compile(rf"<(a|area|base|meta)\s([^<>]{{1,{MAX_TAG_CHARS}}})>", re.IGNORECASE)
ATTRIBUTE = re.compile(
    r"""(?<![\w-])([a-z-]{1,20})\s{0,20}=\s{0,20}("[^"]*"|'[^']*'|[^\s"']+)""", re.IGNORECASE
)
META_CHARSET = re.compile(rb"<meta[^<>]{1,400}?charset\s{0,20}=\s{0,20}[\"']?([\w-]{2,30})", re.I)


@dataclass(frozen=True, slots=True)
class PageLinks:
    """The distinct normalised links of a page, in order, and its wishes."""

    links: tuple[str, ...]
    directives: frozenset[str]

    @property
    def refusal(self) -> str | None:
        """Why the page may not be kept, or None."""
        for directive, reason in (("noindex", "noindex"), ("noai", "noai"), ("none", "noindex")):
            if directive in self.directives:
                return reason
        return None


def page_links(url: str, html: str, robots_header: str, agent: str) -> PageLinks:
    """Read the links of ``html``, found at ``url``; none if the page asks not to follow them.

    Args:
        robots_header: the X-Robots-Tag of the answer, empty if there was none.
        agent: our product token, in lower case: a page may speak to us alone.
    """
    tags = [(m[1].lower(), _attributes(m[2])) for m in TAG.finditer(_visible(html))]
    directives = frozenset(_directives(tags, agent)) | _header_directives(robots_header, agent)
    if directives & {"nofollow", "none"}:
        return PageLinks((), directives)
    return PageLinks(tuple(_links(url, tags)), directives)


def decode(body: bytes, charset: str | None) -> str:
    """Read bytes well enough to find links in them, which are ASCII in almost every page."""
    if charset is None and (declared := META_CHARSET.search(body[:2048])):
        charset = declared[1].decode()
    try:
        return body.decode(charset or "utf-8", errors="replace")
    except (LookupError, ValueError):  # an encoding that does not exist, or is not for text
        return body.decode("utf-8", errors="replace")


def _links(url: str, tags: Iterable[tuple[str, dict[str, str]]]) -> Iterator[str]:
    base, seen = url, {url}
    for name, attributes in tags:
        href = attributes.get("href")
        if href is None or "nofollow" in attributes.get("rel", "").lower().split():
            continue
        if name == "base":
            base = normalise(href, url) or base
        elif name in ("a", "area"):
            link = normalise(href, base)
            if link and link not in seen and len(seen) <= MAX_LINKS_PER_PAGE:
                seen.add(link)
                yield link


def _directives(tags: Iterable[tuple[str, dict[str, str]]], agent: str) -> Iterator[str]:
    for name, attributes in tags:
        if name == "meta" and attributes.get("name", "").lower() in ("robots", agent):
            yield from _words(attributes.get("content", ""))


def _header_directives(value: str, agent: str) -> frozenset[str]:
    """X-Robots-Tag is a list of words, of which some may be addressed: ``otherbot: noindex``."""
    words: set[str] = set()
    addressee = ""
    for part in value.split(","):
        name, colon, rest = part.partition(":")
        if colon and name.strip().lower() != "unavailable_after":
            addressee, part = name.strip().lower(), rest
        if addressee in ("", agent):
            words.update(_words(part))
    return frozenset(words)


def _words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",") if word.strip()]


def _attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in ATTRIBUTE.finditer(text):
        found.setdefault(match[1].lower(), unescape(match[2].strip("\"'")))
    return found


def _visible(html: str) -> str:
    """Cut comments and scripts, whose links nobody can click."""
    html = _without(html, "<!--", "-->")
    return _without(html, "<script", "</script")


def _without(text: str, start: str, end: str) -> str:
    """Cut from ``start`` to ``end``, again and again; to the end of ``text`` if never closed."""
    lowered = text.lower() if text.isascii() else _lower_ascii(text)
    kept, position = [], 0
    while (found := lowered.find(start, position)) >= 0:
        kept.append(text[position:found])
        closed = lowered.find(end, found + len(start))
        position = len(text) if closed < 0 else closed + len(end)
    kept.append(text[position:])
    return "".join(kept)


def _lower_ascii(text: str) -> str:
    """Lower-case without changing the length, as ``İ`` would."""
    return text.translate({code: code + 32 for code in range(ord("A"), ord("Z") + 1)})
