"""Words by arrays are the words that Python finds one by one."""

import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common import words
from tasks.common.words import ALNUM, ALPHA, INK, WORD, split_words

TEXTS = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.text("aab é1_-.\n\u2003漢\U00010400\U000e0100", max_size=60),
    ),
    max_size=6,
)


def test_the_table_of_kinds_says_what_python_says_of_every_character():
    characters = [chr(code) for code in range(sys.maxunicode + 1)]
    table = words._kinds()
    for kind, expected in [
        (INK, [not c.isspace() for c in characters]),
        (ALNUM, [c.isalnum() for c in characters]),
        (ALPHA, [c.isalpha() for c in characters]),
        (WORD, [c.isalnum() or c == "_" for c in characters]),
    ]:
        np.testing.assert_array_equal(table & kind > 0, expected)


@pytest.mark.parametrize("block_chars", [3, words.BLOCK_CHARS])
@pytest.mark.parametrize(
    ("kind", "split"), [(INK, str.split), (WORD, lambda text: re.findall(r"\w+", text))]
)
def test_words_are_what_python_splits(kind, split, block_chars, monkeypatch):
    monkeypatch.setattr(words, "BLOCK_CHARS", block_chars)

    @given(TEXTS)
    def check(texts: list[str]):
        expected = [(at, word) for at, text in enumerate(texts) for word in split(text)]
        found = split_words(texts, kind)
        assert found.text.tolist() == [at for at, _ in expected]
        assert found.chars.tolist() == [len(word) for _, word in expected]
        ends = found.starts + found.chars
        places = zip(found.text.tolist(), found.starts.tolist(), ends.tolist(), strict=True)
        assert [(at, texts[at][start:end]) for at, start, end in places] == expected
        for bit, test in ((ALNUM, str.isalnum), (ALPHA, str.isalpha)):
            has = [any(map(test, word)) for _, word in expected]
            np.testing.assert_array_equal(found.kinds & bit > 0, has)
        hashes = found.hashes.tolist()
        pairs = set(zip([word for _, word in expected], hashes, strict=True))
        assert len(pairs) == len(set(hashes)) == len({word for _, word in expected})

    check()


def test_numbers_of_a_million_words_do_not_collide():
    numbers = split_words([" ".join(map(str, range(1_000_000)))], INK).hashes
    assert len(np.unique(numbers)) == 1_000_000
    for half in (numbers >> np.uint64(32), numbers & np.uint64(2**32 - 1)):
        expected = 2**32 * -np.expm1(-1_000_000 / 2**32)  # different ones among as many draws
        assert len(np.unique(half)) > expected - 100


def test_a_word_longer_than_a_block_is_one_word():
    found = split_words(["a " + "b" * (3 * words.BLOCK_CHARS) + " c"], INK)
    assert found.chars.tolist() == [1, 3 * words.BLOCK_CHARS, 1]


@given(st.lists(st.integers(0, 9).map("x".__mul__), max_size=12))
def test_batches_hold_every_text_once_and_in_order(texts: list[str]):
    found = list(words.batches(texts))
    assert [text for part in found for text in texts[part]] == texts
    assert all(texts[part] for part in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one 漢字かな two", ["one", "漢", "字", "か", "な", "two"]),
        ("abc漢，abc。", ["abc", "漢", "，abc。"]),
        ("กิน ขาว", ["กิ", "น", "ข", "า", "ว"]),
        ("e\u0301te\u0301 が か\u3099x", ["e\u0301te\u0301", "が", "か\u3099", "x"]),
        ("한국어 말", ["한국어", "말"]),
    ],
)
def test_in_scripts_without_blanks_each_character_with_its_marks_is_a_word(text, expected):
    found = split_words([text], INK, unspaced=True)
    ends = found.starts + found.chars
    assert [text[a:b] for a, b in zip(found.starts, ends, strict=True)] == expected
    alone = [split_words([word], INK).hashes[0] for word in expected]
    assert found.hashes.tolist() == [int(number) for number in alone]
