"""What a loader promises: everything once an epoch, shares kept, the same stream after a stop."""

import json

import numpy as np
import pytest
import torch

from model import chat
from model.batches import next_source, pad_rows, shuffled
from model.objectives.dpo import PairLoader
from model.objectives.sft import ConversationLoader
from model.packed_loader import PackedLoader
from model.tokens import TokenWriter

VOCAB = 60_000


def counting_shards(folder, name, num_tokens, shards=1, first=0):
    """Token i of the source is first + i, so that a window says where it came from."""
    paths, start = [], first
    for number in range(shards):
        stop = first + num_tokens * (number + 1) // shards
        with TokenWriter(folder, f"{name}-{number}", VOCAB) as out:
            out.add(range(start, stop))
        paths.append(folder / f"{name}-{number}.bin")
        start = stop
    return paths


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 100, 1000])
def test_shuffling_is_a_permutation(size):
    orders = [[shuffled(i, size, key) for i in range(size)] for key in (1, 2)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(size))
    if size > 16:
        assert orders[0] != orders[1]
        assert orders[0] != list(range(size))


def test_every_window_comes_once_an_epoch_whatever_the_shards(tmp_path):
    paths = counting_shards(tmp_path, "web", 101, shards=3)
    loader = PackedLoader({"web": paths}, {"web": 1}, seq_len=10, batch_size=5, seed=3)
    epochs = []
    for _ in range(3):
        batches = [loader.next_batch() for _ in range(2)]
        epochs.append([row for batch in batches for row in batch.targets_BT.tolist()])
    for epoch in epochs:
        # 101 tokens are ten windows whose targets are each token but the first, once.
        assert sorted(token for row in epoch for token in row) == list(range(1, 101))
    assert epochs[0] != epochs[1] != epochs[2]
    assert loader.epochs() == {"web": 3.0}
    assert loader.tokens() == {"web": 300}


def test_targets_are_the_inputs_one_later(tmp_path):
    loader = PackedLoader({"web": counting_shards(tmp_path, "web", 60)}, {"web": 1}, 8, 3, seed=0)
    batch = loader.next_batch()
    assert torch.equal(batch.targets_BT, batch.inputs_BT + 1)
    assert batch.mask_BT is None


@pytest.mark.parametrize(
    "weights",
    [
        {"a": 0.7, "b": 0.2, "c": 0.1},
        {"a": 1, "b": 1, "c": 1},
        {"a": 1000, "b": 1},
        {name: 1 / (index + 1) for index, name in enumerate("abcdefghijklmnop")},
        {name: 2.0**-index for index, name in enumerate("abcdefghij")},
    ],
)
def test_each_source_stays_within_one_sample_of_its_share(weights):
    units = {name: round(w * 2**20) for name, w in weights.items()}
    counts = dict.fromkeys(units, 0)
    total = sum(units.values())
    for turn in range(1, 2000):
        counts[next_source(counts, units)] += 1
        for name, unit in units.items():
            assert abs(counts[name] - turn * unit / total) < 1


def test_a_packed_loader_goes_on_where_it_stopped(tmp_path):
    groups = {
        "web": counting_shards(tmp_path, "web", 95, shards=2),
        "code": counting_shards(tmp_path, "code", 40, first=30_000),
    }

    def make():
        return PackedLoader(groups, {"web": 0.6, "code": 0.4}, seq_len=8, batch_size=3, seed=1)

    whole = make()
    stream = [whole.next_batch().inputs_BT for _ in range(12)]
    for stop in (1, 4, 7):
        first, second = make(), make()
        for _ in range(stop):
            first.next_batch()
        list(first.sweep())  # evaluation in between must not matter
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        for expected in stream[stop:]:
            assert torch.equal(second.next_batch().inputs_BT, expected)


PHASES = ((5, {"code": 0.5, "best": 0.5}), (8, {"web": 1.0}))


def phased_loader(folder, batch_size=7):
    groups = {
        "web": counting_shards(folder, "web", 900),
        "code": counting_shards(folder, "code", 400, first=20_000),
        "best": counting_shards(folder, "best", 200, first=40_000),
    }
    weights = {"web": 0.6, "code": 0.4}
    return PackedLoader(groups, weights, 8, batch_size, seed=1, phases=PHASES)


def test_each_phase_keeps_its_own_shares(tmp_path):
    loader = phased_loader(tmp_path, batch_size=10)
    before = dict(loader.counts)
    mixtures = [(5, {"web": 0.6, "code": 0.4}), (3, PHASES[0][1]), (4, PHASES[1][1])]
    for num_batches, weights in mixtures:
        for _ in range(num_batches):
            loader.next_batch()
        drawn = {name: loader.counts[name] - before[name] for name in loader.counts}
        for name, count in drawn.items():
            assert abs(count - num_batches * 10 * weights.get(name, 0)) < 1
        before = dict(loader.counts)


def test_a_loader_goes_on_in_any_phase(tmp_path):
    whole = phased_loader(tmp_path)
    stream = [whole.next_batch().inputs_BT for _ in range(14)]
    for stop in range(14):
        first, second = phased_loader(tmp_path), phased_loader(tmp_path)
        for _ in range(stop):
            first.next_batch()
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        for expected in stream[stop:]:
            assert torch.equal(second.next_batch().inputs_BT, expected)


def test_a_checkpoint_of_other_phases_is_refused(tmp_path):
    loader = phased_loader(tmp_path)
    for _ in range(6):
        loader.next_batch()
    other = PackedLoader(
        _paths(tmp_path),
        {"web": 0.6, "code": 0.4},
        8,
        7,
        seed=1,
        phases=[(4, {"best": 1.0})],
    )
    with pytest.raises(ValueError, match="begin at the batches"):
        other.load_state_dict(loader.state_dict())


def _paths(folder):
    return {name: [folder / f"{name}-0.bin"] for name in ("web", "code", "best")}


def test_another_seed_is_another_order(tmp_path):
    groups = {"web": counting_shards(tmp_path, "web", 500)}
    one, two = (PackedLoader(groups, {"web": 1}, 8, 8, seed).next_batch() for seed in (0, 1))
    assert not torch.equal(one.inputs_BT, two.inputs_BT)


def test_a_sweep_reads_everything_once_and_the_same_each_time(tmp_path):
    groups = {"val": counting_shards(tmp_path, "val", 50)}
    loader = PackedLoader(groups, {"val": 1}, seq_len=8, batch_size=4, seed=0)
    sweeps = [[b.targets_BT.tolist() for b in loader.sweep()] for _ in range(2)]
    assert sweeps[0] == sweeps[1]
    assert sorted(t for batch in sweeps[0] for row in batch for t in row) == list(range(1, 49))
    assert [b.targets_BT.tolist() for b in loader.sweep(max_batches=1)] == sweeps[0][:1]


def test_too_small_a_source_and_a_changed_job_are_refused(tmp_path):
    groups = {"web": counting_shards(tmp_path, "web", 9)}
    with pytest.raises(ValueError, match="fewer than one window of 10"):
        PackedLoader(groups, {"web": 1}, seq_len=9, batch_size=1, seed=0)
    loader = PackedLoader(groups, {"web": 1}, seq_len=4, batch_size=1, seed=0)
    with pytest.raises(ValueError, match="are not this job's"):
        loader.load_state_dict({"taken": {"code": 3}, "before_phase": {"code": 0}})


def test_conversations_are_padded_and_only_answers_count(data, tokenizer):
    loader = ConversationLoader(data / "sft.jsonl", tokenizer, seq_len=64, batch_size=8, seed=0)
    batch = loader.next_batch()
    assert batch.inputs_BT.shape[1] % 8 == 0
    assert list(batch.lengths) == sorted(batch.lengths, reverse=True)
    for row in range(8):
        spoken = batch.targets_BT[row][batch.mask_BT[row]].tolist()
        text = tokenizer.decode(spoken, skip_special_tokens=False)
        assert text.endswith(chat.END)
        assert text.count("<|") == 1
    records = [json.loads(line) for line in (data / "sft.jsonl").read_text().splitlines()]
    answers = {record["messages"][1]["content"] for record in records}
    assert text.removesuffix(chat.END) in answers


def test_records_come_once_an_epoch_and_go_on_after_a_stop(data, tokenizer):
    def make():
        return ConversationLoader(data / "sft.jsonl", tokenizer, seq_len=64, batch_size=6, seed=0)

    whole = make()
    stream = [whole.next_batch() for _ in range(8)]
    rows = [
        tuple(row[:length].tolist())
        for batch in stream[:4]
        for row, length in zip(batch.inputs_BT, batch.lengths, strict=True)
    ]
    assert len(set(rows)) == 24
    second = make()
    for _ in range(3):
        second.next_batch()
    third = make()
    third.load_state_dict(json.loads(json.dumps(second.state_dict())))
    for expected in stream[3:]:
        assert torch.equal(third.next_batch().inputs_BT, expected.inputs_BT)
    assert third.tokens() == whole.tokens()


def test_micro_batches_lose_padding_and_nothing_else():
    lengths = (40, 33, 21, 12, 9, 6, 3, 2)
    rows = [(np.arange(n), np.arange(n) > n // 2) for n in lengths]
    batch = pad_rows(rows, pad_id=0, max_width=100)
    assert batch.inputs_BT.shape == (8, 40)
    micros = list(batch.split(2))
    assert sum(m.num_valid() for m in micros) == batch.num_valid()
    assert sum(m.num_tokens for m in micros) == batch.num_tokens
    assert [m.inputs_BT.shape[1] for m in micros] == [40, 24, 8, 8]


def test_padding_never_exceeds_the_model():
    row = (np.arange(62), np.ones(62, dtype=bool))
    assert pad_rows([row], pad_id=0, max_width=61).inputs_BT.shape == (1, 61)


def test_pairs_lie_together_and_share_their_prompt(data, tokenizer):
    loader = PairLoader(data / "dpo.jsonl", tokenizer, seq_len=64, batch_size=4, seed=0)
    batch = loader.next_batch()
    assert batch.inputs_BT.shape[0] == 8
    records = [json.loads(line) for line in (data / "dpo.jsonl").read_text().splitlines()]
    answers = {(r["chosen"], r["rejected"]) for r in records}
    for chosen, rejected in zip(range(0, 8, 2), range(1, 8, 2), strict=True):
        said = [
            chat.decode(tokenizer, batch.targets_BT[row][batch.mask_BT[row]].tolist())
            for row in (chosen, rejected)
        ]
        assert tuple(said) in answers
        prompt = int(batch.mask_BT[chosen].float().argmax())
        assert torch.equal(batch.inputs_BT[chosen, :prompt], batch.inputs_BT[rejected, :prompt])


def test_long_records_are_counted_and_bad_ones_located(tmp_path, data, tokenizer):
    path = tmp_path / "sft.jsonl"
    long = {"id": "x", "messages": [{"role": "assistant", "content": "ore " * 200}]}
    path.write_text((data / "sft.jsonl").read_text() + json.dumps(long) + "\n")
    loader = ConversationLoader(path, tokenizer, seq_len=64, batch_size=4, seed=0)
    assert (loader.num_too_long, len(loader.samples)) == (1, 24)
    path.write_text('{"id": "x", "messages": []}\n\n{"id": "y"}\n')
    with pytest.raises(ValueError, match=r"line 3: the record has no 'messages'"):
        ConversationLoader(path, tokenizer, seq_len=64, batch_size=4, seed=0)
