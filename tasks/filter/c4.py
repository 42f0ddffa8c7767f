"""C4's recipe for pages (Raffel et al. 2019, arXiv:1910.10683, section 2.2, and their code).

Pure: text in, text without the lines that C4 leaves out and what it asks of the rest. As in
FineWeb, a line may end without a full stop: that rule alone costs a third of the text of the web.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

CITATION = re.compile(r"\[(?:\d{0,9}|edit|citation needed)\]")
POLICY_PHRASES = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
# Not one pattern: those that begin with a choice are searched many times slower.
SENTENCE_BREAKS = (
    re.compile(r"""[.!?]["')\]”’]*[^\S\n]+(?=\S)"""),
    re.compile(r"[。！？][”’」』）]*(?=[^\s”’」』）])"),
)
MAX_WORD_CHARS = 1000
MIN_WORDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class C4Page:
    """What C4 makes of a text."""

    text: str  # the lines that stay
    removed: Counter[str]  # lines that went, by the reason
    has_lorem_ipsum: bool
    has_curly_bracket: bool
    num_sentences: int  # of the lines that stay, each being one at least


def clean_page(text: str) -> C4Page:
    """Apply the rules for lines in C4's order; the rules for pages look where C4's code does."""
    removed = Counter[str]()

    def without(reason: str, is_such: Callable[[str], bool], lines: list[str]) -> list[str]:
        kept = [line for line in lines if not is_such(line)]
        if len(kept) < len(lines):
            removed[reason] = len(lines) - len(kept)
        return kept

    lines = [line for line in map(str.strip, CITATION.sub("", text).split("\n")) if line]
    lines = without("long_word", _has_long_word, lines)
    lines = without("few_words", _has_few_words, lines)
    has_lorem_ipsum = "lorem ipsum" in (lowered := text.lower()) and any(
        "lorem ipsum" in line.lower() for line in lines
    )
    if "javascript" in lowered:
        lines = without("javascript", lambda line: "javascript" in line.lower(), lines)
    has_curly_bracket = any("{" in line for line in lines)
    if _is_policy(lowered):
        lines = without("policy", lambda line: _is_policy(line.lower()), lines)
    cleaned = "\n".join(lines)
    return C4Page(
        text=cleaned,
        removed=removed,
        has_lorem_ipsum=has_lorem_ipsum,
        has_curly_bracket=has_curly_bracket,
        num_sentences=len(lines) + sum(len(each.findall(cleaned)) for each in SENTENCE_BREAKS),
    )


def _has_long_word(line: str) -> bool:
    return len(line) > MAX_WORD_CHARS and max(map(len, line.split())) > MAX_WORD_CHARS


def _has_few_words(line: str) -> bool:
    return len(line.split(None, MIN_WORDS - 1)) < MIN_WORDS


def _is_policy(lowered: str) -> bool:
    return any(phrase in lowered for phrase in POLICY_PHRASES)
