"""Texts unlike the rest: how many bits their words and characters cost.

Pure: counts in, bits out. The reference is all prose of the same language in the stage's own
input, before any rule: it needs no file, is at hand wherever the filter runs, and says what is
unusual here. A first pass adds up integers, so that neither order nor number of shards can change
it. Words are counted in 65,536 buckets of their hash (as DSIR does, Xie et al. 2023,
arXiv:2302.03169) and characters by code point; 1 MB a language, whatever the input.

A text's cross-entropy is compared with the reference's entropy, which is what its texts cost on
average: the difference does not grow with a text's length, as a divergence of its own counts would.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.common.words import WORD, batches, split_words
from tasks.filter.breach import Breach, above, outside
from tasks.filter.thresholds import Outliers
from tasks.filter.view import Candidate, View

NUM_BUCKETS = 1 << 16
BUCKET_SHIFT = np.uint64(64 - 16)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counts:
    """How often each bucket of words, and each code point, occurs."""

    words: np.ndarray  # (NUM_BUCKETS,) int64
    chars: np.ndarray  # (NUM_BUCKETS,) int64; code points beyond the first plane share its entries

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(words=self.words + other.words, chars=self.chars + other.chars)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """What each word and each character of a language costs, and what they cost on average."""

    word_bits: np.ndarray
    char_bits: np.ndarray
    mean_word_bits: float
    mean_char_bits: float
    num_words: int

    @classmethod
    def of(cls, counts: Counts) -> "Reference":
        """The costs under some counts, one being added to each."""
        word_bits, mean_word_bits = _bits(counts.words)
        char_bits, mean_char_bits = _bits(counts.chars)
        return cls(
            word_bits=word_bits,
            char_bits=char_bits,
            mean_word_bits=mean_word_bits,
            mean_char_bits=mean_char_bits,
            num_words=int(counts.words.sum()),
        )

    def excess_bits(self, text: str) -> tuple[float, float]:
        """How much more than the average a word, and a character, of ``text`` costs."""
        words, chars = _word_buckets([text]), _char_buckets(text)
        word_bits = float(self.word_bits[words].mean()) if len(words) else self.mean_word_bits
        char_bits = float(self.char_bits[chars].mean()) if len(chars) else self.mean_char_bits
        return word_bits - self.mean_word_bits, char_bits - self.mean_char_bits


def count_by_language(documents: Iterable[Candidate]) -> dict[str, Counts]:
    """The counts of prose, language by language."""
    texts: dict[str, list[str]] = {}
    for document in documents:
        if document.kind != "code" and document.language:
            texts.setdefault(document.language, []).append(document.text)
    return {language: _count(found) for language, found in sorted(texts.items())}


def outliers(view: View, limits: Outliers, references: Mapping[str, Reference]) -> Iterator[Breach]:
    """Whether a text is unlike the others."""
    num_chars = len(view.text)
    yield from outside("outlier_length", "chars", num_chars, limits.min_chars, limits.max_chars)
    reference = references.get(view.document.language or "")
    if not reference or reference.num_words < limits.min_reference_words:
        return
    words, chars = reference.excess_bits(view.text)
    name = "outlier_words"
    yield from above(name, "excess_bits_a_word", words, limits.max_rare_word_bits)
    yield from above(name, "missing_bits_a_word", -words, limits.max_common_word_bits)
    name = "outlier_chars"
    yield from above(name, "excess_bits_a_char", chars, limits.max_rare_char_bits)
    yield from above(name, "missing_bits_a_char", -chars, limits.max_common_char_bits)


def _count(texts: Sequence[str]) -> Counts:
    words = np.zeros(NUM_BUCKETS, np.int64)
    chars = np.zeros(NUM_BUCKETS, np.int64)
    for part in batches(texts):
        words += np.bincount(_word_buckets(texts[part]), minlength=NUM_BUCKETS)
        chars += np.bincount(_char_buckets("".join(texts[part])), minlength=NUM_BUCKETS)
    return Counts(words=words, chars=chars)


def _bits(counts: np.ndarray) -> tuple[np.ndarray, float]:
    total = int(counts.sum())
    bits = np.log2(total + len(counts)) - np.log2(counts + 1.0)
    return bits, float((bits * counts).sum() / max(1, total))


def _word_buckets(texts: Sequence[str]) -> np.ndarray:
    return (split_words(texts, WORD).hashes >> BUCKET_SHIFT).astype(np.int64)


def _char_buckets(text: str) -> np.ndarray:
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return (codes % NUM_BUCKETS).astype(np.int64)
