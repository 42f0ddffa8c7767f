"""Texts cut into the units of a rule, and keys of their runs. Pure: texts in, arrays out.

Many texts are cut at a time. A key says what a run is, of how many units and within which scope; it
depends on nothing else, so that equal runs have equal keys in every shard. Keys are not compared by
text again: of n different runs n^2 / 2^65 pairs share one by chance, 0.0003 of a hundred million
runs, 27,000 of 10^12 (units are numbered by hashes of 64 bits, which are stirred at every step, so
that no regular text makes it likelier).
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import xxhash

from tasks.common.minhash import Signer, band_keys, fold, shingle
from tasks.common.words import INK, NUM_ASSIGNED, NUM_CODE_POINTS, split_words
from tasks.passages.config import NearParagraphs
from tasks.passages.rules import Rule

STEP = np.uint64(0x9E3779B97F4A7C15)
MIX = np.uint64(0xD6E8FEB86659FD93)
BLANK, LINE_END = 0x20, 0x0A
TAIL_LETTERS = 12  # at the end of a sentence, by which it is decided whether a segment ends too
PARAGRAPH_BREAK = re.compile(r"\n\s*\n")
# Not one pattern: those that begin with a choice are searched many times slower.
SENTENCE_ENDS = (
    re.compile(r"""[.!?…]["')\]”’»]*\s"""),
    re.compile(r"[。！？][”’」』）]*"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """The units of some texts, in order, one text after another; blank ones are none."""

    text: np.ndarray  # int64, the index of the text that each is in
    starts: np.ndarray  # int64, code points from the text's beginning, blanks around it left out
    ends: np.ndarray  # int64
    hashes: np.ndarray  # uint64, equal where units are; 0 where nobody asked


def split(texts: Sequence[str], rule: Rule, *, with_hashes: bool = True) -> Units:
    """Cut each text into the rule's units."""
    if rule.unit == "word":
        words = split_words(texts, INK, with_hashes=with_hashes, unspaced=True)
        ends = words.starts + words.chars
        return Units(text=words.text, starts=words.starts, ends=ends, hashes=words.hashes)
    pieces = _Pieces(texts, rule.unit)
    hashes = np.zeros(len(pieces.starts), np.uint64)
    if with_hashes and not rule.near:
        hashes = pieces.hashes(folded=rule.is_folded)
    shifts = pieces.text_starts[pieces.text]
    return Units(
        text=pieces.text,
        starts=pieces.starts - shifts,
        ends=pieces.ends - shifts,
        hashes=hashes,
    )


def run_keys(
    texts: Sequence[str], units: Units, rule: Rule, scopes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The keys of all runs of units within a text, and the unit that each begins with.

    Args:
        texts: those that were split.
        units: their units, with hashes.
        rule: how many units a run has, and which units are left alone.
        scopes: uint64, for each text a number for where a run must come again.
    """
    if rule.near:
        keys, first = _near_keys(texts, units, rule.near)
    else:
        count = max(0, len(units.text) - rule.num_units + 1)
        is_run = units.text[:count] == units.text[len(units.text) - count :]
        if rule.min_chars:
            is_run &= units.ends[:count] - units.starts[:count] >= rule.min_chars
        if rule.is_folded:
            is_run &= units.hashes[:count] != 0
        first = np.flatnonzero(is_run)
        keys = _hash_runs(units.hashes, rule.num_units)[first]
    return _stir(keys ^ scopes[units.text[first]]) * STEP, first


def _hash_runs(hashes: np.ndarray, num_units: int) -> np.ndarray:
    """A number for each run of units, put together from runs of 1, 2, 4, 8 … units."""
    count = max(0, len(hashes) - num_units + 1)
    keys = np.zeros(count, np.uint64)
    done, width, power = 0, 1, hashes
    while True:
        if num_units & width:
            keys = _stir(keys) * STEP + _stir(power[done : done + count])
            done += width
        if done == num_units:
            return keys
        power = _stir(power[:-width]) * STEP + power[width:]
        width *= 2


def _stir(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(32))) * MIX
    return values ^ (values >> np.uint64(29))


def _near_keys(
    texts: Sequence[str], units: Units, near: NearParagraphs
) -> tuple[np.ndarray, np.ndarray]:
    """Keys of bands of MinHash signatures: one a band of each paragraph that is long enough."""
    paragraphs = [
        texts[text][start:end]
        for text, start, end in zip(
            units.text.tolist(), units.starts.tolist(), units.ends.tolist(), strict=True
        )
    ]
    shingles = shingle(fold(paragraphs), near.ngram_words)
    min_shingles = max(1, near.min_words - near.ngram_words + 1)
    is_long = np.bincount(shingles.text, minlength=len(paragraphs)) >= min_shingles
    signer = _signer(near.num_bands * near.rows_per_band, near.seed)
    signed, signatures = signer.sign(shingles)
    lines = np.split(signatures.T, near.num_bands)
    bands = np.stack([_stir(band_keys(band)) for band in lines], axis=1)
    bands += np.arange(near.num_bands, dtype=np.uint64)
    keep = is_long[signed]
    return bands[keep].ravel(), np.repeat(signed[keep], near.num_bands)


@cache
def _signer(num_permutations: int, seed: int) -> Signer:
    return Signer(num_permutations, seed)


class _Pieces:
    """Lines, paragraphs, sentences or segments of texts that are laid end to end."""

    def __init__(self, texts: Sequence[str], unit: str) -> None:
        self._joined = "\n".join(texts)
        self._codes = np.frombuffer(self._joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        self.text_starts = np.cumsum([0, *(len(text) + 1 for text in texts[:-1])])
        ends = np.union1d(self._inner_ends(unit), [*self.text_starts, len(self._codes)])
        ink = np.flatnonzero(_plain()[self._codes] != BLANK)
        firsts = np.searchsorted(ink, ends)
        firsts, lasts = firsts[:-1], firsts[1:] - 1
        is_blank = firsts > lasts
        self.starts = ink[firsts[~is_blank]]
        self.ends = ink[lasts[~is_blank]] + 1
        self.text = np.searchsorted(self.text_starts, self.starts, "right") - 1

    def hashes(self, *, folded: bool) -> np.ndarray:
        """A number for each piece; 0 for one of which folding leaves nothing."""
        codes, places = self._folded() if folded else self._spaced()
        return _numbers(codes, places[self.starts], places[self.ends])

    def _inner_ends(self, unit: str) -> np.ndarray:
        if unit == "line":
            return np.flatnonzero(self._codes == LINE_END) + 1
        if unit == "paragraph":
            return self._matches(PARAGRAPH_BREAK)
        ends = np.unique(np.concatenate([self._matches(end) for end in SENTENCE_ENDS]))
        if unit == "segment":
            return self._segment_ends(ends)
        return np.union1d(ends, np.flatnonzero(self._codes == LINE_END) + 1)

    def _matches(self, pattern: re.Pattern[str]) -> np.ndarray:
        return np.fromiter((m.end() for m in pattern.finditer(self._joined)), np.int64)

    def _segment_ends(self, ends: np.ndarray) -> np.ndarray:
        """Sentences whose last letters are among those that end a segment, one of four."""
        codes, places = self._folded()
        text_starts = self.text_starts[np.searchsorted(self.text_starts, ends, "left") - 1]
        tails = np.maximum(places[ends] - TAIL_LETTERS, places[text_starts])
        return ends[_numbers(codes, tails, places[ends]) % 4 == 0]

    def _folded(self) -> tuple[np.ndarray, np.ndarray]:
        """What counts where case, digits and punctuation do not, and where each code point is."""
        codes = _folding()[self._codes]
        return _kept(codes, codes > 0)

    def _spaced(self) -> tuple[np.ndarray, np.ndarray]:
        """The same where only the kind and number of blanks does not count."""
        codes = _plain()[self._codes]
        is_ink = codes != BLANK
        return _kept(codes, is_ink | np.concatenate([[False], is_ink[:-1]])[: len(is_ink)])


def _kept(codes: np.ndarray, is_kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    places = np.zeros(len(codes) + 1, np.int64)
    np.cumsum(is_kept, out=places[1:])
    return codes[is_kept], places


def _numbers(codes: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The number of each stretch of code points, 0 for an empty one."""
    content = memoryview(codes.tobytes())
    return np.fromiter(
        (
            xxhash.xxh3_64_intdigest(content[start:end]) if start < end else 0
            for start, end in zip((starts * 4).tolist(), (ends * 4).tolist(), strict=True)
        ),
        np.uint64,
        len(starts),
    )


@cache
def _plain() -> np.ndarray:
    """Every code point as it is, all blanks as one."""
    table = np.arange(NUM_CODE_POINTS, dtype=np.uint32)
    table[[code for code in range(NUM_ASSIGNED) if chr(code).isspace()]] = BLANK
    return table


@cache
def _folding() -> np.ndarray:
    """Small letters, digits as 0, and 0 for what goes: punctuation, blanks (as CCNet does)."""
    table = np.arange(NUM_CODE_POINTS, dtype=np.uint32)
    for code in range(NUM_ASSIGNED):
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Nd":
            table[code] = ord("0")
        elif category[0] in "PZ" or character.isspace():
            table[code] = 0
        elif category[0] == "L":
            table[code] = ord(character.lower()[0])
    return table
