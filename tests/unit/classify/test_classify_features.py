"""What a classifier sees, and the numbers that judge it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.classify.features import (
    area_under_curve,
    features,
    is_held_out,
    label_of,
    label_token,
)


@given(st.text(max_size=300))
def test_features_are_one_line_without_labels(text: str):
    line = features(text)
    assert len(line.splitlines()) <= 1
    assert "__label__" not in line
    assert line == line.strip()


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_any_name_can_be_a_label(name: str):
    token = label_token(name)
    assert not token.split()[1:]
    assert label_of(token) == name


PAIRS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40)


@given(PAIRS)
def test_area_is_the_chance_that_a_positive_outscores_a_negative(pairs: list[tuple[int, bool]]):
    positives = [score for score, good in pairs if good]
    negatives = [score for score, good in pairs if not good]
    found = area_under_curve([s for s, _ in pairs], [good for _, good in pairs])
    if not positives or not negatives:
        assert found is None
        return
    wins = sum((p > n) + (p == n) / 2 for p in positives for n in negatives)
    assert found == pytest.approx(wins / (len(positives) * len(negatives)))


def test_one_document_in_ten_is_held_out():
    held_out = sum(is_held_out(f"document {n}") for n in range(5000))
    assert 400 <= held_out <= 600
