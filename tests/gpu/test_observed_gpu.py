"""On a GPU: what a run says of the card, and that batches made ahead and samples change no loss."""

import json
from pathlib import Path

import pytest
import torch

from model.flops import peak_flops
from model.observe import peak_memory_bytes
from model.trainer import train


def events(job, kind):
    lines = (Path(job.out_dir) / "metrics.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def test_steps_tell_the_cards_memory_and_share_of_its_peak(make_job):
    job = make_job("pretrain", device="cuda", steps=6, log_every_steps=3)
    train(job)
    (start,) = events(job, "start")
    assert start["peak_flops_per_second"] == peak_flops(torch.device("cuda", 0))
    for step in events(job, "step"):
        assert 0 < step["peak_memory_bytes"] <= peak_memory_bytes(torch.device("cuda"))
        assert (step["mfu"] is None) == (start["peak_flops_per_second"] is None)
        assert 0 <= step["data_wait_share"] < 1


def test_batches_made_ahead_and_samples_change_no_loss(make_job, tmp_path):
    """Within rounding: a GPU adds in no fixed order."""
    losses = []
    for number, changes in enumerate(
        ({"prefetch_batches": 0}, {"sample_prompts": ["", "iron"], "sample_tokens": 8})
    ):
        job = make_job(
            "pretrain", device="cuda", out_dir=str(tmp_path / str(number)), precision="fp32"
        )
        train(job.__class__.from_json_dict(job.to_json_dict() | changes))
        losses.append([step["loss"] for step in events(job, "step")])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
