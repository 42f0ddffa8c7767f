"""MinHash signatures (Broder 1997), equal to those of datasketch 2 with the scheme ``affine32``.

Pure: texts in, numbers out. Shingles are runs of lower-case words; a text with fewer words than a
shingle has no shingles and so no signature: it is like nothing, rather than like every other
short text. Some texts are signed together, one permutation after the other, because arrays as long
as a batch are ten times faster than those of one text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xxhash

from tasks.common.words import WORD, run_starts, split_words

SHINGLE_BASE = np.uint64(0x9E3779B97F4A7C15)


def fold(texts: Sequence[str]) -> list[str]:
    """Texts without their letter case, as the functions below want them."""
    return [text.lower() for text in texts]


def exact_key(folded: str) -> bytes:
    """128 bits that folded texts share when they differ in white space only."""
    return xxhash.xxh3_128_digest(" ".join(folded.split()).encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Shingles:
    """The shingles of some texts, one text after another; equal ones of a text may recur."""

    hashes: np.ndarray  # uint32
    text: np.ndarray  # int64, the index of the text that each is from


def shingle(folded: Sequence[str], ngram_words: int) -> Shingles:
    """Hash each run of ``ngram_words`` words (``\\w+``) of each text."""
    words = split_words(folded, WORD)
    count = max(0, len(words.hashes) - ngram_words + 1)
    rolled = np.zeros(count, np.uint64)
    for offset in range(ngram_words):
        rolled = rolled * SHINGLE_BASE + words.hashes[offset : offset + count]
    is_whole = words.text[:count] == words.text[len(words.text) - count :]
    hashes = (rolled[is_whole] >> np.uint64(32)).astype(np.uint32)
    return Shingles(hashes=hashes, text=words.text[:count][is_whole])


class Signer:
    """Makes signatures under one set of permutations, those of ``datasketch.MinHash``."""

    def __init__(self, num_permutations: int, seed: int) -> None:
        draw = np.random.RandomState(seed)
        self._a = 2 * draw.randint(0, 1 << 31, num_permutations, np.uint32) + np.uint32(1)
        self._b = draw.randint(0, 1 << 32, num_permutations, np.uint32)
        self.num_permutations = num_permutations

    def sign(self, shingles: Shingles) -> tuple[np.ndarray, np.ndarray]:
        """The least hash of each text's shingles under each permutation.

        Returns:
            The texts that have shingles, and a line of uint32 for each of them.
        """
        starts = run_starts(shingles.text)
        signatures = np.empty((self.num_permutations, len(starts)), np.uint32)
        if len(starts):
            mixed = _murmur_finish(shingles.hashes)
            permuted = np.empty_like(mixed)
            for a, b, line in zip(self._a, self._b, signatures, strict=True):
                np.multiply(mixed, a, out=permuted)
                np.add(permuted, b, out=permuted)
                np.minimum.reduceat(permuted, starts, out=line)
        return shingles.text[starts], signatures.T


def _murmur_finish(values: np.ndarray) -> np.ndarray:
    """MurmurHash3's 32-bit finalizer, with which datasketch 2 mixes its inputs."""
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


def band_keys(lines: np.ndarray) -> np.ndarray:
    """One 64-bit key for each column of a band's lines: equal where all lines are equal.

    Args:
        lines: the hashes under each permutation of the band, a line each.
    """
    keys = np.zeros(lines.shape[1], np.uint64)
    for line in lines:
        keys = (keys ^ (keys >> np.uint64(29))) * SHINGLE_BASE + line
    return keys ^ (keys >> np.uint64(32))
