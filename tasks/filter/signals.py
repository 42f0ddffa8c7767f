"""The quality signals of RedPajama-v2 (Weber et al. 2024, arXiv:2411.12372, appendix B).

Pure: texts in, values by name out. Names and definitions are RedPajama's for one document; signals
that need a model, a corpus or one value a line (``rps_lines_…``) are left out. A signal that is not
defined for a text, such as the mean length of no words, is missing.
"""

import re
import string
import unicodedata
from collections.abc import Sequence

import numpy as np

from tasks.filter.lines import ELLIPSES
from tasks.filter.measure import DUPLICATE_NGRAMS, TOP_NGRAMS, Measures, measure

SENTENCE = re.compile(r"\b[^.!?]+[.!?]*")
RAW_WORD = re.compile(r"\w+|[^\w\s]+")
LATIN_LETTER = re.compile(r"[a-zA-Z]")
LINE = re.compile(r"[^\n]*\n|[^\n]+$")
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)

Signals = dict[str, float]


def signals(texts: Sequence[str]) -> list[Signals]:
    """The signals of each text."""
    normalised = [normalise(text) for text in texts]
    measured = measure(normalised, with_first=True)
    return [
        _of_content(text, plain) | _of_raw_words(text) | _of_words(words) | _of_ngrams(words)
        for text, plain, words in zip(texts, normalised, measured, strict=True)
    ]


def normalise(text: str) -> str:
    """Lower case, no ASCII punctuation, single blanks, composed characters taken apart."""
    words = text.translate(WITHOUT_PUNCTUATION).lower().split()
    return unicodedata.normalize("NFD", " ".join(words))


def _of_content(text: str, plain: str) -> Signals:
    lines = LINE.findall(text)
    found: Signals = {
        "rps_doc_num_sentences": len(SENTENCE.findall(text)),
        "rps_doc_lorem_ipsum": plain.count("lorem ipsum") / max(1, len(plain)),
        "rps_doc_curly_bracket": (text.count("{") + text.count("}")) / max(1, len(text)),
    }
    if lines:
        num_ending = sum(line.rstrip().endswith(ELLIPSES) for line in lines)
        found["rps_doc_frac_lines_end_with_ellipsis"] = num_ending / len(lines)
    return found


def _of_raw_words(text: str) -> Signals:
    words = RAW_WORD.findall(text)
    if not words:
        return {}
    num_symbols = text.count("#") + sum(map(text.count, ELLIPSES))
    num_latin = sum(1 for word in words if LATIN_LETTER.search(word))
    return {
        "rps_doc_symbol_to_word_ratio": num_symbols / len(words),
        "rps_doc_frac_no_alph_words": 1 - num_latin / len(words),
        "rps_doc_frac_all_caps_words": sum(map(str.isupper, words)) / len(words),
    }


def _of_words(words: Measures) -> Signals:
    found: Signals = {"rps_doc_word_count": words.num_tokens}
    if words.num_tokens:
        counts = np.unique(words.hashes, return_counts=True)[1]
        shares = counts / words.num_tokens
        found |= {
            "rps_doc_mean_word_length": words.num_token_chars / words.num_tokens,
            "rps_doc_frac_unique_words": len(counts) / words.num_tokens,
            "rps_doc_unigram_entropy": float(-(shares * np.log(shares)).sum()),  # in nats
        }
    return found


def _of_ngrams(words: Measures) -> Signals:
    num_chars = max(1, words.num_token_chars)
    found: Signals = {}
    for n in TOP_NGRAMS:
        count, chars = words.top_ngrams[n]
        found[f"rps_doc_frac_chars_top_{n}gram"] = count * chars / num_chars
    for n in DUPLICATE_NGRAMS:
        share = words.repeated_ngram_chars[n] / num_chars
        found[f"rps_doc_frac_chars_dupe_{n}grams"] = share
    return found
