"""What a page says about itself: title, author, date, site, canonical address, language, links.

Pure. In: the page's head and the other places where such things stand, already picked out of the
markup. Out: one value each, cleaned, or None.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The parts of a page's markup in which it speaks about itself; text with entities decoded."""

    title: str = ""  # <title>
    language: str = ""  # <html lang>
    metas: tuple[tuple[str, str], ...] = ()  # name, property, itemprop or http-equiv; content
    links: tuple[tuple[str, str], ...] = ()  # <link>: rel in lower case, href
    json_ld: tuple[str, ...] = ()  # raw <script type="application/ld+json">
    anchors: tuple[tuple[str, str], ...] = ()  # <a href>: href, rel in lower case
    base: str = ""  # <base href>
    times: tuple[tuple[str, str], ...] = ()  # <time>: datetime attribute (may be empty), text
    bylines: tuple[tuple[str, str], ...] = ()  # rel, itemprop, class and id; text of an element
    # whose rel, itemprop, class or id holds author, byline, writer, autor, date, published …
    headings: tuple[str, ...] = ()  # the texts of h1


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
