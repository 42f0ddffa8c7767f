"""What a page tells machines about itself: its metas and its JSON-LD, to be asked by name.

Pure. In: a page's head. Out: values in the order in which they are to be believed.
"""

import html
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tasks.extract.charset import clean_text
from tasks.extract.head import Head
from tasks.extract.linked_data import Linked, Node, read_linked, types_of

MAX_METAS = 1_000  # what comes later in a page is hardly about the page
MAX_VALUES_A_NAME = 20
MAX_META_CHARS = 1_000
MAX_LINE_CHARS = 200

# What a page can be about, a work before all else; an object counts if it says one of TELLING.
WORK = re.compile(
    r"(?:Article|Posting|Report|Recipe|Review|Episode|CreativeWork|Book|HowTo|Course)$"
)
PAGE = re.compile(r"(?:Page|VideoObject|Event|Product|SoftwareApplication|Dataset|Question)$")
TELLING = {"headline", "datePublished", "author"}


@dataclass(frozen=True, slots=True)
class Told:
    """The metas by name, the objects of the JSON-LD, and the one that the page is about."""

    metas: dict[str, list[str]]
    linked: Linked
    work: Node

    def metas_of(self, names: Iterable[str]) -> Iterator[str]:
        """The contents of the metas with these names, name by name."""
        for name in names:
            yield from self.metas.get(name, ())


def read_told(head: Head) -> Told:
    """Sort what a head tells machines."""
    metas: dict[str, list[str]] = {}
    for name, content in head.metas[:MAX_METAS]:
        values = metas.setdefault(name, [])
        if len(values) < MAX_VALUES_A_NAME:
            values.append(content[:MAX_META_CHARS])
    linked = read_linked(head.json_ld)
    return Told(metas, linked, _work(linked))


def line(value: Any, max_chars: int = MAX_LINE_CHARS) -> str:
    """A text for people: one line, its references decoded once more, as many encode twice."""
    if not isinstance(value, str):
        return ""
    return " ".join(clean_text(html.unescape(value[: 2 * max_chars])).split())[:max_chars]


def _work(linked: Linked) -> Node:
    """The object that the page is about; of several the first, for the others are linked to."""
    for pattern in (WORK, PAGE):
        for node in linked.nodes:
            if TELLING & node.keys() and any(map(pattern.search, types_of(node))):
                return node
    return {}
