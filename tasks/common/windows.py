"""Texts as windows of words, each a handful of hashed word n-grams. Pure: texts in, arrays out.

A classifier that sees a document whole learns how long its examples were. Windows of one size are
compared like with like: a short answer, a long article and a list of links differ in what their
windows say, not in how many there are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from tasks.common.words import WORD, Words, batches, split_words

WINDOW_WORDS = 48
MAX_CHARS = 6_000  # of a document; what a page is shows long before
HASH_BITS = 18
NUM_BUCKETS = 1 << HASH_BITS

STIR = np.uint64(0xFF51AFD7ED558CCD)
PAIR = np.uint64(0x9E3779B97F4A7C15)
NO_WORD = np.uint64(0x2545F4914F6CDD1D)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """The windows of some texts, one text after another; a text without words has none."""

    singles: np.ndarray  # (words,) int64, the bucket of each word
    pairs: np.ndarray  # (words,) int64, the bucket of it and the next one
    starts: np.ndarray  # (windows,) int64, where each window's words begin
    num_words: np.ndarray  # (windows,) int64, 48 to 95, or all of a short text
    text: np.ndarray  # (windows,) int64, which text each window is of

    def matrix(self) -> sp.csr_matrix:
        """(windows, buckets), float32: how often each n-gram is in each window, divided by the root
        of the number of n-grams there. An n-gram that is there twice has two entries, to be added.
        """
        columns = np.stack([self.singles, self.pairs], axis=1).ravel()
        ends = 2 * np.append(self.starts, len(self.singles))
        shares = (1 / np.sqrt(2.0 * self.num_words)).astype(np.float32)
        values = np.repeat(shares, 2 * self.num_words)
        return sp.csr_matrix((values, columns, ends), shape=(len(self.starts), NUM_BUCKETS))


def windows_of(texts: Sequence[str]) -> Iterator[tuple[slice, Windows]]:
    """Cut texts into windows, some texts at a time: which texts, and the windows of those."""
    shortened = [text[:MAX_CHARS].lower() for text in texts]
    for part in batches(shortened):
        yield part, _windows(split_words(shortened[part], WORD), part.stop - part.start)


def _windows(words: Words, num_texts: int) -> Windows:
    count = np.bincount(words.text, minlength=num_texts)
    first = np.cumsum(count) - count
    place = np.arange(len(words.text)) - first[words.text]
    # The last window takes what is left over, so that none is shorter than it need be.
    last = np.maximum(count // WINDOW_WORDS - 1, 0)
    number = np.minimum(place // WINDOW_WORDS, last[words.text])
    is_start = (place % WINDOW_WORDS == 0) & (place // WINDOW_WORDS == number)
    starts = np.flatnonzero(is_start)
    return Windows(
        singles=_bucket(words.hashes),
        pairs=_bucket(words.hashes * PAIR + _next_words(words)),
        starts=starts,
        num_words=np.diff(starts, append=len(words.text)),
        text=words.text[starts],
    )


def _next_words(words: Words) -> np.ndarray:
    following = np.full(len(words.hashes), NO_WORD)
    goes_on = words.text[1:] == words.text[:-1]
    following[:-1][goes_on] = words.hashes[1:][goes_on]
    return following


def _bucket(hashes: np.ndarray) -> np.ndarray:
    """The upper bits of a stirred hash."""
    stirred = (hashes ^ (hashes >> np.uint64(33))) * STIR
    return (stirred >> np.uint64(64 - HASH_BITS)).astype(np.int64)
