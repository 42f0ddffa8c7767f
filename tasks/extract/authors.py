"""Authors: who is named most clearly, out of bylines as sites write them.

Pure. In: what a page tells machines and readers ("Von Jane Doe und John Roe, 3. Mai 2021"). Out:
the names alone. Trusted in this order: JSON-LD, metas, elements that are marked as the author's or
as a byline, and texts that are nothing but a credit ("By Jane Doe").
"""

import re
from typing import Any

from tasks.extract.dates import is_month
from tasks.extract.head import Signs
from tasks.extract.linked_data import Linked
from tasks.extract.titles import Site
from tasks.extract.told import Told, line

MAX_AUTHOR_CHARS = 100
MAX_AUTHOR_WORDS = 7
MAX_AUTHORS = 20
MAX_BYLINE_CHARS = 300
MAX_SHOWN_CHARS = 150  # longer elements hold more than a byline

AUTHORS = (
    *("author", "article:author", "og:article:author", "article:author_name", "og:author"),
    *("citation_author", "dc.creator", "dcterms.creator", "dc:creator", "dc.contributor"),
    *("parsely-author", "sailthru.author", "cxenseparse:author", "byl", "creator"),
    *("shareaholic:article_author_name", "rbauthors", "article.author", "twitter:data1"),
)
AUTHOR_TOKEN = re.compile(
    r"(?:[a-z0-9]+[-_]+)*(?:author|authors|byline|by-line|autor|autoren|auteur|verfasser|writer)"
    r"(?:[-_]*(?:name|names|link|title|text|content|block|line|vcard|value|display|fn))*"
)
NOT_OF_PAGE = re.compile(
    r"comment|reply|reaction|related|teaser|sidebar|widget|avatar|footer|bio\b"
)
LABEL_OF_TIME = re.compile(r"time|zeit|temps|tiempo|tempo|tijd|durée|lesedauer", re.I)

PREFIX = re.compile(
    r"(?:(?:written|posted|published|reported|story|article|review|recipe|words|photos|text|bericht|"
    r"geschrieben|veröffentlicht|verfasst|erstellt|gepostet|eingestellt|gespeichert|publié|rédigé|"
    r"écrit|escrito|publicado|scritto|pubblicato|geschreven|ein(?:e)? \w+)\s+)?"
    r"(?:by|von|vom|par|por|di|door|av|af|od|przez|autor(?:in|en|es|a|zy)?|authors?|auteurs?|autore|"
    r"author name|verfasser(?:in)?|redakteur(?:in)?|redaktion|text|texto|texte|автор|текст)"
    r"(?:\s*[:|/–-]\s*|\s+|$)",
    re.I,
)
# Where the name ends and something else is said.
END = re.compile(
    r"\s[|•·–—»/-]+\s|\s*[|•·]\s*|(?<!\w)\d|[(\[<]|\bhttps?:|\bwww\.|\S+@\S|@"
    r"|\b(?:updated|published|posted|aktualisiert|veröffentlicht|publié|publicado|actualizado)\b"
    r"|\s(?:on|am|um|in|le|el|il|at|for|für|pour|para|per|hace|vor|há)\s",
    re.I,
)
BETWEEN = re.compile(r"\s*(?:;|,|\n|\s&\s|\s(?:and|und|et|och|og)\s)\s*(?:(?:and|und|et)\s)?", re.I)
SHORT_AND = re.compile(r"\s(?:y|e|en|i)\s")
NOBODY = re.compile(
    r"(?:admin(?:istrator)?|webmaster|root|editor|author|autor|user|unknown|anonymous|anonym|guest|none"
    r"|null|undefined|n/?a|by|von|share|teilen|follow|profile?|biograph\w+|view all posts|posts|rss"
    r"|(?:mehr|alle|all|more|about|über) .*|kommentare?|comments?|http\S*|[\W\d_]*"
    r"|ph\.?\s?d\.?|m\.?[ad]\.?|b\.?[as]\.?|mba|rd|rn|jr\.?)",
    re.I,
)
# What a person's full name looks like, in scripts with capitals.
PARTICLES = "von|van|de|der|den|del|della|di|da|dos|du|la|le|al|bin|zu|y"
CAPITALISED = r"[^\W\d_a-z][\w'’.-]*"
FULL_NAME = re.compile(rf"{CAPITALISED}(?: (?:(?:{PARTICLES}) ){{0,2}}{CAPITALISED}){{1,3}}")
STRIPPED = " ,;:|-–—·•*\"'„“”«»"


def authors_of(told: Told, signs: Signs, site: Site) -> str | None:
    """The authors, joined by semicolons; an institution only if no person is named."""
    sources = (
        lambda: _linked_names(told.linked, told.work.get("author") or told.work.get("creator")),
        lambda: _meta_names(told),
        lambda: _byline_names(signs),
        lambda: _credited(signs),
    )
    institutions: list[str] = []
    for source in sources:
        names = source()
        people = [name for name in names if not site.is_meant_by(name)]
        if people:
            return "; ".join(people[:MAX_AUTHORS])
        institutions = institutions or names
    return "; ".join(institutions) or None


def _credited(signs: Signs) -> list[str]:
    credits = (credited_names(line(text)) for kind, _, text in signs if kind == "credit")
    return next(filter(None, credits), [])


def _linked_names(linked: Linked, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    names: list[str] = []
    for value in values[:MAX_AUTHORS]:
        value = linked.resolved(value)
        name = value.get("name") if isinstance(value, dict) else value
        for one in name[:MAX_AUTHORS] if isinstance(name, list) else [name]:
            names += names_in(line(one))
    return list(dict.fromkeys(names))


def _meta_names(told: Told) -> list[str]:
    for key in AUTHORS:
        if key == "twitter:data1" and not _is_label_of_author(told):
            continue
        names = [name for value in told.metas_of([key]) for name in names_in(line(value))]
        if names:
            return list(dict.fromkeys(names))
    return []


def _is_label_of_author(told: Told) -> bool:
    """Twitter's labels are in the page's language; the other usual one is the reading time."""
    label = next(told.metas_of(["twitter:label1"]), "")
    return bool(label) and not LABEL_OF_TIME.search(label)


def _byline_names(signs: Signs) -> list[str]:
    """Names in the visible byline: the element that says so most clearly, the first of its kind."""
    best: tuple[int, list[str]] = (0, [])
    for kind, hints, text in signs:
        if (
            kind not in ("byline", "author")
            or len(text) > MAX_SHOWN_CHARS
            or NOT_OF_PAGE.search(hints)
        ):
            continue
        clarity = 1 if kind == "author" else _clarity(hints.split())
        if clarity > best[0] and (names := names_in(line(text))):
            best = (clarity, names)
    return best[1]


def _clarity(hints: list[str]) -> int:
    if "author" in hints:
        return 2
    return 1 if any(map(AUTHOR_TOKEN.fullmatch, hints)) else 0


def names_in(byline: str) -> list[str]:
    """The names in a byline, in order; empty if it holds none."""
    text = " ".join(byline[:MAX_BYLINE_CHARS].split()).strip(STRIPPED)
    while text and (prefix := PREFIX.match(text)):
        text = text[prefix.end() :]
    if end := END.search(text):
        text = text[: end.start()]
    names = [name for part in BETWEEN.split(text) for name in _two_names(part)]
    names = [_without_month(name.strip(STRIPPED)) for name in names]
    return list(dict.fromkeys(name for name in names if _is_name(name)))[:MAX_AUTHORS]


def credited_names(text: str) -> list[str]:
    """The names in a text that is nothing but a credit, "By Jane Doe and John Roe"; else none."""
    prefix = PREFIX.match(text)
    names = names_in(text) if prefix else []
    return names if all(map(FULL_NAME.fullmatch, names)) else []


def _without_month(name: str) -> str:
    """Cut the month that a date leaves behind when it is cut at its first digit."""
    head, _, last = name.rpartition(" ")
    return head if head and is_month(last) else name


def _two_names(text: str) -> list[str]:
    """Split at a short "and" only if whole names stand on both sides (not Ortega y Gasset)."""
    parts = SHORT_AND.split(text)
    return parts if all(" " in part.strip() for part in parts) else [text]


def _is_name(text: str) -> bool:
    words = text.split()
    num_small = sum(word[0].islower() for word in words)
    return (
        len(text) <= MAX_AUTHOR_CHARS
        and len(words) <= MAX_AUTHOR_WORDS
        and (len(words) < 3 or num_small <= len(words) / 2)
        and not NOBODY.fullmatch(text)
    )
