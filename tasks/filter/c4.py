"""C4's recipe for pages (Raffel et al. 2019, arXiv:1910.10683, section 2.2, and their code).

Pure: text in, text without the lines that C4 leaves out and what it asks of the rest. As in
FineWeb, a line may end without a full stop: that rule alone costs a third of the text of the web.
"""

import re
from collections import Counter
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
    lowered = text.lower()
    lines = [line for line in map(str.strip, CITATION.sub("", text).split("\n")) if line]
    readable = [line for line in lines if len(line) <= MAX_WORD_CHARS or not _has_long_word(line)]
    worded = [line for line in readable if len(line.split(None, MIN_WORDS - 1)) == MIN_WORDS]
    plain = worded
    if "javascript" in lowered:
        plain = [line for line in worded if "javascript" not in line.lower()]
    left = plain
    if _is_policy(lowered):
        left = [line for line in plain if not _is_policy(line.lower())]
    removed = Counter(
        long_word=len(lines) - len(readable),
        few_words=len(readable) - len(worded),
        javascript=len(worded) - len(plain),
        policy=len(plain) - len(left),
    )
    cleaned = "\n".join(left)
    return C4Page(
        text=cleaned,
        removed=+removed,  # without the zeros
        has_lorem_ipsum="lorem ipsum" in lowered and "lorem ipsum" in "\n".join(worded).lower(),
        has_curly_bracket="{" in text and "{" in "\n".join(plain),
        num_sentences=len(left) + sum(len(each.findall(cleaned)) for each in SENTENCE_BREAKS),
    )


def _has_long_word(line: str) -> bool:
    return max(map(len, line.split())) > MAX_WORD_CHARS


def _is_policy(lowered: str) -> bool:
    return any(phrase in lowered for phrase in POLICY_PHRASES)
