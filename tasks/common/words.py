"""Texts split into words, many texts at a time, without a Python object for any word.

Pure: texts in, arrays out. Code points are looked up in a table of kinds, and a word is a stretch
of one kind. Its number is a polynomial in its code points, modulo 2^64, read off running sums; it
depends on the word alone, so that equal words have equal numbers in every text, run and machine.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

# Kinds of code points, with what str and re say of the same.
INK = 1  # not str.isspace()
WORD = 2  # \w
ALNUM = 4  # str.isalnum()
ALPHA = 8  # str.isalpha()
UNSPACED = 16  # of a script that puts no blanks between its words
MARK = 32  # belongs to the character before it
NUM_CODE_POINTS = 0x110000
NUM_ASSIGNED = 0x33480  # what comes above is private, unassigned or invisible: ink and no more

BASE = np.uint64(0x9E3779B97F4A7C15)
INVERSE = np.uint64(pow(int(BASE), -1, 1 << 64))
MIX = np.uint64(0xD6E8FEB86659FD93)
BLOCK_CHARS = 1 << 16  # stays in a processor's cache; a longer word makes a longer block
BATCH_CHARS = 200_000  # so do arrays with an entry for each word of so much text
BLANK = re.compile(r"\s")
UNSPACED_BLOCKS = (  # first and last code point, Unicode 16
    *((0x0E00, 0x0EFF), (0x0F00, 0x0FFF), (0x1000, 0x109F)),  # Thai and Lao, Tibetan, Myanmar
    *((0x1780, 0x17FF), (0x1950, 0x19DF), (0x1A20, 0x1AAF)),  # Khmer, Tai Le to New Tai Lue, Tham
    *((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3040, 0x312F)),  # radicals, kana and Bopomofo
    *((0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF)),  # Han, with what
    *((0xA9E0, 0xA9FF), (0xAA60, 0xAADF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F)),  # is between it
    *((0x1B000, 0x1B16F), (0x20000, 0x3347F)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words of some texts, in order, one text after another."""

    hashes: np.ndarray  # uint64
    starts: np.ndarray  # int64, where the word begins in its text, in code points
    chars: np.ndarray  # int64, length in code points
    kinds: np.ndarray  # uint8, every kind that occurs in the word
    text: np.ndarray  # int64, the index of the text that the word is in


def split_words(
    texts: Sequence[str], kind: int, *, with_hashes: bool = True, unspaced: bool = False
) -> Words:
    """Find the words of each text: its longest stretches of ``kind``.

    Args:
        texts: any texts.
        kind: INK for what ``text.split()`` finds, WORD for what ``re.findall(r"\\w+", text)`` does.
        with_hashes: who only counts words saves half of the time without; all are 0 then.
        unspaced: whether each character of a script without blanks (Chinese, Japanese, Thai …) is
            a word of its own, together with its marks; else what is between two blanks is one.
    """
    blocks = list(_blocks(texts)) or [[]]
    parts = [_split(pieces, kind, with_hashes, unspaced) for pieces in blocks]
    return Words(
        starts=np.concatenate([part.starts for part in parts]),
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


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of a text."""

    text: int  # the text's index
    start: int  # where the piece begins in it
    string: str


def _split(pieces: Sequence[_Piece], kind: int, with_hashes: bool, unspaced: bool) -> Words:
    joined = "\n".join(piece.string for piece in pieces)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = _kinds()[codes]
    starts, ends = _bounds(kinds, kind, unspaced)
    here = np.cumsum([0, *(len(piece.string) + 1 for piece in pieces[:-1])])
    of = np.searchsorted(here, starts, "right") - 1
    shifts = np.array([piece.start for piece in pieces], int) - here[: len(pieces)]
    texts = np.array([piece.text for piece in pieces], int)
    return Words(
        hashes=_hash(codes, starts, ends) if with_hashes else np.zeros(len(starts), np.uint64),
        starts=starts + shifts[of],
        chars=ends - starts,
        kinds=np.bitwise_or.reduceat(kinds, starts) if len(starts) else kinds[:0],
        text=texts[of],
    )


def _bounds(kinds: np.ndarray, kind: int, unspaced: bool) -> tuple[np.ndarray, np.ndarray]:
    """Where words begin and end."""
    is_in = (kinds & kind) > 0
    if not (unspaced and (kinds & UNSPACED).any()):
        edges = np.flatnonzero(np.diff(is_in, prepend=False, append=False))
        return edges[::2], edges[1::2]
    is_mark = (kinds & MARK) > 0
    base = np.maximum.accumulate(np.where(is_mark, 0, np.arange(len(kinds))))
    is_single = (kinds[base] & UNSPACED) > 0
    goes_on = is_in[1:] & is_in[:-1] & (is_mark[1:] | ~(is_single[1:] | is_single[:-1]))
    starts = np.flatnonzero(is_in & ~np.concatenate([[False], goes_on]))
    ends = np.flatnonzero(is_in & ~np.concatenate([goes_on, [False]])) + 1
    return starts, ends


def _hash(codes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The number of each word: the sum of its code points times rising powers of BASE, stirred."""
    powers, inverses = _powers(len(codes))
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(codes * powers[: len(codes)], out=sums[1:])
    hashes = (sums[ends] - sums[starts]) * inverses[starts]
    hashes = (hashes ^ (ends - starts).astype(np.uint64)) * MIX
    return hashes ^ (hashes >> np.uint64(32))


def _blocks(texts: Sequence[str]) -> Iterator[list[_Piece]]:
    """Pieces of texts that make some BLOCK_CHARS together."""
    pieces: list[_Piece] = []
    num_chars = 0
    for index, text in enumerate(texts):
        for piece in _pieces(index, text):
            pieces.append(piece)
            num_chars += len(piece.string) + 1
            if num_chars >= BLOCK_CHARS:
                yield pieces
                pieces, num_chars = [], 0
    if pieces:
        yield pieces


def _pieces(index: int, text: str) -> Iterator[_Piece]:
    """A text, cut at blanks if it is long."""
    start = 0
    while len(text) - start > BLOCK_CHARS:
        blank = BLANK.search(text, start + BLOCK_CHARS)
        if not blank:
            break
        yield _Piece(index, start, text[start : blank.start()])
        start = blank.end()
    yield _Piece(index, start, text[start:] if start else text)


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
    is_mark = where(lambda character: unicodedata.category(character).startswith("M"))
    for first, last in UNSPACED_BLOCKS:
        assigned[first : last + 1][~is_mark[first : last + 1]] |= UNSPACED
    assigned[is_mark] |= MARK
    return kinds


def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """At least the first ``count`` powers of BASE and of its inverse."""
    usual = 2 * BLOCK_CHARS
    return _usual_powers(usual) if count <= usual else (power(BASE, count), power(INVERSE, count))


@cache
def _usual_powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    return power(BASE, count), power(INVERSE, count)


def power(base: np.uint64, count: int) -> np.ndarray:
    """The first ``count`` powers of ``base``, modulo 2^64."""
    factors = np.full(count, base)
    factors[:1] = 1
    return np.multiply.accumulate(factors)
