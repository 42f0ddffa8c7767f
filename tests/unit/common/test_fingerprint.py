"""Equal values have equal names, different values different ones, unstable values none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.fingerprint import canonical_json, fingerprint

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_the_order_of_keys_does_not_matter(value):
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


@given(VALUES, VALUES)
def test_different_values_have_different_spellings(one, other):
    assert (canonical_json(one) == canonical_json(other)) == _same(one, other)


def test_one_and_one_point_zero_are_the_same_threshold():
    assert fingerprint({"min": 1}) == fingerprint({"min": 1.0})


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), print, float("nan"), float("inf"), {1: "x"}, b"x"]
)
def test_what_has_no_stable_bytes_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"value\.config"):
        fingerprint({"config": value})


def _same(one, other):
    """Equality of JSON values, in which True is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    return one == other
