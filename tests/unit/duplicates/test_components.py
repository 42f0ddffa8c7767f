"""Components against scipy's on the whole graph; followers against all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.common.minhash import band_keys
from tasks.duplicates import components
from tasks.duplicates.components import Components, followers, neighbours

NUM_ROWS = 20
row = st.integers(0, NUM_ROWS - 1)


@given(st.lists(st.lists(st.tuples(row, row), max_size=15), max_size=4))
def test_labels_are_the_least_rows_of_the_components(batches: list):
    forest = Components(NUM_ROWS)
    for pairs in batches:
        forest.join(np.array(pairs, np.int64).reshape(-1, 2))
    pairs = np.array([pair for batch in batches for pair in batch], np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (NUM_ROWS, NUM_ROWS))
    _, labels = connected_components(graph, directed=False)
    least = [int(np.flatnonzero(labels == label)[0]) for label in labels]
    assert forest.labels().tolist() == least


@pytest.mark.parametrize("at_a_time", [1, 7, 1 << 20])
def test_a_long_chain_is_one_component(at_a_time: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(components, "PAIRS_AT_A_TIME", at_a_time)
    rows = np.random.default_rng(1).permutation(500)
    forest = Components(500)
    forest.join(np.stack([rows[1:], rows[:-1]], axis=1))
    assert not forest.labels().any()


def test_a_pair_may_come_any_number_of_times():
    forest = Components(3)
    forest.join(np.tile([[2, 1]], (256, 1)))
    assert forest.labels().tolist() == [0, 1, 1]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=30))
def test_followers_are_like_their_leader_and_nobody_like_an_earlier_leader_leads(items: list):
    """Alike are values less than 2 apart, as documents are with their Jaccard similarity."""
    items.sort()
    keys = np.array([key for key, _ in items], np.uint64)
    values = np.array([value for _, value in items], np.int64)
    rows = np.arange(len(items))

    def are_alike(pairs: np.ndarray) -> np.ndarray:
        return np.abs(values[pairs[:, 0]] - values[pairs[:, 1]]) < 2

    found = [(int(a), int(b)) for pairs in followers(keys, rows, are_alike) for a, b in pairs]
    expected, left = [], list(range(len(items)))
    while left:
        leader, *others = left
        follow = [n for n in others if keys[n] == keys[leader] and values[n] - values[leader] < 2]
        expected += [(leader, n) for n in follow]
        left = [n for n in others if n not in follow]
    assert sorted(found) == sorted(expected)


def test_what_is_like_nobody_costs_a_bounded_number_of_looks():
    asked = []

    def are_alike(pairs: np.ndarray) -> np.ndarray:
        asked.append(len(pairs))
        return np.zeros(len(pairs), bool)

    assert sum(map(len, followers(np.zeros(1_000, np.uint64), np.arange(1_000), are_alike))) == 0
    assert len(asked) == components.MAX_LEADERS


def test_neighbours_connect_all_rows_of_a_key_with_one_pair_less_than_rows():
    keys = np.array([3, 3, 3, 5, 7, 7], np.uint64)
    pairs = neighbours(keys, np.array([9, 4, 6, 1, 0, 2]))
    assert pairs.tolist() == [[9, 4], [4, 6], [0, 2]]


def test_a_band_has_one_key_where_all_its_rows_agree():
    signatures = np.arange(3 * 12, dtype=np.uint32).reshape(3, 12)
    signatures[1, :8] = signatures[0, :8]
    signatures[2] = signatures[0]
    signatures[2, 5] += 1
    keys = np.stack([band_keys(signatures[:, at : at + 4].T) for at in (0, 4, 8)], axis=1)
    assert (keys[1] == keys[0]).tolist() == [True, True, False]
    assert (keys[2] == keys[0]).tolist() == [True, False, True]
    assert len(set(keys[0].tolist())) == 3
