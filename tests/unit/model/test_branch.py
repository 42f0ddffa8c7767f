"""Branches: an ending of its own, on what the stable run has learned and where it stopped."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.job import MixturePhase
from model.options import OptimConfig
from model.trainer import train

STABLE = OptimConfig(lr=3e-3, warmup_steps=2, decay="constant")
LATE = OptimConfig(lr=3e-3, warmup_steps=2, decay="wsd", wsd_first_decay_step=6)


def final(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "final" / "model.safetensors")


def rates(folder: Path) -> dict[int, float]:
    events = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {e["step"]: e["lr"] for e in events if e["event"] == "step"}


@pytest.fixture
def stable(make_job, tmp_path):
    job = make_job("pretrain", steps=6, optim=STABLE, out_dir=str(tmp_path / "stable"))
    train(job)
    return job


def branch(stable, folder, **changes):
    fields = {"steps": 10, "optim": LATE, "out_dir": str(folder)}
    start = str(Path(stable.out_dir) / "checkpoints" / "step-00000006")
    return dataclasses.replace(stable, branch_from=start, **(fields | changes))


def test_a_branch_is_the_run_that_had_meant_to_end_so_from_the_beginning(stable, tmp_path):
    whole = dataclasses.replace(stable, steps=10, optim=LATE, out_dir=str(tmp_path / "whole"))
    train(whole)
    train(branch(stable, tmp_path / "branch"))
    ours, theirs = final(tmp_path / "branch"), final(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    fall = rates(tmp_path / "branch")
    assert sorted(fall) == [7, 8, 9, 10]
    assert fall == {step: rates(tmp_path / "whole")[step] for step in fall}


def test_a_branch_has_a_log_of_its_own_that_says_how_it_starts(stable, tmp_path):
    halves = branch(stable, tmp_path / "branch")
    assert train(halves, lambda: True) == "stopped"
    train(halves)
    lines = (tmp_path / "branch" / "metrics.jsonl").read_text().splitlines()
    events = [(e["event"], e["step"]) for e in map(json.loads, lines) if e["event"] != "checkpoint"]
    told = [("step", 7), ("resumed", 7), ("step", 8), ("step", 9), ("step", 10), ("eval", 10)]
    assert events == [("start", 6), *told, ("done", 10)]


def test_a_branch_cut_short_goes_on_with_its_own_checkpoint(stable, tmp_path):
    train(branch(stable, tmp_path / "whole"))
    halves = branch(stable, tmp_path / "halves")
    assert train(halves, lambda: True) == "stopped"
    assert train(halves) == "done"
    ours, theirs = final(tmp_path / "halves"), final(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_branch_may_end_on_a_source_of_its_own(stable, tmp_path, data):
    more = dataclasses.replace(
        stable.data,
        groups=stable.data.groups | {"best": [str(data / "val.bin")]},
        phases=[MixturePhase(first_step=6, weights={"best": 1.0})],
    )
    job = branch(stable, tmp_path / "branch", data=more)
    train(job)
    events = map(json.loads, (tmp_path / "branch" / "metrics.jsonl").read_text().splitlines())
    (done,) = (event for event in events if event["event"] == "done")
    assert done["tokens"]["best"] == 4 * job.batch_size * job.seq_len
    assert sum(done["tokens"].values()) == 10 * job.batch_size * job.seq_len


def test_what_shaped_the_past_is_not_chosen_anew(stable, tmp_path):
    for changes in (
        {"optim": dataclasses.replace(LATE, lr=1e-3)},
        {"optim": dataclasses.replace(LATE, kind="muon")},
        {"seed": 1},
    ):
        with pytest.raises(ValueError, match=r"was trained with (optim|seed)"):
            train(branch(stable, tmp_path / "other", **changes))


def test_branching_is_for_pretraining(make_job):
    with pytest.raises(ValueError, match="branch_from is for pretraining; got 'sft'"):
        make_job("sft", branch_from="x")
