"""Windows against a slow reading of the same rule, and sums against the matrix."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.windows import MAX_CHARS, NUM_BUCKETS, WINDOW_WORDS, windows_of

TEXTS = st.lists(
    st.one_of(
        st.text(st.characters(codec="utf-8"), max_size=80),
        st.integers(0, 230).map(lambda n: " ".join(f"w{k * k % 41}" for k in range(n))),
    ),
    max_size=8,
)


def slow_windows(text: str) -> list[int]:
    """The number of words of each window."""
    words = re.findall(r"\w+", text[:MAX_CHARS].lower())
    if not words:
        return []
    num = max(1, len(words) // WINDOW_WORDS)
    return [WINDOW_WORDS] * (num - 1) + [len(words) - WINDOW_WORDS * (num - 1)]


@given(TEXTS)
def test_every_word_is_in_one_window_of_its_text(texts: list[str]):
    found = {index: [] for index in range(len(texts))}
    for part, windows in windows_of(texts):
        for text, num_words in zip(windows.text, windows.num_words, strict=True):
            found[part.start + text].append(num_words)
        assert windows.num_words.sum() == len(windows.singles) == len(windows.pairs)
    assert found == {index: slow_windows(text) for index, text in enumerate(texts)}


@given(TEXTS)
def test_the_matrix_adds_up_what_the_windows_hold(texts: list[str]):
    values = np.random.default_rng(1).normal(size=(NUM_BUCKETS, 3))
    for _, windows in windows_of(texts):
        of_words = values[windows.singles] + values[windows.pairs]
        window = np.repeat(np.arange(len(windows.starts)), windows.num_words)
        expected = np.zeros((len(windows.starts), 3))
        np.add.at(expected, window, of_words)
        expected /= np.sqrt(2 * windows.num_words)[:, None]
        assert windows.matrix() @ values == pytest.approx(expected, abs=1e-5)


def test_a_text_has_the_same_windows_beside_any_others():
    texts = ["one two three", "", "four " * 300, "x " * 150_000, "five six"]
    together = [
        (part.start + text, single)
        for part, windows in windows_of(texts)
        for text, single in zip(
            np.repeat(windows.text, windows.num_words), windows.singles, strict=True
        )
    ]
    alone = [
        (index, single)
        for index, text in enumerate(texts)
        for _, windows in windows_of([text])
        for single in windows.singles
    ]
    assert together == alone


def test_pairs_do_not_reach_into_the_next_text():
    ((_, together),) = windows_of(["alpha beta", "gamma"])
    ((_, alone),) = windows_of(["alpha beta"])
    assert list(together.pairs[:2]) == list(alone.pairs)
