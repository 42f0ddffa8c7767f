"""Gopher's rules (Rae et al. 2021, arXiv:2112.11446, appendix A.1). Pure.

Where the paper leaves open how something is counted, it is counted as in the reimplementations with
which FineWeb's thresholds were found: shares of n-grams are of all characters of the text, and a
repeated n-gram is stepped over whole. Lines are those that are not blank.
"""

import re
from collections.abc import Iterator

from tasks.filter.breach import Breach, above, below, outside
from tasks.filter.lines import BULLETS, ELLIPSES
from tasks.filter.measure import DUPLICATE_NGRAMS, TOP_NGRAMS
from tasks.filter.thresholds import GopherQuality, GopherRepetition
from tasks.filter.view import View

# In small letters, as in the paper: texts in other languages quote English titles. Each pattern
# begins with its word, not with a look at what precedes it, so that it is searched for quickly.
STOP_WORDS = {
    word: re.compile(rf"{word}(?<!\w{word})(?!\w)")
    for word in ("the", "be", "to", "of", "and", "that", "have", "with")
}


def gopher_quality(view: View, limits: GopherQuality) -> Iterator[Breach]:
    """Whether this is prose at all."""
    words, lines, num_tokens = view.words, view.lines, max(1, view.words.num_tokens)
    yield from outside("word_count", "words", words.num_words, limits.min_words, limits.max_words)
    yield from outside(
        "mean_word_length",
        "mean_word_chars",
        words.mean_word_chars,
        limits.min_mean_word_chars,
        limits.max_mean_word_chars,
    )
    hashes = view.text.count("#") / num_tokens
    yield from above("hash_signs", "hash_signs_a_word", hashes, limits.max_symbol_ratio)
    ellipses = sum(map(view.text.count, ELLIPSES)) / num_tokens
    yield from above("ellipses", "ellipses_a_word", ellipses, limits.max_symbol_ratio)
    bullets = lines.share_beginning(BULLETS)
    yield from above("bullet_lines", "bullet_lines", bullets, limits.max_bullet_lines)
    ending = lines.share_ending(ELLIPSES)
    yield from above("ellipsis_lines", "ellipsis_lines", ending, limits.max_ellipsis_lines)
    alphabetic = words.alphabetic_share
    yield from below("alphabetic_words", "alphabetic", alphabetic, limits.min_alphabetic_words)
    if view.document.language in (None, "en"):
        found = _stop_words(view.text, limits.min_stop_words)
        yield from below("stop_words", "stop_words", found, limits.min_stop_words)


def _stop_words(text: str, wanted: int) -> int:
    """How many different stop words occur, up to ``wanted``; most texts hold them among blanks."""
    found = [word for word in STOP_WORDS if f" {word} " in text]
    if len(found) < wanted:
        found = [word for word, pattern in STOP_WORDS.items() if pattern.search(text)]
    return min(wanted, len(found))


def gopher_repetition(view: View, limits: GopherRepetition) -> Iterator[Breach]:
    """Whether it says the same again and again."""
    line_share, line_chars = view.lines.duplicates
    paragraph_share, paragraph_chars = view.lines.duplicate_paragraphs
    yield from above("duplicate_lines", "repeated_lines", line_share, limits.max_duplicate_lines)
    yield from above(
        "duplicate_paragraphs",
        "repeated_paragraphs",
        paragraph_share,
        limits.max_duplicate_paragraphs,
    )
    yield from above(
        "duplicate_line_chars",
        "repeated_line_chars",
        line_chars,
        limits.max_duplicate_line_chars,
    )
    yield from above(
        "duplicate_paragraph_chars",
        "repeated_paragraph_chars",
        paragraph_chars,
        limits.max_duplicate_paragraph_chars,
    )
    num_chars = max(1, len(view.text))
    for n in TOP_NGRAMS:
        count, chars = view.words.top_ngrams[n]
        share = count * (chars + n - 1) / num_chars if count else 0.0  # with the blanks inside
        most = getattr(limits, f"max_top_{n}gram_chars")
        yield from above(f"top_{n}gram", f"top_{n}gram_chars", share, most)
    for n in DUPLICATE_NGRAMS:
        most = getattr(limits, f"max_duplicate_{n}gram_chars")
        if view.words.repeated_ngram_chars[n] > most * num_chars:  # an upper bound
            share = view.words.repeated_chars(n) / num_chars
            yield from above(f"duplicate_{n}gram", f"repeated_{n}gram_chars", share, most)
