"""What Python code says of itself: from a source file to (name, what it does) facts.

Pure: text in, facts out. A fact's name is the dotted path a programmer would write.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'`(])")
DOCUMENTED = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True, slots=True)
class Fact:
    """One documented thing: its dotted name, its first sentence, and its first paragraphs."""

    name: str
    brief: str
    long: str


def module_name(path: str) -> str:
    """``a/b.py`` and ``a/b/__init__.py`` by the name one imports."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def read_facts(source: str, module: str) -> list[Fact]:
    """Every public class, function and method with a documentation string, in order.

    A file that this Python cannot parse states no facts.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return []
    return list(_facts_in(tree.body, module))


def _facts_in(body: list[ast.stmt], prefix: str) -> Iterator[Fact]:
    for node in body:
        if not isinstance(node, DOCUMENTED) or node.name.startswith("_"):
            continue
        name = f"{prefix}.{node.name}"
        if text := ast.get_docstring(node):
            yield _fact(name, text)
        if isinstance(node, ast.ClassDef):
            yield from _facts_in(node.body, name)


def _fact(name: str, docstring: str) -> Fact:
    paragraphs = [" ".join(p.split()) for p in docstring.split("\n\n")]
    paragraphs = [p for p in paragraphs if p]
    brief = SENTENCE_END.split(paragraphs[0], maxsplit=1)[0] if paragraphs else ""
    return Fact(name=name, brief=brief, long=" ".join(paragraphs[:3]))
