"""Words of texts in one spelling, and numbers for every n words in a row.

Pure: texts in, arrays out. One spelling: lower case, punctuation and markup left out, thousands
without their commas, so that neither line ends nor emphasis nor the form of a number hides what is
the same. A word is a stretch of letters and digits.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tasks.common.words import ALNUM, ALPHA, power, split_words

BASE = np.uint64(0xB492B66FBE98F273)  # odd, so that it can be divided by
INVERSE = np.uint64(pow(int(BASE), -1, 1 << 64))
MIX = np.uint64(0x9FB21C651E98DF25)
BLOCK_WORDS = 1 << 16
THOUSANDS = re.compile(r",(?<=\d,)(?=\d{3}(?!\d))")  # begins with what is searched fast
WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextWords:
    """The words of some texts, one text after another: a number for each, and its text's index."""

    hashes: np.ndarray  # uint64
    text: np.ndarray  # int64
    has_letter: np.ndarray  # bool


def words_of(texts: Sequence[str]) -> TextWords:
    """The words of every text."""
    words = split_words([_spelled(text) for text in texts], ALNUM)
    return TextWords(hashes=words.hashes, text=words.text, has_letter=(words.kinds & ALPHA) > 0)


def word_spans(text: str) -> list[tuple[int, int]]:
    """Where in ``text`` each of its words stands: as many as ``words_of`` finds."""
    lowered = _lowered(text)
    commas = [match.start() for match in THOUSANDS.finditer(lowered)]
    plain = THOUSANDS.sub("", lowered) if commas else lowered
    spans = [match.span() for match in WORD.finditer(plain)]
    if not commas:
        return spans
    before = np.array(commas) - np.arange(len(commas))  # in ``plain``: where a comma was left out
    starts, ends = np.array(spans).T
    starts = starts + np.searchsorted(before, starts, "right")
    ends = ends + np.searchsorted(before, ends, "left")
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _spelled(text: str) -> str:
    lowered = _lowered(text)
    return THOUSANDS.sub("", lowered) if "," in lowered else lowered


def _lowered(text: str) -> str:
    """Lower case, a character for a character."""
    lowered = text.lower()
    if len(lowered) == len(text):
        return lowered
    return "".join(low if len(low := sign.lower()) == 1 else sign for sign in text)


class Grams:
    """Numbers for the n-grams of some words, of any length, off one running sum."""

    def __init__(self, words: TextWords) -> None:
        self._words = words
        count = len(words.hashes)
        self._powers, self._inverses = _powers(count + 1)
        self._sums = np.zeros(count + 1, np.uint64)
        np.cumsum(words.hashes * self._powers[:count], out=self._sums[1:])

    def starts(self, length: int) -> np.ndarray:
        """Where an n-gram of ``length`` words begins that lies within one text."""
        text = self._words.text
        return np.flatnonzero(text[: max(0, len(text) - length + 1)] == text[length - 1 :])

    def numbers(self, starts: np.ndarray, length: int) -> np.ndarray:
        """A number for each n-gram of ``length`` words that begins there."""
        grams = (self._sums[starts + length] - self._sums[starts]) * self._inverses[starts]
        grams = (grams ^ np.uint64(length)) * MIX
        stirred: np.ndarray = grams ^ (grams >> np.uint64(29))
        return stirred


def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    return _powers_up_to(-(-count // BLOCK_WORDS) * BLOCK_WORDS)


@lru_cache(maxsize=4)
def _powers_up_to(count: int) -> tuple[np.ndarray, np.ndarray]:
    return power(BASE, count), power(INVERSE, count)
