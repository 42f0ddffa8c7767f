"""A document measured once: its words, lines and repeats, for all rules to share.

Pure: text in, numbers out. Words are what stands between blanks and holds a letter or a digit, as
in Gopher's counts; a regular expression does in microseconds what a linguistic tokenizer spends
most of a filter's time on.
"""

import re
from collections import Counter
from functools import cached_property

import numpy as np

EDGES = re.compile(r"^[\W_]+|[\W_]+$")
PARAGRAPH_BREAK = re.compile(r"\n\s*\n")
SENTENCE_END = re.compile(r"[.!?][\"')\]”’]*(?:\s|$)")
LETTER = re.compile(r"[^\W\d_]")
NGRAM_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no position is multiplied away


class Measures:
    """What the rules want to know of one text; each number is computed when first asked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = text.split()
        self.words = [token for token in self.tokens if not _is_symbol(token)]
        self.lines = [line.strip() for line in text.split("\n") if line.strip()]

    @cached_property
    def mean_word_chars(self) -> float:
        """Characters a word; 0 for a text without words."""
        return sum(map(len, self.words)) / max(1, len(self.words))

    @cached_property
    def alphabetic_share(self) -> float:
        """Share of all tokens that hold a letter."""
        return sum(map(bool, map(LETTER.search, self.tokens))) / max(1, len(self.tokens))

    @cached_property
    def bare_words(self) -> set[str]:
        """The different words, in lower case and without punctuation around them."""
        return {EDGES.sub("", word).lower() for word in self.words}

    @cached_property
    def num_sentences(self) -> int:
        """Sentences, counted by their ends."""
        return len(SENTENCE_END.findall(self.text))

    def lines_share(self, is_such: "re.Pattern[str]") -> float:
        """Share of lines in which a pattern is found."""
        return sum(map(bool, map(is_such.search, self.lines))) / max(1, len(self.lines))

    @cached_property
    def duplicate_lines(self) -> tuple[float, float]:
        """Share of lines seen before, and of characters in them."""
        return duplicate_shares(self.lines, len(self.text))

    @cached_property
    def duplicate_paragraphs(self) -> tuple[float, float]:
        """Share of paragraphs seen before, and of characters in them."""
        paragraphs = [p.strip() for p in PARAGRAPH_BREAK.split(self.text) if p.strip()]
        return duplicate_shares(paragraphs, len(self.text))

    @cached_property
    def _word_numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """Each word's number (equal words, equal numbers) and length in characters."""
        numbers: dict[str, int] = {}
        ids = [numbers.setdefault(word, len(numbers)) for word in self.words]
        lengths = np.fromiter(map(len, self.words), np.int64, len(self.words))
        mixed = (np.array(ids, np.uint64) + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
        return mixed ^ (mixed >> np.uint64(32)), lengths

    def _ngrams(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Hash and length in characters of each run of ``n`` words."""
        numbers, lengths = self._word_numbers
        count = len(numbers) - n + 1
        hashes = np.zeros(count, np.uint64)
        for offset in range(n):
            hashes = hashes * NGRAM_BASE + numbers[offset : offset + count]
        ends = np.concatenate([[0], np.cumsum(lengths)])
        return hashes, ends[n:] - ends[:-n]

    def top_ngram_share(self, n: int) -> float:
        """Share of the words' characters that the most frequent n-gram takes; 0 if none recurs."""
        if len(self.words) <= n:
            return 0.0
        hashes, chars = self._ngrams(n)
        _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
        top = counts == counts.max()
        if counts.max() < 2:
            return 0.0
        taken = int(counts.max()) * int(chars[first[top]].max())
        return min(1.0, taken / int(self._word_numbers[1].sum()))

    def duplicate_ngram_share(self, n: int) -> float:
        """Share of the words' characters inside n-grams seen before, no character counted twice."""
        if len(self.words) <= n:
            return 0.0
        hashes, _ = self._ngrams(n)
        _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
        seen_before = first[which] < np.arange(len(hashes))
        edges = np.zeros(len(self.words) + 1, np.int64)
        edges[: len(hashes)] += seen_before
        edges[n : n + len(hashes)] -= seen_before
        covered = np.cumsum(edges)[:-1] > 0
        lengths = self._word_numbers[1]
        return float(lengths[covered].sum() / lengths.sum())


def duplicate_shares(pieces: list[str], num_chars: int) -> tuple[float, float]:
    """Share of ``pieces`` that repeat an earlier one, and their share of ``num_chars``."""
    repeats = [(piece, count - 1) for piece, count in Counter(pieces).items() if count > 1]
    num_repeats = sum(count for _, count in repeats)
    repeat_chars = sum(len(piece) * count for piece, count in repeats)
    return num_repeats / max(1, len(pieces)), repeat_chars / max(1, num_chars)


def _is_symbol(token: str) -> bool:
    return not token.isalnum() and not any(map(str.isalnum, token))
