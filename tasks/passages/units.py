"""Texts cut into the units of a rule, and keys of their runs. Pure: texts in, arrays out.

Many texts are cut at a time. A key says what a run is, of how many units and within which scope; it
depends on nothing else, so that equal runs have equal keys in every shard. Of n different runs two
share a key of 64 bits with a probability of at most n^2 / 2^65 (units are numbered by hashes of 64
bits, which are stirred at every step, so that no regular text makes it likelier).
"""

import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import xxhash

from tasks.common.minhash import Signer, band_keys, shingle
from tasks.common.words import INK, NUM_ASSIGNED, split_words
from tasks.passages.config import NearParagraphs
from tasks.passages.rules import Rule

STEP = np.uint64(0x9E3779B97F4A7C15)
MIX = np.uint64(0xD6E8FEB86659FD93)
TAIL_CHARS, TAIL_LETTERS = 40, 12  # at the end of a sentence: what is looked at for segments
PARAGRAPH_BREAK = re.compile(r"\n\s*\n")
# Not one pattern: those that begin with a choice are searched many times slower.
LINE_END = re.compile(r"\n")
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
    found = [_pieces(text, rule.unit) for text in texts]
    starts = np.fromiter((s for pieces in found for s, _ in pieces), np.int64)
    ends = np.fromiter((e for pieces in found for _, e in pieces), np.int64)
    hashes = np.zeros(len(starts), np.uint64)
    if with_hashes and not rule.near:
        number = _folded_hash if rule.is_folded else _plain_hash
        hashes = np.fromiter(
            (number(t[s:e]) for t, pieces in zip(texts, found, strict=True) for s, e in pieces),
            np.uint64,
        )
    of = np.repeat(np.arange(len(found)), list(map(len, found)))
    return Units(text=of, starts=starts, ends=ends, hashes=hashes)


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
    shingles = shingle(paragraphs, near.ngram_words)
    min_shingles = max(1, near.min_words - near.ngram_words + 1)
    is_long = np.bincount(shingles.text, minlength=len(paragraphs)) >= min_shingles
    signer = _signer(near.num_bands * near.rows_per_band, near.seed)
    signed, signatures = signer.sign(shingles)
    bands = band_keys(signatures, near.num_bands, near.rows_per_band)
    bands = _stir(bands) + np.arange(near.num_bands, dtype=np.uint64)
    keep = is_long[signed]
    return bands[keep].ravel(), np.repeat(signed[keep], near.num_bands)


@cache
def _signer(num_permutations: int, seed: int) -> Signer:
    return Signer(num_permutations, seed)


def _pieces(text: str, unit: str) -> list[tuple[int, int]]:
    """Where lines, paragraphs or sentences begin and end, without the blanks around them."""
    pieces = []
    for start, end in itertools.pairwise(_borders(text, unit)):
        piece = text[start:end]
        if stripped := piece.strip():
            begin = start + (len(piece) - len(piece.lstrip()) if piece[0].isspace() else 0)
            pieces.append((begin, begin + len(stripped)))
    return pieces


def _borders(text: str, unit: str) -> list[int]:
    if unit == "line":
        ends: Iterator[int] = itertools.accumulate(len(line) + 1 for line in text.split("\n"))
    elif unit == "paragraph":
        ends = itertools.chain((m.end() for m in PARAGRAPH_BREAK.finditer(text)), [len(text)])
    else:
        found = {m.end() for pattern in SENTENCE_ENDS for m in pattern.finditer(text)}
        if unit == "segment":
            found = {end for end in found if _ends_segment(text[max(0, end - TAIL_CHARS) : end])}
        else:
            found.update(m.end() for m in LINE_END.finditer(text))
        ends = iter(sorted(found | {len(text)}))
    return [0, *ends]


def _ends_segment(tail: str) -> bool:
    """Whether the last letters of a sentence are among those that end a segment, one of four."""
    return _number(tail.lower().translate(_folding())[-TAIL_LETTERS:]) % 4 == 0


def _plain_hash(piece: str) -> int:
    return _number(" ".join(piece.split()))


def _folded_hash(piece: str) -> int:
    """0 for what is nothing but punctuation: it parts units and is none."""
    folded = piece.lower().translate(_folding())
    return _number(folded) if folded else 0


def _number(text: str) -> int:
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


@cache
def _folding() -> dict[int, str | None]:
    """Digits become 0; punctuation and blanks go (CCNet's normalisation, accents left)."""
    table: dict[int, str | None] = {}
    for code in range(NUM_ASSIGNED):
        category = unicodedata.category(character := chr(code))
        if category == "Nd":
            table[code] = "0"
        elif category[0] in "PZ" or character.isspace():
            table[code] = None
    return table
