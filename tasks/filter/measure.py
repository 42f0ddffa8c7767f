"""The words of some documents, measured together: counts and repeats, for all rules to share.

Pure: texts in, numbers out. Words are what stands between blanks and holds a letter or a digit, as
in Gopher's counts. All sums are taken over many documents at once, because a call for each would
cost more than its sums.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.common.words import ALNUM, ALPHA, INK, run_starts, split_words

TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)
NGRAM_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no position is multiplied away
DOCUMENT_BASE = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What the rules want to know of one document's words; shares of 0 for a text without words."""

    num_words: int
    mean_word_chars: float
    alphabetic_share: float  # of all that stands between blanks: what holds a letter
    top_ngram_shares: dict[int, float]  # of the words' characters: what the commonest n-gram takes
    duplicate_ngram_shares: dict[int, float]  # … what stands in n-grams seen before, counted once


def measure(texts: Sequence[str], *, with_ngrams: bool = True) -> list[Measures]:
    """Measure each text; without n-grams their shares are left out."""
    tokens = split_words(texts, INK, with_hashes=with_ngrams)
    is_word = tokens.kinds & ALNUM > 0
    words = _Words(
        hashes=tokens.hashes[is_word], chars=tokens.chars[is_word], text=tokens.text[is_word]
    )
    num_texts = len(texts)
    num_tokens = np.bincount(tokens.text, minlength=num_texts)
    num_alphabetic = np.bincount(tokens.text[tokens.kinds & ALPHA > 0], minlength=num_texts)
    num_words = np.bincount(words.text, minlength=num_texts)
    num_chars = _sums(words.chars, words.text, num_texts)
    top, duplicate = {}, {}
    for repeats in _repeats(words) if with_ngrams else ():
        if repeats.n in TOP_NGRAMS:
            taken = _top_chars(repeats, words, num_texts)
            top[repeats.n] = np.minimum(1.0, taken / np.maximum(1, num_chars))
        if repeats.n in DUPLICATE_NGRAMS:
            taken = _duplicate_chars(repeats, words, num_texts)
            duplicate[repeats.n] = taken / np.maximum(1, num_chars)
    return [
        Measures(
            num_words=int(num_words[at]),
            mean_word_chars=float(num_chars[at] / max(1, num_words[at])),
            alphabetic_share=float(num_alphabetic[at] / max(1, num_tokens[at])),
            top_ngram_shares={n: float(shares[at]) for n, shares in top.items()},
            duplicate_ngram_shares={n: float(shares[at]) for n, shares in duplicate.items()},
        )
        for at in range(num_texts)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """All words, one entry each: a number for it, its characters, the index of its text."""

    hashes: np.ndarray
    chars: np.ndarray
    text: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repeats:
    """The n-grams of one length that occur more than once in their text, group by group."""

    n: int
    starts: np.ndarray  # the word that each begins with
    sizes: np.ndarray  # how many make a group
    first: np.ndarray  # where the first of each group begins


def _repeats(words: _Words) -> Iterator[_Repeats]:
    """For each length from 2 to the longest: only where n - 1 words recur can n words do so."""
    count = len(words.hashes)
    starts = np.arange(count)
    grams = words.hashes ^ (words.text.astype(np.uint64) * DOCUMENT_BASE)
    for n in range(2, max(DUPLICATE_NGRAMS) + 1):
        ends = np.minimum(starts + (n - 1), count - 1)
        fits = (starts + n <= count) & (words.text[ends] == words.text[starts])
        starts = starts[fits]
        grams = grams[fits] * NGRAM_BASE + words.hashes[ends[fits]]
        order = np.argsort(grams)
        heads = run_starts(grams[order])
        sizes = np.diff(heads, append=len(order))
        order = order[np.repeat(sizes > 1, sizes)]
        sizes = sizes[sizes > 1]
        found = starts[order]
        first = np.minimum.reduceat(found, np.cumsum(sizes) - sizes) if len(sizes) else sizes
        yield _Repeats(n=n, starts=found, sizes=sizes, first=first)
        starts, grams = found, grams[order]


def _top_chars(repeats: _Repeats, words: _Words, num_texts: int) -> np.ndarray:
    """Characters that each text's most frequent n-gram takes; the longest, if several are."""
    ends = np.cumsum(np.append(0, words.chars))
    chars = ends[repeats.first + repeats.n] - ends[repeats.first]
    text = words.text[repeats.first]
    most = np.zeros(num_texts, np.int64)
    np.maximum.at(most, text, repeats.sizes)
    is_most = repeats.sizes == most[text]
    longest = np.zeros(num_texts, np.int64)
    np.maximum.at(longest, text[is_most], chars[is_most])
    return most * longest


def _duplicate_chars(repeats: _Repeats, words: _Words, num_texts: int) -> np.ndarray:
    """Characters of each text inside n-grams seen before."""
    later = repeats.starts[repeats.starts != np.repeat(repeats.first, repeats.sizes)]
    edges = np.zeros(len(words.chars) + 1, np.int64)
    edges[later] += 1
    edges[later + repeats.n] -= 1
    is_covered = np.cumsum(edges)[:-1] > 0
    return _sums(words.chars[is_covered], words.text[is_covered], num_texts)


def _sums(values: np.ndarray, text: np.ndarray, num_texts: int) -> np.ndarray:
    """The sum of ``values`` in each text; exact, because below 2^53."""
    return np.bincount(text, values, num_texts)
