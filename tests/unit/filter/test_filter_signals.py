"""RedPajama-v2's signals, against their definitions written out plainly."""

import math
import re
import string
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.filter.signals import signals

PIECES = st.sampled_from(
    ["the", "The", "cat", "USA", "...", "…", "#", "lorem ipsum", "{", "}", "naïve", "日本", "42"]
)
TEXTS = st.lists(
    st.tuples(PIECES, st.sampled_from([" ", " ", "\n", ". ", "? "])).map("".join), max_size=60
).map("".join)


def plain_signals(text: str) -> dict[str, float]:
    """Each signal by its definition in RedPajama's documentation, one document at a time."""
    bare = "".join(c for c in text if c not in string.punctuation).lower()
    normal = unicodedata.normalize("NFD", re.sub(r"\s+", " ", bare.strip()))
    words, raw = normal.split(), re.findall(r"\w+|[^\w\s]+", text)
    lines = text.split("\n") if not text.endswith("\n") else text.split("\n")[:-1]
    found: dict[str, float] = {
        "word_count": len(words),
        "num_sentences": len(re.findall(r"\b[^.!?]+[.!?]*", text)),
        "lorem_ipsum": normal.count("lorem ipsum") / max(1, len(normal)),
        "curly_bracket": sum(c in "{}" for c in text) / max(1, len(text)),
    }
    if text:
        ends = [line.rstrip().endswith(("...", "…")) for line in lines]
        found["frac_lines_end_with_ellipsis"] = sum(ends) / len(ends)
    if raw:
        symbols = len(re.findall(r"\.\.\.|…|#", text))
        found["symbol_to_word_ratio"] = symbols / len(raw)
        found["frac_no_alph_words"] = sum(not re.search("[a-zA-Z]", w) for w in raw) / len(raw)
        found["frac_all_caps_words"] = sum(w.isupper() for w in raw) / len(raw)
    if words:
        counts = Counter(words)
        found["mean_word_length"] = sum(map(len, words)) / len(words)
        found["frac_unique_words"] = len(counts) / len(words)
        found["unigram_entropy"] = sum(
            -c / len(words) * math.log(c / len(words)) for c in counts.values()
        )
    num_chars = max(1, sum(map(len, words)))
    for n in range(2, 11):
        grams = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
        counts_of = Counter(grams)
        if n < 5:
            gram, count = counts_of.most_common(1)[0] if grams else ((), 0)
            share = sum(map(len, gram)) * count / num_chars if count > 1 else 0
            found[f"frac_chars_top_{n}gram"] = share
        else:
            covered: set[int] = set()
            for at, gram in enumerate(grams):
                covered |= set(range(at, at + n)) if counts_of[gram] > 1 else set()
            found[f"frac_chars_dupe_{n}grams"] = sum(len(words[a]) for a in covered) / num_chars
    return {f"rps_doc_{name}": value for name, value in found.items()}


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_signals_are_what_their_definitions_say(texts: list[str]):
    for text, found in zip(texts, signals(texts), strict=True):
        assert found == pytest.approx(plain_signals(text), abs=1e-9)


@given(st.text(max_size=200))
def test_signals_of_any_text_are_finite(text: str):
    (found,) = signals([text])
    assert all(map(math.isfinite, found.values()))
