"""Links: what a page points to and what it asks of robots.

Pure: HTML in, links and directives out. It scans tags rather than build a tree: a tree costs more
than the crawl needs, and 100,000 nested elements hang every C parser we measured, in the process
that must keep all hosts served. Every expression here runs in linear time on any input.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import unescape

from tasks.common.opt_outs import (
    TDM_NAME,
    USAGE_NAME,
    directive_words,
    forbids_training,
    header_directives,
    is_reserved,
)
from tasks.crawl.urls import normalise

MAX_LINKS_PER_PAGE = 10_000
MAX_TAG_CHARS = 4096
# No "<" inside a tag: each tag is scanned once, even where none is ever closed.
TAG = re.compile(rf"<(a|area|base|link|meta)\s([^<>]{{1,{MAX_TAG_CHARS}}})>", re.IGNORECASE)
ATTRIBUTE = re.compile(
    r"""(?<![\w-])([a-z-]{1,20})\s{0,20}=\s{0,20}("[^"]*"|'[^']*'|[^\s"']+)""", re.IGNORECASE
)
META_CHARSET = re.compile(rb"<meta[^<>]{1,400}?charset\s{0,20}=\s{0,20}[\"']?([\w-]{2,30})", re.I)
LINK_HEADER = re.compile(r"<([^<>]{1,2000})>([^<>]*)")
CANONICAL_REL = re.compile(r";\s{0,9}rel\s{0,9}=\s{0,9}\"?(?:[^\",;]{0,99}\s)?canonical\b", re.I)


@dataclass(frozen=True, slots=True)
class PageLinks:
    """The distinct normalised links of a page, in order, its own address, and its wishes.

    Args:
        directives: what it asks of robots: ``noindex``, ``noai`` …
        tdm_reserved: the rights to mine it are reserved.
        no_training: it may not be trained on.
        canonical: the address that it says is its own, normalised.
    """

    links: tuple[str, ...]
    directives: frozenset[str]
    tdm_reserved: bool = False
    no_training: bool = False
    canonical: str | None = None

    def refusal(self, *, tags: bool = True, opt_out: bool = True) -> str | None:
        """Why the page may not be kept, or None.

        Args:
            tags: obey what is asked of search engines: noindex, none.
            opt_out: obey what is asked of machine learning: noai, TDM reservation, Content-Usage.
                (noimageai speaks of pictures, which nobody takes here.)
        """
        if tags and self.directives & {"noindex", "none"}:
            return "noindex"
        if opt_out and "noai" in self.directives:
            return "noai"
        if opt_out and self.tdm_reserved:
            return "tdm_reservation"
        return "no_training" if opt_out and self.no_training else None


def page_links(
    url: str,
    html: str,
    headers: Sequence[tuple[str, str]],
    agent: str,
    *,
    obey_nofollow: bool = True,
) -> PageLinks:
    """Read what ``html``, found at ``url``, links to and says of itself.

    Args:
        headers: names and values of the answer's headers; one name may come several times.
        agent: our product token, in lower case: a page may speak to us alone.
        obey_nofollow: leave out links that it asks not to follow.
    """
    tags = [(m[1].lower(), _attributes(m[2])) for m in TAG.finditer(_visible(html))]
    directives = frozenset(_directives(tags, agent)) | header_directives(headers, agent)
    may_follow = not obey_nofollow or not directives & {"nofollow", "none"}
    reserved = [value for name, value in headers if name.lower() == TDM_NAME]
    reserved += [a.get("content", "") for name, a in tags if _is_meta(name, a, TDM_NAME)]
    canonical = _linked_canonical(headers) or _tagged_canonical(tags)
    return PageLinks(
        tuple(_links(url, tags, obey_nofollow)) if may_follow else (),
        directives,
        any(map(is_reserved, reserved)),
        any(forbids_training(value) for name, value in headers if name.lower() == USAGE_NAME),
        normalise(canonical, url) if canonical else None,
    )


def decode(body: bytes, charset: str | None) -> str:
    """Read bytes well enough to find links in them, which are ASCII in almost every page."""
    if charset is None and (declared := META_CHARSET.search(body[:2048])):
        charset = declared[1].decode()
    try:
        return body.decode(charset or "utf-8", errors="replace")
    except (LookupError, ValueError):  # an encoding that does not exist, or is not for text
        return body.decode("utf-8", errors="replace")


def _links(
    url: str, tags: Iterable[tuple[str, dict[str, str]]], obey_nofollow: bool
) -> Iterator[str]:
    base, seen = url, {url}
    for name, attributes in tags:
        href = attributes.get("href")
        rel = attributes.get("rel", "").lower().split()
        if href is None or (obey_nofollow and "nofollow" in rel):
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
        if _is_meta(name, attributes, "robots", agent):
            yield from directive_words(attributes.get("content", ""))


def _is_meta(tag: str, attributes: Mapping[str, str], *names: str) -> bool:
    return tag == "meta" and attributes.get("name", "").strip().lower() in names


def _linked_canonical(headers: Sequence[tuple[str, str]]) -> str | None:
    for name, value in headers:
        for match in LINK_HEADER.finditer(value if name.lower() == "link" else ""):
            if CANONICAL_REL.search(match[2]):
                return match[1].strip()
    return None


def _tagged_canonical(tags: Iterable[tuple[str, dict[str, str]]]) -> str | None:
    """The one canonical address of a page; of several different ones none counts."""
    found = {
        attributes.get("href", "").strip()
        for name, attributes in tags
        if name == "link" and "canonical" in attributes.get("rel", "").lower().split()
    }
    return found.pop() if len(found) == 1 else None


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
