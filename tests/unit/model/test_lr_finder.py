"""The learning-rate finder: on a loss whose best rate is known, on real jobs, and its promises."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from model import lr_finder
from model.job import MixturePhase
from model.lr_finder import range_test, sweep
from model.options import OptimConfig
from model.schedule import learning_rate


def test_a_range_test_rises_by_the_same_factor_and_suggests_a_rate_that_learns(make_job, replace):
    job = make_job("pretrain", batch_size=8)
    found = range_test(job, min_lr=1e-5, max_lr=10.0, num_steps=50)
    rates = [point["lr"] for point in found.points]
    factors = [later / lr for lr, later in pairwise(rates)]
    assert factors == pytest.approx([(10.0 / 1e-5) ** (1 / 49)] * len(factors))
    assert rates[0] == pytest.approx(1e-5)
    assert found.is_bounded
    assert found.suggestion < rates[-1] / lr_finder.SAFETY
    around = sweep(job, [found.suggestion / 30, found.suggestion, 10.0], num_steps=30)
    assert around.best == found.suggestion
    assert around.measured == "held out"
    assert not around.is_at_edge


def test_rates_that_are_all_too_low_are_said_to_bound_nothing(make_job):
    found = range_test(make_job("pretrain"), min_lr=1e-6, max_lr=1e-3, num_steps=20)
    assert not found.is_bounded


def test_a_sweep_is_the_jobs_own_runs(make_job, replace, tmp_path):
    """Each loss is that of a whole training with that rate, bit for bit."""
    from model.trainer import train
    from tests.unit.model.test_trainer import events

    job = make_job("sft", steps=500)
    found = sweep(job, [3e-3, 1e-3], num_steps=20)
    assert [run["lr"] for run in found.runs] == [1e-3, 3e-3]
    for run in found.runs:
        own = replace(
            job,
            steps=20,
            out_dir=str(tmp_path / str(run["lr"])),
            optim=replace(job.optim, lr=run["lr"]),
        )
        train(own)
        assert run["loss"] == events(own, "done")[0]["val_loss"]
    assert found.is_at_edge


def test_a_rate_that_diverges_has_no_loss_and_is_not_the_best(make_job):
    job = make_job("pretrain", optim=OptimConfig(warmup_steps=0, weight_decay=0.0))
    found = sweep(job, [1e-3, 1e18], num_steps=15)
    assert found.runs[1]["loss"] is None
    assert found.best == 1e-3


def test_without_held_out_data_the_last_training_losses_count(make_job, replace):
    job = make_job("sft")
    found = sweep(replace(job, data=replace(job.data, val=None)), [1e-3, 1e-2], num_steps=10)
    assert found.measured == "training"


def test_a_short_run_keeps_the_share_of_the_decay_and_the_mixtures_it_reaches(make_job, replace):
    job = make_job("pretrain", steps=100)
    optim = OptimConfig(warmup_steps=20, decay="wsd", wsd_first_decay_step=60)
    late = [MixturePhase(first_step=n, weights={"web" if n < 50 else "code": 1.0}) for n in (9, 80)]
    data = replace(job.data, weights={"web": 1.0}, phases=late)
    short = lr_finder._short(replace(job, optim=optim, data=data), "folder", 30)
    assert (short.optim.warmup_steps, short.optim.wsd_decay_ratio) == (3, 0.5)
    assert learning_rate(15, 30, short.optim) == short.optim.lr > learning_rate(16, 30, short.optim)
    assert (short.data.phases, list(short.data.groups)) == (late[:1], ["web"])
    with pytest.raises(ValueError, match="rate of the run that it goes on from"):
        sweep(replace(job, branch_from="elsewhere"), [1e-3, 1e-2])


def test_a_loss_that_is_not_finite_from_the_first_step_is_told(make_job, monkeypatch):
    monkeypatch.setattr(lr_finder, "_step", lambda trainer, lr: float("nan"))
    with pytest.raises(ValueError, match="not finite at the first step"):
        range_test(make_job("pretrain"), num_steps=10)


@pytest.mark.parametrize("rates", [[], ["--sweep", "1e-3", "1e-2"]])
def test_the_command_leaves_the_job_alone(make_job, write_job, tmp_path, capsys, rates):
    job = make_job("pretrain")
    kept = Path(job.out_dir)
    kept.mkdir()
    (kept / "metrics.jsonl").write_text("mine\n")
    output = tmp_path / "found"
    arguments = [str(write_job(job)), "--steps", "15", "--output", str(output), *rates]
    assert lr_finder.main([*arguments, "--max-lr", "100"] if not rates else arguments) == 0
    assert {path.name: path.read_text() for path in kept.rglob("*")} == {"metrics.jsonl": "mine\n"}
    said = capsys.readouterr().out
    numbers = json.loads((output / "lr_finder.json").read_text())
    named = numbers["best" if rates else "suggestion"]
    assert f"{named:.1e}" in said
    assert (output / "lr_finder.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--output", "OUT"], "in the job's own out_dir"),
        (["--output", "OUT/deeper"], "in the job's own out_dir"),
        (["--output", "JOB"], "cannot be a folder"),
        (["--steps", "3"], "10 steps or more"),
        (["--min-lr", "1", "--max-lr", "0.1"], "below max_lr"),
        (["--sweep", "1e-3"], "two rates or more"),
    ],
)
def test_what_cannot_be_is_one_line(make_job, write_job, capsys, arguments, complaint):
    job = make_job("pretrain")
    path = str(write_job(job))
    names = {"OUT": job.out_dir, "JOB": path}
    for name, value in names.items():
        arguments = [argument.replace(name, value) for argument in arguments]
    assert lr_finder.main([path, *arguments]) == 2
    assert complaint in capsys.readouterr().err
