"""Addresses in a page: absolute, in one spelling, in order.

Pure. In: the values of href attributes and the address they are relative to. Out: http(s) URLs as
the WHATWG URL standard spells them (can_ada), without fragments.
"""

import re
from collections.abc import Iterable
from urllib.parse import urljoin

import can_ada

MAX_LINKS = 2_000
MAX_URL_CHARS = 2_000
DOT_SEGMENT = re.compile(r"/\.\.?(?:/|$)")
HAS_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:")


class Base:
    """The address that links are relative to, taken apart once."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("#")[0].partition("?")[0].partition("://")
        host, _, path = rest.partition("/")
        self.scheme = f"{scheme}:"
        self.origin = f"{scheme}://{host}"
        self.path = f"{self.origin}/{path}"
        self.folder = self.path[: self.path.rfind("/") + 1]

    def absolute(self, href: str) -> str | None:
        """Where ``href`` leads, without its fragment; None if not to the web."""
        href = href.partition("#")[0].strip()
        if not href or len(href) > MAX_URL_CHARS:
            return None
        try:
            absolute: str = can_ada.parse(self._joined(href)).href
        except ValueError:
            return None
        if "/." in absolute and DOT_SEGMENT.search(absolute.partition("?")[0]):
            # can_ada 3.0 leaves the dots of /a/.b/../c, where one segment begins with a dot.
            start = absolute.find("/", absolute.find("://") + 3)
            if not absolute.startswith("//", start):  # which urljoin would take for a host
                absolute = urljoin(absolute[: start + 1], absolute[start:])
        is_link = absolute.startswith(("http://", "https://")) and len(absolute) <= MAX_URL_CHARS
        return absolute if is_link else None

    def _joined(self, href: str) -> str:
        """``href`` behind what it is relative to; dots and spelling are can_ada's business."""
        first = href[0]
        if first in "/\\":
            return (self.scheme if href[1:2] in ("/", "\\") else self.origin) + href
        if first == "?":
            return self.path + href
        return href if ":" in href and HAS_SCHEME.match(href) else self.folder + href


def absolute_url(href: str, base: str) -> str | None:
    """Where ``href`` leads from the absolute URL ``base``; None if not to the web."""
    return Base(base).absolute(href)


def outgoing_links(anchors: Iterable[tuple[str, str]], base: str, url: str) -> tuple[str, ...]:
    """The first MAX_LINKS pages that anchors (href, rel) lead to, each once, but not itself.

    Links that say ``nofollow`` are among them: it speaks to crawlers, not of the page.
    """
    to_base = Base(base)
    itself = absolute_url(url, url)
    found: dict[str, None] = {}
    for href in dict.fromkeys(href for href, _ in anchors):
        link = to_base.absolute(href)
        if link and link != itself:
            found[link] = None
            if len(found) == MAX_LINKS:
                break
    return tuple(found)
