"""What a page says about itself: title, author, date, site, canonical address, language, links.

Pure. In: the page's head and the other places where such things stand, already picked out of the
markup. Out: one value each, cleaned, or None. The order of trust is the same for all: what is
written for machines about this very work (JSON-LD), what is written for other sites (Open Graph,
Dublin Core …), then what readers see; where readers see the same with less around it, as a
headline without the site's name, theirs is taken.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from tasks.extract.authors import authors_of
from tasks.extract.dates import day_in, day_in_address
from tasks.extract.head import MAX_HINT_CHARS, MAX_TEXT_CHARS, Head, Signs
from tasks.extract.links import absolute_url, outgoing_links
from tasks.extract.titles import MAX_SIGNS, MAX_TITLE_CHARS, Site, site_name_of, title_of
from tasks.extract.told import Told, line, read_told

MAX_LINKS = 1_000
MAX_DATE_CHARS = 50  # of a text that is a date and little else

DATES = (
    *("article:published_time", "og:article:published_time", "og:published_time", "datepublished"),
    *("citation_publication_date", "citation_online_date", "dc.date.issued", "dcterms.issued"),
    *("parsely-pub-date", "sailthru.date", "cxenseparse:recs:publishtime", "pubdate"),
    *("publication_date", "publish-date", "publishdate", "publish_date", "prism.publicationdate"),
    *("article:published", "published_time", "shareaholic:article_published_time", "pub_date"),
    *("originalpublicationdate", "mediator_published_time", "uploaddate"),
)
# Whose date this is they do not say: often that of the last change, or of today.
VAGUE_DATES = (
    *("dcterms.date", "dc.date", "dc.date.created", "dcterms.created", "dc.created", "date"),
    *("datecreated", "created"),
)
LATER_DATES = ("article:modified_time", "og:updated_time", "datemodified", "last-modified")
DATE_HINT = re.compile(
    r"date|datum|fecha|publish|posted|pubdate|created|time|meta|byline|autor|author"
)
PUBLISHED = re.compile(r"publi(?:sh|ca)ed|datepublished|pubdate|post-date--published")
CHANGED = re.compile(r"\b(?:updated|modified|edited|aktualisiert|geändert|bearbeitet)\b", re.I)
IN_UTC = re.compile(r"(?:Z|GMT|UTC|[+-]00:?00)\s*$")
NOT_PUBLISHED = re.compile(
    r"(?<!post)update|modifi|comment|reply|event|birth|expir|related|teaser|sidebar|widget"
)
LANGUAGES = ("content-language", "language", "og:locale", "dc.language")
LANGUAGE = re.compile(r"([a-z]{2,3})((?:-[a-z0-9]{2,8})*)$", re.I)
NO_LANGUAGES = {"und", "zxx", "mul", "mis", "xx"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What is known of a page besides its text; the columns of the document schema."""

    title: str | None = None
    author: str | None = None
    date: str | None = None
    site_name: str | None = None
    canonical_url: str | None = None
    declared_language: str | None = None
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Calendar:
    """How this page's dates are read: by whose habits, and until when."""

    month_first: bool
    latest: str | None

    def day_in(self, text: str) -> str | None:
        return day_in(text, month_first=self.month_first, latest=self.latest)


def describe(head: Head, url: str, *, fetched_at: str | None = None) -> Metadata:
    """Say what is known of the page at ``url`` (absolute) from what it says of itself.

    ``fetched_at``, an ISO 8601 time in UTC, is a limit: no page was published after it was fetched.
    """
    told = read_told(head)
    site = Site(site_name_of(head, told, url), url)
    title = title_of(head, told, site)
    signs = _around(head.signs[:MAX_SIGNS], title)
    language = _language(head, told)
    calendar = _Calendar(language in ("en", "en-US"), _day_after(fetched_at))
    base = absolute_url(head.base, url) or url
    return Metadata(
        title=title,
        author=authors_of(told, signs, site),
        date=_date(told, signs, url, calendar),
        site_name=site.name,
        canonical_url=_canonical_url(head, told, base),
        declared_language=language,
        links=outgoing_links(head.anchors, base, url),
    )


def _day_after(fetched_at: str | None) -> str | None:
    """The last day that it can have been anywhere on Earth."""
    day = day_in(fetched_at or "")
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat() if day else None


def _around(signs: Signs, title: str | None) -> Signs:
    """The signs by their distance from the h1 that is the title, or from the first h1.

    What stands before it counts as twice as far: there are menus and teasers.
    """
    headings = [index for index, (kind, _, _) in enumerate(signs) if kind == "h1"]
    main = [index for index in headings if line(signs[index][2], MAX_TITLE_CHARS) == title]
    middle = next(iter(main + headings), 0)
    order = sorted(
        range(len(signs)), key=lambda i: i - middle if i >= middle else 2 * (middle - i) + 1
    )
    return [
        (kind, hints[:MAX_HINT_CHARS], text[:MAX_TEXT_CHARS])
        for kind, hints, text in (signs[index] for index in order)
    ]


def _date(told: Told, signs: Signs, url: str, calendar: _Calendar) -> str | None:
    said = [told.work.get("datePublished"), *told.metas_of(DATES)]
    day = _first_day(said, calendar)
    if day and not any(isinstance(text, str) and IN_UTC.search(text) for text in said):
        return day
    seen = [sign for sign in signs if _may_be_published(*sign)]
    shown = (
        day_in_address(url, calendar.latest),
        _first_day((text for _, hints, text in seen if PUBLISHED.search(hints)), calendar),
        _first_day((sign[2] for sign in seen if _is_date(*sign)), calendar),
    )
    if day:  # in UTC; readers see their own day
        return next((other for other in shown if other and _are_neighbours(day, other)), day)
    vague = [
        *(told.work.get("dateCreated"), *told.metas_of(VAGUE_DATES)),
        *(told.work.get("dateModified"), *told.metas_of(LATER_DATES)),
    ]
    return (
        next(filter(None, shown), None)
        or _first_day(vague, calendar)
        or _first_day((text for _, _, text in seen), calendar)
        or _first_day((text for kind, _, text in signs if kind == "dated"), calendar)
    )


def _may_be_published(kind: str, hints: str, text: str) -> bool:
    return (
        kind in ("time", "byline", "dated")
        and not NOT_PUBLISHED.search(hints)
        and not CHANGED.search(text)
    )


def _is_date(kind: str, hints: str, text: str) -> bool:
    """Whether a sign stands for a date, and does not just mention one."""
    if kind == "byline":
        return bool(DATE_HINT.search(hints))
    return kind == "time" or len(text) <= MAX_DATE_CHARS or text[0].isdigit()


def _are_neighbours(one: str, other: str) -> bool:
    return abs((date.fromisoformat(one) - date.fromisoformat(other)).days) == 1


def _first_day(texts: Iterable[Any], calendar: _Calendar) -> str | None:
    return next((day for t in texts if isinstance(t, str) and (day := calendar.day_in(t))), None)


def _canonical_url(head: Head, told: Told, base: str) -> str | None:
    links = [href for rel, href in head.links[:MAX_LINKS] if "canonical" in rel.split()]
    urls = (absolute_url(href, base) for href in (*links, *told.metas_of(["og:url"])))
    return next(filter(None, urls), None)


def _language(head: Head, told: Told) -> str | None:
    """The declared language as BCP 47 spells it: en, en-US, zh-Hant-TW."""
    for value in (head.language, *told.metas_of(LANGUAGES)):
        tag = value.split(",")[0].strip().replace("_", "-").partition(".")[0]
        found = LANGUAGE.match(tag)
        if found and found.group(1).lower() not in NO_LANGUAGES:
            subtags = found.group(2).split("-")[1:]
            return "-".join([found.group(1).lower(), *map(_subtag, subtags)])
    return None


def _subtag(text: str) -> str:
    if len(text) == 4 and text.isalpha():
        return text.title()
    return text.upper() if len(text) == 2 else text.lower()
