"""Texts split into words, many texts at a time, without a Python object for any word.

Pure: texts in, arrays out. Code points are looked up in a table of kinds, and a word is a stretch
of one kind. Its number is a polynomial in its code points, modulo 2^64, read off running sums; it
depends on the word alone, so that equal words have equal numbers in every text, run and machine.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

# Kinds of code points, with what str and re say of the same.
INK = 1  # not str.isspace()
WORD = 2  # \w
ALNUM = 4  # str.isalnum()
ALPHA = 8  # str.isalpha()
NUM_CODE_POINTS = 0x110000
NUM_ASSIGNED = 0x33480  # what comes above is private, unassigned or invisible: ink and no more

BASE = np.uint64(0x9E3779B97F4A7C15)
INVERSE = np.uint64(pow(int(BASE), -1, 1 << 64))
MIX = np.uint64(0xD6E8FEB86659FD93)
BLOCK_CHARS = 1 << 16  # stays in a processor's cache; a longer word makes a longer block
BATCH_CHARS = 200_000  # so do arrays with an entry for each word of so much text
BLANK = re.compile(r"\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words of some texts, in order, one text after another."""

    hashes: np.ndarray  # uint64
    chars: np.ndarray  # int64, length in code points
    kinds: np.ndarray  # uint8, every kind that occurs in the word
    text: np.ndarray  # int64, the index of the text that the word is in


def split_words(texts: Sequence[str], kind: int, *, with_hashes: bool = True) -> Words:
    """Find the words of each text: its longest stretches of ``kind``.

    Args:
        texts: any texts.
        kind: INK for what ``text.split()`` finds, WORD for what ``re.findall(r"\\w+", text)`` does.
        with_hashes: who only counts words saves half of the time without; all are 0 then.
    """
    blocks = list(_blocks(texts)) or [([], [])]
    parts = [_split(pieces, np.array(of, int), kind, with_hashes) for of, pieces in blocks]
    return Words(
        hashes=np.concatenate([part.hashes for part in parts]),
        chars=np.concatenate([part.chars for part in parts]),
        kinds=np.concatenate([part.kinds for part in parts]),
        text=np.concatenate([part.text for part in parts]),
    )


def batches(texts: Sequence[str]) -> Iterator[slice]:
    """Cut texts into runs that are worth an array operation and not too long for one."""
    start = num_chars = 0
    for index, text in enumerate(texts):
        num_chars += len(text)
        if num_chars >= BATCH_CHARS:
            yield slice(start, index + 1)
            start, num_chars = index + 1, 0
    if start < len(texts):
        yield slice(start, len(texts))


def run_starts(values: np.ndarray) -> np.ndarray:
    """Where each run of equal values begins."""
    is_start = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=is_start[1:])
    return np.flatnonzero(is_start)


def _split(pieces: Sequence[str], texts: np.ndarray, kind: int, with_hashes: bool) -> Words:
    """Find the words of pieces, each of the text that ``texts`` says."""
    codes = np.frombuffer("\n".join(pieces).encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _kinds()[codes]
    edges = np.flatnonzero(np.diff((kinds & kind) > 0, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    piece_starts = np.cumsum([0, *(len(piece) + 1 for piece in pieces[:-1])])
    return Words(
        hashes=_hash(codes, starts, ends) if with_hashes else np.zeros(len(starts), np.uint64),
        chars=ends - starts,
        kinds=np.bitwise_or.reduceat(kinds, starts) if len(starts) else kinds[:0],
        text=texts[np.searchsorted(piece_starts, starts, "right") - 1],
    )


def _hash(codes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The number of each word: the sum of its code points times rising powers of BASE, stirred."""
    powers, inverses = _powers(len(codes))
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(codes * powers[: len(codes)], out=sums[1:])
    hashes = (sums[ends] - sums[starts]) * inverses[starts]
    hashes = (hashes ^ (ends - starts).astype(np.uint64)) * MIX
    return hashes ^ (hashes >> np.uint64(32))


def _blocks(texts: Sequence[str]) -> Iterator[tuple[list[int], list[str]]]:
    """Pieces of texts that make some BLOCK_CHARS together, with their texts' indices."""
    indices: list[int] = []
    pieces: list[str] = []
    num_chars = 0
    for index, text in enumerate(texts):
        for piece in _pieces(text):
            indices.append(index)
            pieces.append(piece)
            num_chars += len(piece) + 1
            if num_chars >= BLOCK_CHARS:
                yield indices, pieces
                indices, pieces, num_chars = [], [], 0
    if pieces:
        yield indices, pieces


def _pieces(text: str) -> Iterator[str]:
    """A text, cut at blanks if it is long."""
    start = 0
    while len(text) - start > BLOCK_CHARS:
        blank = BLANK.search(text, start + BLOCK_CHARS)
        if not blank:
            break
        yield text[start : blank.start()]
        start = blank.end()
    yield text[start:] if start else text


@cache
def _kinds() -> np.ndarray:
    """The kinds of every code point, as bits."""
    characters = list(map(chr, range(NUM_ASSIGNED)))

    def where(test: Callable[[str], bool]) -> np.ndarray:
        return np.fromiter(map(test, characters), bool, NUM_ASSIGNED)

    is_alnum = where(str.isalnum)
    kinds = np.full(NUM_CODE_POINTS, INK, np.uint8)
    assigned = kinds[:NUM_ASSIGNED]
    assigned[where(str.isspace)] = 0
    assigned[is_alnum] |= ALNUM | WORD
    assigned[where(str.isalpha)] |= ALPHA
    assigned[ord("_")] |= WORD
    return kinds


def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """At least the first ``count`` powers of BASE and of its inverse."""
    usual = 2 * BLOCK_CHARS
    return _usual_powers(usual) if count <= usual else (_power(BASE, count), _power(INVERSE, count))


@cache
def _usual_powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    return _power(BASE, count), _power(INVERSE, count)


def _power(base: np.uint64, count: int) -> np.ndarray:
    factors = np.full(count, base)
    factors[:1] = 1
    return np.multiply.accumulate(factors)
