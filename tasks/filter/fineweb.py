"""FineWeb's own rules (Penedo et al. 2024, arXiv:2406.17557, section 3.6). Pure.

In their pipeline they come after Gopher's and C4's and see the lines that C4 leaves.
"""

from collections.abc import Iterator

from tasks.filter.breach import Breach, above, below
from tasks.filter.lines import TERMINALS
from tasks.filter.thresholds import FineWeb
from tasks.filter.view import View


def fineweb(view: View, limits: FineWeb) -> Iterator[Breach]:
    """Whether it reads as running text rather than as lists and menus."""
    lines, text = view.lines, view.text
    punctuated = lines.share_ending(TERMINALS)
    yield from below("punctuated_lines", "punctuated", punctuated, limits.min_punctuated_lines)
    short = lines.share_up_to(limits.short_line_chars)
    yield from above("short_lines", "short_lines", short, limits.max_short_lines)
    num_newlines = text.count("\n")
    repeated_chars = lines.duplicates[1] * len(text)
    share = repeated_chars / max(1, len(text) - num_newlines)  # unlike Gopher, without line ends
    yield from above(
        "fineweb_duplicate_line_chars",
        "repeated_line_chars",
        share,
        limits.max_duplicate_line_chars,
    )
    ratio = num_newlines / max(1, view.words.num_tokens)
    yield from above("newline_ratio", "line_ends_a_word", ratio, limits.max_newline_ratio)
