"""Rules for source code (The Stack, arXiv:2211.15533, after Chen et al. 2021). Pure."""

import re
from collections.abc import Iterator

from tasks.filter.breach import Breach, above, below, outside
from tasks.filter.thresholds import Code

ALPHANUMERIC = re.compile(r"[^\W_]")


def code(text: str, limits: Code) -> Iterator[Breach]:
    """Whether people wrote this file, and to be read."""
    lengths = list(map(len, text.split("\n")))
    mean = sum(lengths) / len(lengths)
    alphanumeric = len(ALPHANUMERIC.findall(text)) / max(1, len(text))
    yield from outside("code_length", "chars", len(text), limits.min_chars, limits.max_chars)
    yield from above("code_longest_line", "line_chars", max(lengths), limits.max_line_chars)
    yield from above("code_mean_line", "mean_line_chars", mean, limits.max_mean_line_chars)
    yield from below("code_alphanumeric", "alphanumeric", alphanumeric, limits.min_alphanumeric)
