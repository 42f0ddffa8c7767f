"""Titles: what readers would call a page, and what they would call its site.

Pure. Titles carry the site's name before or after them, headings carry kickers, Open Graph has a
wording of its own; so the witnesses are compared, and the name is cut.
"""

import re
from itertools import chain
from typing import Any

from tasks.extract.head import Head
from tasks.extract.linked_data import types_of
from tasks.extract.told import Told, line

MAX_TITLE_CHARS = 500
MAX_SIGNS = 300
MAX_HEADINGS = 10
AGREEMENT = 0.5  # shares of common words, tuned on pages with titles as people read them
MIN_LIKENESS = 0.4
MIN_TITLE_WORDS = 4
MIN_NAME_SHARE = 0.4

TITLES = ("og:title", "dc.title", "dcterms.title", "citation_title", "twitter:title", "title")
SITES = ("application-name", "apple-mobile-web-app-title", "dc.publisher")
SEPARATOR = re.compile(r"\s+[|\-–—·•»«›:/~*]+\s+|\s*[|»]\s*|(?<=\w):\s+")
SURE_SEPARATOR = re.compile(r"\s*[|»]\s*|\s+(?:::|•|·)\s+")
WORDS = re.compile(r"\w+")
NOT_ALPHANUMERIC = re.compile(r"[\W_]+")


class Site:
    """What names a site: what it calls itself, and its host."""

    def __init__(self, name: str | None, url: str) -> None:
        host = url.partition("://")[2].partition("/")[0].removeprefix("www.")
        names = [_bare(part) for part in (name or "", *host.split(".")[:-1])]
        self.name = name
        self._host = _bare(host)
        self._names = [name for name in names if len(name) > 2]

    def is_meant_by(self, segment: str) -> bool:
        """Whether a piece of a title is the site's name, or that and little else."""
        piece = _bare(segment)
        named = (name for name in self._names if name in piece)
        is_named = any(len(name) >= MIN_NAME_SHARE * len(piece) for name in named)
        return is_named or (len(piece) > 3 and piece in self._host)


def _bare(text: str) -> str:
    return NOT_ALPHANUMERIC.sub("", text).casefold()


def title_of(head: Head, told: Told, site: Site) -> str | None:
    """The title that most witnesses agree on, as the h1 words it if one does so closely enough."""
    whole = _without_site(_line(head.title), site)
    said = [told.work.get("headline"), *told.metas_of(TITLES), told.work.get("name")]
    lines = dict.fromkeys(_line(title) for title in said)
    titles = list(filter(None, (_without_site(title, site) for title in lines)))
    texts = [text for kind, _, text in head.signs[:MAX_SIGNS] if kind == "h1"][:MAX_HEADINGS]
    headings = [heading for text in texts if (heading := _line(text))]
    headings = [heading for heading in headings if not site.is_meant_by(heading)]
    agreed = [t for t in titles if any(_likeness(t, s) >= AGREEMENT for s in (*headings, whole))]
    agreed += [whole for heading in headings if _likeness(whole, heading) >= AGREEMENT]
    title = next(filter(None, (*agreed, *titles, _first_piece(whole), *headings)), None)
    if not title or not headings:
        return title
    heading = max(headings, key=lambda heading: _likeness(heading, title))
    return heading if _likeness(heading, title) >= MIN_LIKENESS else title


def _line(title: Any) -> str:
    return line(title, MAX_TITLE_CHARS)


def _first_piece(title: str) -> str:
    """What stands before the first bar, if that is long enough for a title."""
    piece = SURE_SEPARATOR.split(title)[0]
    return piece if len(piece.split()) >= MIN_TITLE_WORDS else title


def _likeness(heading: str, title: str) -> float:
    """Which share of the words of both are in both."""
    words = set(WORDS.findall(heading.casefold())), set(WORDS.findall(title.casefold()))
    return len(words[0] & words[1]) / max(1, len(words[0] | words[1]))


def _without_site(title: str, site: Site) -> str:
    """Cut the site's name, where a title ends or begins with it."""
    separators = list(SEPARATOR.finditer(title))
    while separators and site.is_meant_by(title[separators[-1].end() :]):
        title = title[: separators.pop().start()]
    while separators and site.is_meant_by(title[: separators[0].start()]):
        cut = separators.pop(0)
        title = title[cut.end() :]
        separators = list(SEPARATOR.finditer(title))
    return title.strip()


def site_name_of(head: Head, told: Told, url: str) -> str | None:
    """The name of the site: as it tells others, or as its titles end."""
    publisher = told.linked.resolved(told.work.get("publisher"))
    sites = [node for node in told.linked.nodes if "WebSite" in types_of(node)]
    names = chain(
        told.metas_of(["og:site_name"]),
        (node.get("name") for node in (publisher, *sites) if isinstance(node, dict)),
        told.metas_of(SITES),
    )
    name = next(filter(None, map(line, names)), None)
    return name or next(iter(_pieces_of_site(line(head.title), Site(None, url))), None)


def _pieces_of_site(title: str, site: Site) -> list[str]:
    pieces = SEPARATOR.split(title)
    return [
        piece for piece in pieces[:0:-1] + pieces[:1] if len(pieces) > 1 and site.is_meant_by(piece)
    ]
