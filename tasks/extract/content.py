"""The main text of a page: HTML in, the blocks that a reader came for out, as text or Markdown.

Pure. The parsing and scoring is compiled (``native/``), takes time linear in the page, and knows
nothing of any site: a block's score comes from a model that was learned by ``train``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html.entities import html5
from importlib.resources import files
from io import BytesIO

import numpy as np

from tasks.extract import _native
from tasks.extract._native import Block, Kind
from tasks.extract.head import Head

MODEL_FILE = "content_model.npz"
KEEP_SCORE = 0.5
# A page of which next to nothing reaches KEEP_SCORE is of a kind that the model has seen little of.
# What comes nearest is taken then; if that is little of the page, too, its whole text.
MIN_KEPT_CHARS = 200
DOUBTFUL_SCORE = 0.2
MIN_KEPT_SHARE = 0.2
COMMENT_MARKS = {"comment"}
NO_COMMENT_MARKS = {"<form>", "<nav>", "<footer>"}

for _name, _text in html5.items():
    _native.add_reference(_name, _text)


@dataclass(frozen=True, slots=True)
class Content:
    """The main text of a page and what the page says of itself."""

    text: str
    head: Head


def read_content(html: str, *, markdown: bool = False, comments: bool = False) -> Content:
    """The main text of ``html``.

    Args:
        html: a page, decoded.
        markdown: headings, lists, quotes, tables, code and emphasis as Markdown; else plain text.
        comments: keep readers' comments too.
    """
    page = _native.Page(html, markdown)
    blocks = page.blocks
    kept = keep_blocks(blocks, content_model().score(page))
    if comments:
        kept |= _comments(page)
    blocks = [blocks[at] for at in np.flatnonzero(kept).tolist()]
    return Content(as_markdown(blocks) if markdown else as_text(blocks), head_of(page))


def keep_blocks(blocks: Sequence[Block], scores: np.ndarray) -> np.ndarray:
    """Which blocks are main text; shape (blocks,), bool."""
    num_chars = np.array([len(block.text) for block in blocks], int)
    for least_score in (KEEP_SCORE, DOUBTFUL_SCORE):
        kept = scores >= least_score
        if num_chars[kept].sum() >= MIN_KEPT_CHARS:
            return _with_terms(blocks, kept)
    if num_chars[kept].sum() >= MIN_KEPT_SHARE * num_chars.sum():
        return _with_terms(blocks, kept)
    return np.ones(len(blocks), bool)


def _with_terms(blocks: Sequence[Block], kept: np.ndarray) -> np.ndarray:
    """A definition is kept with the terms that it defines."""
    for at in np.flatnonzero(~kept[:-1])[::-1].tolist():
        if kept[at + 1] and blocks[at].kind == Kind.TERM:
            kept[at] = True
    return kept


def _comments(page: _native.Page) -> np.ndarray:
    marks = [set(page.marks(index)) for index in range(len(page.blocks))]
    return np.array([bool(m & COMMENT_MARKS) and not m & NO_COMMENT_MARKS for m in marks], bool)


@lru_cache(maxsize=1)
def content_model() -> _native.Model:
    """The model that this package ships."""
    return load_model((files("tasks.extract") / MODEL_FILE).read_bytes())


def load_model(data: bytes) -> _native.Model:
    """A model from the bytes of its file."""
    with np.load(BytesIO(data)) as arrays:
        first, second = (
            {key.removeprefix(name): arrays[key] for key in arrays if key.startswith(name)}
            for name in ("first.", "second.")
        )
    return _native.Model(first, second)


def head_of(page: _native.Page) -> Head:
    """What a page says of itself."""
    return Head(
        title=page.title,
        language=page.language,
        metas=tuple(page.metas),
        links=tuple(page.links),
        json_ld=tuple(page.json_ld),
        anchors=tuple(page.anchors),
        base=page.base,
        signs=tuple(page.signs),
    )


def as_text(blocks: Sequence[Block]) -> str:
    """Blocks as plain text: an empty line between paragraphs, none within lists and tables."""
    return _joined(blocks, [_plain(block) for block in blocks])


def as_markdown(blocks: Sequence[Block]) -> str:
    """Blocks as Markdown (CommonMark with tables)."""
    first_rows = _first_rows(blocks)
    texts = [_marked(block, at in first_rows) for at, block in enumerate(blocks)]
    return _joined(blocks, texts)


def _joined(blocks: Sequence[Block], texts: Sequence[str]) -> str:
    parts: list[str] = []
    for at, text in enumerate(texts):
        if at:
            parts.append("\n" if _is_close(blocks[at - 1], blocks[at]) else "\n\n")
        parts.append(text)
    return "".join(parts)


def _is_close(above: Block, below: Block) -> bool:
    if above.kind == Kind.ROW:
        return below.kind == Kind.ROW and above.table == below.table
    if above.kind == Kind.ITEM:
        return below.kind == Kind.ITEM
    return above.kind == Kind.TERM


def _plain(block: Block) -> str:
    if block.kind != Kind.ITEM:
        return block.text
    indent = "  " * max(0, block.list_depth - 1)
    return _indented(block.text, f"{indent}- " if block.begins_item else f"{indent}  ", indent)


def _indented(text: str, first: str, indent: str) -> str:
    return first + text.replace("\n", f"\n{indent}  ")


def _marked(block: Block, is_first_row: bool) -> str:
    text = block.text
    if block.kind == Kind.HEADING:
        text = f"{'#' * block.level} {' '.join(text.split())}"
    elif block.kind == Kind.ITEM:
        indent = "  " * max(0, block.list_depth - 1)
        sign = f"{block.number}. " if block.number else "- "
        text = _indented(text, indent + (sign if block.begins_item else "  "), indent)
    elif block.kind == Kind.CODE:
        fence = "```" if "```" not in text else "~~~~"
        text = f"{fence}{block.language}\n{text}\n{fence}"
    elif block.kind == Kind.ROW:
        text = f"| {text} |"
        if is_first_row:
            text += "\n|" + " --- |" * (block.text.count(" | ") + 1)
    if block.quote_depth:
        sign = "> " * block.quote_depth
        text = sign + text.replace("\n", f"\n{sign}")
    return text


def _first_rows(blocks: Sequence[Block]) -> set[int]:
    above = [None, *blocks]
    return {
        at
        for at, block in enumerate(blocks)
        if block.kind == Kind.ROW
        and not ((before := above[at]) and before.kind == Kind.ROW and before.table == block.table)
    }
