"""The words of some documents, measured together: counts and repeats, for all rules to share.

Pure: texts in, numbers out. Tokens are what stands between blanks; those that hold a letter or a
digit are words, as in Gopher's counts. All sums are taken over many documents at once, because a
call for each would cost more than its sums.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from tasks.common.words import ALNUM, ALPHA, INK, Words, run_starts, split_words

TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)
NGRAM_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no position is multiplied away
DOCUMENT_BASE = np.uint64(0xD6E8FEB86659FD93)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measures:
    """What the rules want to know of one document's words.

    Attributes:
        top_ngrams: n → how often the commonest n-gram occurs, and its characters without blanks; of
            several the one that begins first; 0 and 0 if none recurs.
        repeated_ngram_chars: n → characters of the tokens that stand in n-grams seen before; or, if
            so asked, in n-grams that recur, where they stand first too.
        hashes: a number for each token, and how many characters it has.
    """

    num_tokens: int
    num_words: int
    num_word_chars: int
    num_token_chars: int
    num_alphabetic: int
    top_ngrams: dict[int, tuple[int, int]] = field(default_factory=dict)
    repeated_ngram_chars: dict[int, int] = field(default_factory=dict)
    hashes: np.ndarray
    chars: np.ndarray

    @property
    def mean_word_chars(self) -> float:
        """Characters a word; 0 if there is none."""
        return self.num_word_chars / max(1, self.num_words)

    @property
    def alphabetic_share(self) -> float:
        """Share of tokens that hold a letter."""
        return self.num_alphabetic / max(1, self.num_tokens)

    def repeated_chars(self, n: int) -> int:
        """Characters in n-grams seen before, as Gopher's reimplementations count them.

        A repeated n-gram is stepped over whole, so that no character is counted twice. At most as
        many as ``repeated_ngram_chars``, which costs a fraction of this walk through the text.
        """
        grams = _ngrams(self.hashes, n)
        names, counts = np.unique(grams, return_inverse=True, return_counts=True)[1:]
        starts = np.flatnonzero(counts[names] > 1)  # the others are neither repeats nor repeated
        ends = np.cumsum(np.append(0, self.chars))
        chars = ends[starts + n] - ends[starts]
        seen: set[int] = set()
        free = num_chars = 0
        for at, name, length in zip(
            starts.tolist(), names[starts].tolist(), chars.tolist(), strict=True
        ):
            if at < free:
                continue
            if name in seen:
                num_chars += length
                free = at + n
            seen.add(name)
        return num_chars


def _ngrams(hashes: np.ndarray, n: int) -> np.ndarray:
    """A number for each n-gram."""
    count = max(0, len(hashes) - n + 1)
    grams = np.zeros(count, np.uint64)
    for offset in range(n):
        grams = grams * NGRAM_BASE + hashes[offset : offset + count]
    return grams


def measure(
    texts: Sequence[str], *, with_ngrams: bool = True, with_first: bool = False
) -> list[Measures]:
    """Measure each text.

    Args:
        texts: any texts.
        with_ngrams: without, what is said of n-grams is left out, and half of the time saved.
        with_first: count the first of several equal n-grams as repeated, too.
    """
    tokens = split_words(texts, INK, with_hashes=with_ngrams)
    num_texts = len(texts)
    is_word = tokens.kinds & ALNUM > 0
    num_tokens = np.bincount(tokens.text, minlength=num_texts)
    num_token_chars = _sums(tokens.chars, tokens.text, num_texts)
    num_alphabetic = np.bincount(tokens.text[tokens.kinds & ALPHA > 0], minlength=num_texts)
    num_words = np.bincount(tokens.text[is_word], minlength=num_texts)
    num_word_chars = _sums(tokens.chars[is_word], tokens.text[is_word], num_texts)
    top, repeated = {}, {}
    for repeats in _repeats(tokens) if with_ngrams else ():
        if repeats.n in TOP_NGRAMS:
            top[repeats.n] = _top(repeats, tokens, num_texts)
        if repeats.n in DUPLICATE_NGRAMS:
            is_later = repeats.starts != np.repeat(repeats.first, repeats.sizes)
            starts = repeats.starts if with_first else repeats.starts[is_later]
            repeated[repeats.n] = _chars_in(starts, repeats.n, tokens, num_texts)
    ends = np.cumsum(num_tokens)
    return [
        Measures(
            num_tokens=int(num_tokens[at]),
            num_words=int(num_words[at]),
            num_word_chars=int(num_word_chars[at]),
            num_token_chars=int(num_token_chars[at]),
            num_alphabetic=int(num_alphabetic[at]),
            top_ngrams={n: (int(c[at]), int(chars[at])) for n, (c, chars) in top.items()},
            repeated_ngram_chars={n: int(chars[at]) for n, chars in repeated.items()},
            hashes=tokens.hashes[ends[at] - num_tokens[at] : ends[at]],
            chars=tokens.chars[ends[at] - num_tokens[at] : ends[at]],
        )
        for at in range(num_texts)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Repeats:
    """The n-grams of one length that occur more than once in their text, group by group."""

    n: int
    starts: np.ndarray  # the token that each begins with
    sizes: np.ndarray  # how many make a group
    first: np.ndarray  # where the first of each group begins


def _repeats(tokens: Words) -> Iterator[_Repeats]:
    """For each length from 2 to the longest: only where n - 1 words recur can n words do so."""
    count = len(tokens.hashes)
    starts = np.arange(count)
    grams = tokens.hashes ^ (tokens.text.astype(np.uint64) * DOCUMENT_BASE)
    for n in range(2, max(DUPLICATE_NGRAMS) + 1):
        ends = np.minimum(starts + (n - 1), count - 1)
        fits = (starts + n <= count) & (tokens.text[ends] == tokens.text[starts])
        starts = starts[fits]
        grams = grams[fits] * NGRAM_BASE + tokens.hashes[ends[fits]]
        order = np.argsort(grams)
        heads = run_starts(grams[order])
        sizes = np.diff(heads, append=len(order))
        order = order[np.repeat(sizes > 1, sizes)]
        sizes = sizes[sizes > 1]
        found = starts[order]
        first = np.minimum.reduceat(found, np.cumsum(sizes) - sizes) if len(sizes) else sizes
        yield _Repeats(n=n, starts=found, sizes=sizes, first=first)
        starts, grams = found, grams[order]


def _top(repeats: _Repeats, tokens: Words, num_texts: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each text's most frequent n-gram occurs, and its characters."""
    ends = np.cumsum(np.append(0, tokens.chars))
    text = tokens.text[repeats.first]
    most = np.zeros(num_texts, np.int64)
    np.maximum.at(most, text, repeats.sizes)
    is_most = repeats.sizes == most[text]
    first = np.full(num_texts, len(tokens.chars))
    np.minimum.at(first, text[is_most], repeats.first[is_most])
    chars = ends[np.minimum(first + repeats.n, len(tokens.chars))] - ends[first]
    return most, chars


def _chars_in(starts: np.ndarray, n: int, tokens: Words, num_texts: int) -> np.ndarray:
    """Characters of each text inside the n-grams that begin at ``starts``."""
    edges = np.zeros(len(tokens.chars) + 1, np.int64)
    edges[starts] += 1
    edges[starts + n] -= 1
    is_covered = np.cumsum(edges)[:-1] > 0
    return _sums(tokens.chars[is_covered], tokens.text[is_covered], num_texts)


def _sums(values: np.ndarray, text: np.ndarray, num_texts: int) -> np.ndarray:
    """The sum of ``values`` in each text; exact, because below 2^53."""
    return np.bincount(text, values, num_texts)
