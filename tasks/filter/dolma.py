"""Gopher's rules as Dolma states them (Soldaini et al. 2024, arXiv:2402.00159, section 5.1). Pure.

Where they differ from ``gopher``: the median of words' lengths, bullets are ``*`` and ``-``, stop
words are counted each time, shares of n-grams are of the characters of words, and a short sequence
of words must not be repeated a hundred times on end (they look for it among a tokenizer's tokens).
"""

from collections.abc import Iterator

import numpy as np

from tasks.filter.breach import Breach, above, below, outside
from tasks.filter.gopher import STOP_WORDS
from tasks.filter.lines import ELLIPSES
from tasks.filter.measure import DUPLICATE_NGRAMS, TOP_NGRAMS, Measures
from tasks.filter.thresholds import Dolma
from tasks.filter.view import View

BULLETS = ("*", "-")
MAX_PERIOD_WORDS = 13


def dolma(view: View, limits: Dolma) -> Iterator[Breach]:
    """Which of Dolma's rules a text breaks."""
    words, lines, num_tokens = view.words, view.lines, max(1, view.words.num_tokens)
    least, most = limits.min_words, limits.max_words
    yield from outside("dolma_word_count", "words", words.num_tokens, least, most)
    median = float(np.median(words.chars)) if words.num_tokens else 0.0
    shortest, longest = limits.min_mean_word_chars, limits.max_mean_word_chars
    yield from outside("dolma_word_length", "median_word_chars", median, shortest, longest)
    symbols = (view.text.count("#") + sum(map(view.text.count, ELLIPSES))) / num_tokens
    yield from above("dolma_symbols", "symbols_a_word", symbols, limits.max_symbol_ratio)
    bullets = lines.share_beginning(BULLETS)
    yield from above("dolma_bullet_lines", "bullet_lines", bullets, limits.max_bullet_lines)
    ending = lines.share_ending(ELLIPSES)
    yield from above("dolma_ellipsis_lines", "ellipsis_lines", ending, limits.max_ellipsis_lines)
    alphabetic, least_share = words.alphabetic_share, limits.min_alphabetic_words
    yield from below("dolma_alphabetic_words", "alphabetic", alphabetic, least_share)
    if view.document.language in (None, "en"):
        num_stop_words = sum(len(each.findall(view.text)) for each in STOP_WORDS.values())
        yield from below("dolma_stop_words", "stop_words", num_stop_words, limits.min_stop_words)
    yield from _repetition(view, limits)


def _repetition(view: View, limits: Dolma) -> Iterator[Breach]:
    words = view.words
    share, chars = view.lines.duplicates
    yield from above("dolma_lines", "repeated_lines", share, limits.max_duplicate_lines)
    yield from above("dolma_line_chars", "line_chars", chars, limits.max_duplicate_line_chars)
    num_chars = max(1, words.num_token_chars)
    for n in TOP_NGRAMS:
        count, chars = words.top_ngrams[n]
        most = getattr(limits, f"max_top_{n}gram_chars")
        yield from above(
            f"dolma_top_{n}gram", f"top_{n}gram_chars", count * chars / num_chars, most
        )
    for n in DUPLICATE_NGRAMS:
        most = getattr(limits, f"max_duplicate_{n}gram_chars")
        share = words.repeated_ngram_chars[n] / num_chars
        yield from above(f"dolma_{n}gram", f"repeated_{n}gram_chars", share, most)
    times = longest_repetition(words)
    yield from above("dolma_repetition", "repeats", times, limits.max_repeats - 1)


def longest_repetition(words: Measures) -> int:
    """How often the most repeated sequence of up to 13 words stands one after another; 0 if none.

    Words that equal the one a period before, in a row of k, make k // period + 1 repetitions.
    """
    most = 0
    for period in range(1, min(MAX_PERIOD_WORDS, len(words.hashes) - 1) + 1):
        is_same = words.hashes[period:] == words.hashes[:-period]
        edges = np.flatnonzero(np.diff(is_same, prepend=False, append=False))
        rows = edges[1::2] - edges[::2]
        times = int(rows.max()) // period + 1 if len(rows) else 0
        most = max(most, times if times > 1 else 0)
    return most
