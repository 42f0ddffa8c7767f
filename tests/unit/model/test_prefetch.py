"""Batches made ahead: the same stream, the same state, wherever it is stopped."""

import json
import threading

import pytest
import torch

from model.packed_loader import PackedLoader
from model.prefetch import Prefetch
from tests.unit.model.test_loader import counting_shards

PHASES = ((3, {"code": 1.0}),)


@pytest.fixture
def groups(tmp_path):
    return {
        "web": counting_shards(tmp_path, "web", 95, shards=2),
        "code": counting_shards(tmp_path, "code", 40, first=30_000),
    }


def loader(groups):
    return PackedLoader(groups, {"web": 0.6, "code": 0.4}, 8, 3, seed=1, phases=PHASES)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_what_is_made_ahead_is_not_yet_taken(groups, depth):
    plain, ahead = loader(groups), Prefetch(loader(groups), depth)
    for _ in range(10):
        assert ahead.state_dict() == plain.state_dict()
        assert ahead.epochs() == plain.epochs()
        assert ahead.tokens() == plain.tokens()
        assert torch.equal(ahead.next_batch().inputs_BT, plain.next_batch().inputs_BT)
    ahead.close()


def test_it_goes_on_from_any_batch_forwards_and_back(groups):
    plain = loader(groups)
    states, stream = [], []
    for _ in range(9):
        states.append(json.loads(json.dumps(plain.state_dict())))
        stream.append(plain.next_batch().inputs_BT)
    ahead = Prefetch(loader(groups), 3)
    for start in (4, 8, 0, 2):
        ahead.load_state_dict(states[start])
        assert ahead.state_dict() == states[start]
        for expected in stream[start : start + 3]:
            assert torch.equal(ahead.next_batch().inputs_BT, expected)
    ahead.close()


def test_evaluating_in_between_changes_nothing(groups):
    plain, ahead = loader(groups), Prefetch(loader(groups), 2)
    for _ in range(4):
        swept = [batch.inputs_BT for batch in ahead.sweep()]
        assert all(map(torch.equal, swept, (batch.inputs_BT for batch in plain.sweep())))
        assert torch.equal(ahead.next_batch().inputs_BT, plain.next_batch().inputs_BT)
    ahead.close()


class Broken:
    """A disk that fails at the third batch."""

    rows_per_sample = 1

    def __init__(self):
        self.made = 0

    def next_batch(self):
        self.made += 1
        if self.made == 3:
            raise OSError("the disk is gone")
        return self.made

    def state_dict(self):
        return {"made": self.made}

    epochs = tokens = state_dict


def test_an_error_comes_with_the_batch_that_it_is_about():
    ahead = Prefetch(Broken(), 2)
    assert [ahead.next_batch(), ahead.next_batch()] == [1, 2]
    with pytest.raises(OSError, match="disk is gone"):
        ahead.next_batch()
    ahead.close()


def test_no_thread_is_left_behind(groups):
    before = threading.active_count()
    ahead = Prefetch(loader(groups), 2)
    ahead.next_batch()
    assert threading.active_count() == before + 1
    ahead.close()
    assert threading.active_count() == before
