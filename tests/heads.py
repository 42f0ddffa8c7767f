"""Fill a ``Head`` from markup with selectolax: slow, plain, and another's parser."""

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from tasks.extract.head import (
    AUTHOR_PATHS,
    BYLINE_HINTS,
    CREDITS,
    MAX_DATED_CHARS,
    MAX_TEXT_CHARS,
    Head,
)

YEAR = re.compile(r"19\d\d|20\d\d")
NO_TEXT = {"script", "style", "template"}


def head_of(html: str) -> Head:
    """Pick out what a page says about itself; see the comments of ``Head`` for what goes where."""
    tree = LexborHTMLParser(html)
    nodes = [node for node in tree.root.traverse() if node.is_element_node]
    root = tree.root.attributes
    return Head(
        title=next((text_of(n) for n in nodes if n.tag == "title" and not inside(n, {"svg"})), ""),
        language=line(root.get("lang") or root.get("xml:lang")),
        metas=tuple(entry for node in nodes if node.tag == "meta" for entry in meta(node)),
        links=tuple(
            (line(attribute(node, "rel")).lower(), line(attribute(node, "href")))
            for node in nodes
            if node.tag == "link" and attribute(node, "rel") and attribute(node, "href")
        ),
        json_ld=tuple(
            node.text()
            for node in nodes
            if node.tag == "script"
            and line(attribute(node, "type")).lower().startswith("application/ld+json")
        ),
        anchors=tuple(
            (line(attribute(node, "href")), line(attribute(node, "rel")).lower())
            for node in nodes
            if node.tag == "a" and "href" in node.attributes
        ),
        base=next((line(attribute(n, "href")) for n in nodes if n.tag == "base"), ""),
        signs=tuple(signs(tree)),
    )


def attribute(node: LexborNode, name: str) -> str:
    return node.attributes.get(name) or ""


def line(text: str | None) -> str:
    return " ".join((text or "").split())


def hints(node: LexborNode) -> str:
    parts = (attribute(node, name) for name in ("rel", "itemprop", "class", "id"))
    return line(" ".join(parts)).lower()


def meta(node: LexborNode) -> list[tuple[str, str]]:
    content = line(attribute(node, "content"))
    names = (attribute(node, n) for n in ("name", "property", "itemprop", "http-equiv"))
    return [(line(name).lower(), content) for name in names if name and content]


def signs(tree: LexborHTMLParser) -> Iterator[tuple[str, str, str]]:
    for node in tree.body.traverse(include_text=True) if tree.body else ():
        if node.is_text_node:
            text = line(node.text_content)[:MAX_DATED_CHARS]
            if inside(node, NO_TEXT):
                continue
            if YEAR.search(text):
                yield "dated", "", text
            if CREDITS.match(text):
                yield "credit", "", text_of(node.parent)
            continue
        own = hints(node)
        if node.tag == "h1":
            yield "h1", own, text_of(node)
        elif node.tag == "time":
            yield "time", own, line(attribute(node, "datetime")) or text_of(node)
        elif node.tag not in {"body", "meta", "link", *NO_TEXT}:
            if any(hint in own for hint in BYLINE_HINTS):
                yield "byline", own, spoken(node) or text_of(node)
            elif node.tag == "a" and any(p in attribute(node, "href") for p in AUTHOR_PATHS):
                yield "author", own, text_of(node)


def spoken(node: LexborNode) -> str:
    names = ("content", "datetime", "title") if node.tag == "abbr" else ("content", "datetime")
    return next(filter(None, (line(attribute(node, n)) for n in names)), "")[:MAX_TEXT_CHARS]


def text_of(node: LexborNode) -> str:
    parts: list[str] = []
    stack = [node]
    while stack:
        at = stack.pop()
        if at.is_text_node:
            parts.append(at.text_content or "")
        elif at.tag not in NO_TEXT or at.mem_id == node.mem_id:
            stack.extend(reversed(list(at.iter(include_text=True))))
    return line(" ".join(parts))[:MAX_TEXT_CHARS]


def inside(node: LexborNode, tags: set[str]) -> bool:
    while node := node.parent:
        if node.tag in tags:
            return True
    return False
