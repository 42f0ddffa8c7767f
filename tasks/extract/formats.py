"""Texts that are neither pages nor plain: wiki markup, LaTeX, Markdown, PDF.

Pure, but native code works below it: like ``page`` it belongs in the guarded child. In: a record
and its body. Out: its text and what it says of itself.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tasks.common.record_fields import RECORD_FIELDS
from tasks.extract.body import Body
from tasks.extract.charset import clean_text, decode
from tasks.extract.described import iso_day
from tasks.extract.latex import latex_text
from tasks.extract.metadata import Metadata
from tasks.extract.pdf import pdf_text
from tasks.extract.records import Record
from tasks.extract.wikitext import wiki_text

FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.{0,20000}?)\n---[ \t]*(?:\n|\Z)", re.S)
FIRST_HEADING = re.compile(r"^# +(.{1,300}?)[ \t#]*$|^(.{1,300})\n={3,}[ \t]*$", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Formatted:
    """A text taken out of its format."""

    text: str
    metadata: Metadata = field(default_factory=Metadata)


def read_format(record: Record, body: Body) -> Formatted | None:
    """The text of a body whose media type needs a reader of its own; None for any other type.

    Raises:
        Refused: it is damaged, encrypted, or holds no text.
    """
    reader = READERS.get(body.media_type)
    return reader(record, body) if reader else None


def _wiki(record: Record, body: Body) -> Formatted:
    hidden = record.headers.get(RECORD_FIELDS["hidden_namespaces"])
    text = wiki_text(_text(record, body), hidden.split("|") if hidden else ())
    return Formatted(text=clean_text(text))  # again: entities may name what no file can hold


def _latex(record: Record, body: Body) -> Formatted:
    text, metadata = latex_text(_text(record, body))
    return Formatted(text=text, metadata=metadata)


def _markdown(record: Record, body: Body) -> Formatted:
    """Markdown as it is, without the settings of the program that publishes it."""
    text = _text(record, body)
    front = FRONT_MATTER.match(text)
    settings = dict(_settings(front[1])) if front else {}
    text = text[front.end() :] if front else text
    heading = FIRST_HEADING.search(text[:5000])
    title = settings.get("title") or (heading and (heading[1] or heading[2]).strip())
    return Formatted(
        text=text.strip("\n").rstrip(),
        metadata=Metadata(
            title=title or None,
            author=settings.get("author"),
            date=iso_day(settings.get("date", "")),
        ),
    )


def _settings(front: str) -> list[tuple[str, str]]:
    """The one-line settings of front matter in YAML."""
    found = re.findall(r"^([A-Za-z]+):[ \t]*(\S.{0,500})$", front, re.M)
    return [(name.lower(), value.strip().strip("\"'")) for name, value in found]


def _pdf(_record: Record, body: Body) -> Formatted:
    text, metadata = pdf_text(body.data)
    return Formatted(text=text, metadata=metadata)


def _text(record: Record, body: Body) -> str:
    return clean_text(decode(body.data, body.charset, is_html=False, url=record.url))


READERS: dict[str, Callable[[Record, Body], Formatted]] = {
    "text/x-wiki": _wiki,
    "text/x-tex": _latex,
    "application/x-tex": _latex,
    "application/x-latex": _latex,
    "text/markdown": _markdown,
    "application/pdf": _pdf,
    "application/x-pdf": _pdf,
}
