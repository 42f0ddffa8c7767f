"""MinHash signatures (Broder 1997), equal to those of datasketch 2 with the scheme ``affine32``.

Pure: text in, numbers out. Shingles are runs of lower-case words; a text with fewer words than a
shingle has no shingles and so no signature: it is like nothing, rather than like every other
short text.
"""

import re

import numpy as np
import xxhash
from datasketch import MinHash

WORD = re.compile(r"\w+")
SHINGLES_PER_BLOCK = 4096  # bounds memory: 4096 shingles x 112 permutations x 4 bytes = 1.8 MB
SHINGLE_BASE = np.uint64(0x9E3779B97F4A7C15)


def exact_key(text: str) -> str:
    """128 bits in hex that texts share when they differ in letter case and white space only."""
    return xxhash.xxh3_128_hexdigest(" ".join(text.lower().split()).encode())


def shingle_hashes(text: str, ngram_words: int) -> np.ndarray:
    """The different 32-bit hashes of a text's shingles, in rising order."""
    words = WORD.findall(text.lower())
    count = len(words) - ngram_words + 1
    if count < 1:
        return np.empty(0, np.uint32)
    known: dict[str, int] = {}
    for word in words:
        if word not in known:
            known[word] = xxhash.xxh3_64_intdigest(word.encode())
    hashes = np.array([known[word] for word in words], np.uint64)
    rolled = np.zeros(count, np.uint64)
    for offset in range(ngram_words):
        rolled = rolled * SHINGLE_BASE + hashes[offset : offset + count]
    return np.unique((rolled >> np.uint64(32)).astype(np.uint32))


class Signer:
    """Makes signatures under one set of permutations, those of ``datasketch.MinHash``."""

    def __init__(self, num_permutations: int, seed: int) -> None:
        reference = MinHash(num_perm=num_permutations, seed=seed, scheme="affine32")
        self._a, self._b = (np.asarray(p, np.uint32) for p in reference.permutations)
        self.num_permutations = num_permutations

    def sign(self, shingles: np.ndarray) -> np.ndarray:
        """The least hash of a set of 32-bit hashes under each permutation, as uint32."""
        signature = np.full(self.num_permutations, np.iinfo(np.uint32).max, np.uint32)
        mixed = _murmur_finish(shingles)
        for start in range(0, len(mixed), SHINGLES_PER_BLOCK):
            block = mixed[start : start + SHINGLES_PER_BLOCK, None]
            signature = np.minimum(signature, (block * self._a + self._b).min(axis=0))
        return signature


def _murmur_finish(values: np.ndarray) -> np.ndarray:
    """MurmurHash3's 32-bit finalizer, with which datasketch 2 mixes its inputs."""
    values = values.astype(np.uint32)
    values = (values ^ (values >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))
