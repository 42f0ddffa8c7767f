"""The GPU benchmark works where there is no GPU, and counts what is multiplied."""

import argparse
import json

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.decoder import Decoder
from model.flops import training_flops
from model.losses import next_token_loss
from tests.benchmarks import training_gpu_measures as measures
from tests.benchmarks.training_gpu import main
from tests.benchmarks.training_gpu_measures import SIZES, WITH_DOCUMENTS, Clock, training_row

CPU = torch.device("cpu")


def test_every_row_of_the_toy_tables_is_filled(tmp_path):
    path = tmp_path / "figures.json"
    assert main(["--toy", "--cpu", "--no-peer", "--seconds", "0.05", "--json", str(path)]) == 0
    result = json.loads(path.read_text())
    whose = [(row["size"], row["who"]) for row in result["training"]]
    assert whose == [(s, w) for s in ("toy", "toy-wide") for w in ("ours", WITH_DOCUMENTS)]
    for row in result["training"]:
        assert "error" not in row
        assert row["tokens_per_second"] > 0
        assert 0 < row["of_matmul_causal"] <= row["of_matmul"]
    shown = {row["kernel"]: "milliseconds" in row for row in result["attention"]}
    assert shown == {"causal": True, "dense": True, "flex": False, "varlen": False}


@pytest.mark.parametrize("name", ["toy", "toy-wide"])
def test_operations_are_those_that_torch_counts(name):
    size, length, rows = SIZES[name], 64, 2
    model = Decoder(size.config(length))
    tokens_BT = torch.randint(0, size.vocab, (rows, length))
    # Of plain products: the counter does not know a CPU's flash attention, nor products that are
    # written where they are wanted.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        total, _ = next_token_loss(model(tokens_BT), tokens_BT)
        total.backward()
    expected = size.flops_per_token(length) * rows * length
    assert counter.get_total_flops() == pytest.approx(expected, rel=1e-6)
    assert training_flops(model)(length).of(1, 1) == size.flops_per_token(length)


def test_what_does_not_fit_is_tried_smaller_and_says_so(monkeypatch, tmp_path):
    tried = []

    def ours(size, length, rows, checkpointing, *rest, documents):
        tried.append((rows, checkpointing))
        if rows > 2:
            raise torch.OutOfMemoryError("too much")
        return {"tokens_per_second": 1.0}

    monkeypatch.setattr(measures, "_ours", ours)
    clock, options = Clock(1, CPU), argparse.Namespace()
    row = training_row("toy", 64, "ours", clock, options, tmp_path)
    assert tried == [(8, "none"), (4, "none"), (2, "none")]
    assert (row["rows"], row["out_of_memory_at_rows"]) == (2, 4)

    def never(*arguments, **named):
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(measures, "_ours", never)
    row = training_row("toy", 64, "ours", clock, options, tmp_path)
    assert row["error"] == "out of memory at every size"
