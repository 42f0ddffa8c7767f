"""HTML to scored blocks of text; compiled from ``native/``."""

import enum
from collections.abc import Mapping

import numpy as np

class Kind(enum.Enum):
    """What a block of text is by its markup."""

    PARAGRAPH = 0
    HEADING = 1
    ITEM = 2
    TERM = 3
    QUOTE = 4
    CODE = 5
    ROW = 6
    CAPTION = 7

class Block:
    """A run of text between two borders of block-level elements."""

    kind: Kind
    level: int
    list_depth: int
    quote_depth: int
    begins_item: bool
    is_hidden: bool
    is_head_row: bool
    number: int
    table: int
    element: int
    link_chars: int
    language: str
    text: str

class Page:
    """A parsed page: its blocks in document order, and what it says of itself."""

    blocks: list[Block]
    title: str
    language: str
    base: str
    metas: list[tuple[str, str]]
    links: list[tuple[str, str]]
    anchors: list[tuple[str, str]]
    signs: list[tuple[str, str, str]]
    json_ld: list[str]

    def __init__(self, html: str, markdown: bool = False) -> None: ...
    def marks(self, block: int) -> list[str]:
        """What the elements around a block are called, by group of words and by tag."""

class Model:
    """Two forests: one on what is seen of a block, one also on what the first guessed around it.

    ValueError if they want other features than this build has.
    """

    def __init__(
        self, first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
    ) -> None: ...
    def score(self, page: Page) -> np.ndarray:
        """How likely each block is main text; shape (blocks,), float32 from 0 to 1."""

def add_reference(name: str, text: str) -> None:
    """Teach a named character reference, such as ``amp;``."""

def seen(page: Page) -> np.ndarray:
    """Features of each block; shape (blocks, features), float32."""

def guessed(page: Page, scores: np.ndarray) -> np.ndarray:
    """Features of a first guess of each block's score; shape (blocks, features), float32."""

def feature_names() -> tuple[list[str], list[str]]:
    """Names of the columns of ``seen`` and of ``guessed``."""
