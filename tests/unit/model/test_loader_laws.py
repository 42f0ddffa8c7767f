"""Laws of the order that batches come in: everything once, no phase, the same for any cut."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model.batches import TokenBatch, shuffled
from model.distributed import Ranks, mesh_sizes
from model.options import ParallelConfig
from model.parallel import ParallelModel

LARGEST = 10_000


def walked(permutation, size):
    """Where cycle walking sends 0..size-1, by a permutation of a larger domain."""
    at = permutation[np.arange(size)]
    while (outside := at >= size).any():
        at[outside] = permutation[at[outside]]
    return at


def test_shuffling_is_a_bijection_for_every_size():
    """Each domain's permutation is tried whole; what a smaller size makes of it is computed apart
    for every size from 1 to 10,000, seen to be a bijection, and compared at a random place."""
    rng, key = np.random.default_rng(0), 20_261_125
    domains = {}
    for half_bits in range(1, 8):
        domain = 4**half_bits
        found = np.array([shuffled(i, domain, key) for i in range(domain)])
        assert np.array_equal(np.sort(found), np.arange(domain))
        domains[domain] = found
    for size in range(1, LARGEST + 1):
        permutation = next(p for domain, p in domains.items() if domain >= size)
        expected = walked(permutation, size)
        assert (np.bincount(expected, minlength=size) == 1).all()
        index = int(rng.integers(size))
        assert shuffled(index, size, key) == expected[index]


def autocorrelations(order):
    """Of positions with those ``lag`` later, for all lags up to half of the length."""
    size = len(order)
    centred = (order - order.mean()) / order.std()
    spectrum = np.abs(np.fft.rfft(centred, 2 * size)) ** 2
    lags = np.arange(1, size // 2)
    return np.fft.irfft(spectrum)[lags] / np.sqrt(size - lags)


@pytest.mark.parametrize("size", [1000, 4096, 6007])
def test_the_order_of_windows_has_no_phase(size):
    """Neighbours in the stream, at any lag, are no more alike than in a random order: 4.5σ is what
    the greatest of thousands stays under. An affine shuffle, Feistel's rival, is seen to fail."""
    for key in (1, 2):
        order = np.array([shuffled(i, size, key) for i in range(size)], float)
        assert np.abs(autocorrelations(order)).max() < 4.5
    affine = (np.arange(size) * 617.0 + 5) % size
    assert np.abs(autocorrelations(affine)).max() > 10


def batch_of(rows, width=16):
    ids_BT = torch.arange(rows * width).view(rows, width)
    lengths = tuple(sorted((1 + 7 * row % width for row in range(rows)), reverse=True))
    return TokenBatch(ids_BT, ids_BT + 1, ids_BT % 3 == 0, lengths)


def ranks(world, data):
    """All of a mesh, without processes."""
    sizes = mesh_sizes(world, ParallelConfig(data=data))
    along = "shard" if data == "fsdp" else "replica"
    return [
        Ranks(rank=rank, world=world, sizes=sizes, places=dict.fromkeys(sizes, 0) | {along: rank})
        for rank in range(world)
    ]


def micro_batches(ranks, whole, rows_per_sample, rows):
    """What one of them reads, by the code that training runs."""
    model = SimpleNamespace(ranks=ranks, is_sharded=ranks.sizes["shard"] > 1)
    return ParallelModel.micro_batches(model, whole, rows_per_sample, rows)


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("rows_per_sample", [1, 2])
@pytest.mark.parametrize("data", ["ddp", "fsdp"])
def test_ranks_and_micro_batches_cut_one_stream(world, rows_per_sample, data):
    """Put together again in the order of ranks and micro-batches, the rows that count are the
    batch; and where parameters are sharded, all ranks read equally many micro-batches."""
    whole = batch_of(12)
    for micro_rows in range(rows_per_sample, 13, rows_per_sample):
        read = [micro_batches(r, whole, rows_per_sample, micro_rows) for r in ranks(world, data)]
        assert data == "ddp" or len(set(map(len, read))) == 1
        parts = [micro for own in read for micro, weight in own if weight]
        assert all(len(part.lengths) % rows_per_sample == 0 for part in parts)
        assert tuple(n for part in parts for n in part.lengths) == whole.lengths
        rows = [
            (inputs[:n], targets[:n], mask[:n])
            for part in parts
            for inputs, targets, mask, n in zip(
                part.inputs_BT, part.targets_BT, part.mask_BT, part.lengths, strict=True
            )
        ]
        for row, (inputs, targets, mask) in enumerate(rows):
            n = whole.lengths[row]
            assert torch.equal(inputs, whole.inputs_BT[row, :n])
            assert torch.equal(targets, whole.targets_BT[row, :n])
            assert torch.equal(mask, whole.mask_BT[row, :n])
