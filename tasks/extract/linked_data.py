"""JSON-LD: what pages say of themselves for machines, read as far as it can be read.

Pure. In: the raw texts of a page's ``application/ld+json`` scripts. Out: their objects, flat and in
order, with references by ``@id`` to be looked up in ``Linked``. Much of it is broken: comments,
CDATA marks, trailing commas, line breaks in strings and several objects in a row are put up with,
and of an object beyond repair the few pairs that matter are picked out.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_SCRIPT_CHARS = 200_000
MAX_SCRIPTS = 30
MAX_NODES = 2_000
MAX_OBJECTS_A_SCRIPT = 20

# A string is matched first, so that what looks like a comment inside it is left alone; strings and
# comments without an end reach to the end of the text, so that no text is scanned twice.
STRING = r'("(?:[^"\\]|\\.?)*(?:"|\Z))'
CDATA = r"<!\[CDATA\[|\]\]>"
STRING_OR_COMMENT = re.compile(
    rf"{STRING}|<!--|-->|//\s*(?:{CDATA})|{CDATA}|/\*.*?(?:\*/|\Z)|//[^\n]*", re.S
)
STRING_OR_TRAILING_COMMA = re.compile(rf"{STRING}|,(?=\s*[}}\]])", re.S)
# What matters most, where the rest cannot be read.
PAIR = re.compile(
    r'"(headline|datePublished|author)"\s*:\s*(?:[\[{][^"{}]*"@type"\s*:\s*"\w*"\s*,\s*"name"\s*:\s*)?'
    r'("(?:[^"\\\n]|\\.){1,300}")'
)
NEXT_OBJECT = re.compile(r"[{\[]")
DECODER = json.JSONDecoder(strict=False)

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Linked:
    """The objects of a page's JSON-LD."""

    nodes: list[Node] = field(default_factory=list)
    by_id: dict[str, Node] = field(default_factory=dict)  # of several, that which says most

    def resolved(self, value: Any) -> Any:
        """The object that ``value`` refers to by ``@id`` alone, or ``value``."""
        if isinstance(value, dict) and "name" not in value and isinstance(value.get("@id"), str):
            return self.by_id.get(value["@id"], value)
        return value


def read_linked(scripts: Iterable[str]) -> Linked:
    """Read all scripts; what cannot be read is passed over."""
    linked = Linked()
    for script in list(scripts)[:MAX_SCRIPTS]:
        stack = list(_values(script))[::-1]
        while stack and len(linked.nodes) < MAX_NODES:
            value = stack.pop()
            if isinstance(value, list):
                stack.extend(reversed(value))
            elif isinstance(value, dict):
                linked.nodes.append(value)
                stack.extend(v for v in reversed(value.values()) if isinstance(v, dict | list))
    for node in linked.nodes:
        name = node.get("@id")
        if isinstance(name, str) and len(node) > len(linked.by_id.get(name, ())):
            linked.by_id[name] = node
    return linked


def types_of(node: Node) -> list[str]:
    """The types of an object, without the vocabulary's address."""
    types = node.get("@type")
    names = types if isinstance(types, list) else [types]
    return [name.rpartition("/")[2] for name in names if isinstance(name, str)]


def _values(script: str) -> Iterator[Any]:
    script = script[:MAX_SCRIPT_CHARS].strip()
    try:
        yield DECODER.decode(script)
        return
    except (ValueError, RecursionError):
        pass
    mended = STRING_OR_COMMENT.sub(lambda match: match.group(1) or " ", script)
    mended = STRING_OR_TRAILING_COMMA.sub(lambda match: match.group(1) or "", mended)
    objects = list(_objects(mended))
    yield from objects or _salvaged(script)


def _salvaged(script: str) -> Iterator[Node]:
    pairs = {key: json.loads(text, strict=False) for key, text in PAIR.findall(script)[::-1]}
    if pairs:
        yield {"@type": "Article", **pairs}


def _objects(text: str) -> Iterator[Any]:
    """One object or list after another, with anything between them."""
    position = 0
    for _ in range(MAX_OBJECTS_A_SCRIPT):
        start = NEXT_OBJECT.search(text, position)
        if not start:
            return
        try:
            value, position = DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            return
        yield value
