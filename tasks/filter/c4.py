"""C4's recipe for pages (Raffel et al. 2019, arXiv:1910.10683, section 2.2, and their code).

Pure: text in, text without the lines that C4 leaves out and what it asks of the rest. As in
FineWeb, a line may end without a full stop unless the strict form is asked for: that rule alone
costs a third of the text of the web.
"""

import re
from collections import Counter

from tasks.filter.breach import Breach, below
from tasks.filter.edited import Edited
from tasks.filter.lines import ELLIPSES, TERMINALS
from tasks.filter.thresholds import C4

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
# A line may end in a quote, but not in an ellipsis.
LINE_ENDS = tuple(sign for sign in TERMINALS if sign not in ELLIPSES)
DEFAULT = C4()


def clean_page(text: str, limits: C4 = DEFAULT, *, strict: bool = False) -> Edited:
    """Apply the rules for lines in C4's order; the rules for pages look where C4's code does."""
    lowered = text.lower()
    lines = [line for line in map(str.strip, CITATION.sub("", text).split("\n")) if line]
    most, least = limits.max_word_chars, limits.min_line_words
    readable = [line for line in lines if len(line) <= most or max(map(len, line.split())) <= most]
    ended = [line for line in readable if _is_ended(line)] if strict else readable
    worded = [line for line in ended if len(line.split(None, least - 1)) == least]
    plain = worded
    if "javascript" in lowered:
        plain = [line for line in worded if "javascript" not in line.lower()]
    left = plain
    if _is_policy(lowered):
        left = [line for line in plain if not _is_policy(line.lower())]
    removed = Counter(
        long_word=len(lines) - len(readable),
        no_full_stop=len(readable) - len(ended),
        few_words=len(ended) - len(worded),
        javascript=len(worded) - len(plain),
        policy=len(plain) - len(left),
    )
    cleaned = "\n".join(left)
    breaches = []
    if "lorem ipsum" in lowered and "lorem ipsum" in "\n".join(worded).lower():
        breaches.append(Breach("lorem_ipsum", "holds lorem ipsum"))
    if "{" in text and "{" in "\n".join(plain):
        breaches.append(Breach("curly_bracket", "holds {"))
    if len(left) < limits.min_sentences:  # else there are enough: each line is a sentence at least
        num_sentences = count_sentences(left)
        breaches += below("sentences", "sentences", num_sentences, limits.min_sentences)
    return Edited(text=cleaned, breaches=tuple(breaches), removed=+removed)  # without the zeros


def count_sentences(lines: list[str]) -> int:
    """Sentences in some lines, each being one at least."""
    text = "\n".join(lines)
    return len(lines) + sum(len(each.findall(text)) for each in SENTENCE_BREAKS)


def _is_ended(line: str) -> bool:
    return line.endswith(LINE_ENDS) and not line.endswith(ELLIPSES)


def _is_policy(lowered: str) -> bool:
    return any(phrase in lowered for phrase in POLICY_PHRASES)
