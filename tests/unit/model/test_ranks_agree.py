"""What one rank does or suffers alone, all of them are told of, and nobody waits for ever."""

import dataclasses
import json
import os
import time
from pathlib import Path

import pytest

from model import trainer as trainer_module
from model.architectures import ModelConfig
from model.disk import DiskFullError
from model.distributed import PeerFailedError
from model.early_stop import EarlyStop
from model.job import TrainJob
from model.metrics import MetricsLog
from model.options import ParallelConfig
from model.trainer import train
from tests.ranks import run_ranks

SECONDS = 60  # none of these takes ten


def is_first() -> bool:
    return os.environ["RANK"] == "0"


def train_by_own_clock(job: TrainJob) -> None:
    """Rank 1's seconds are up at every step, rank 0's never."""
    if is_first():
        job = dataclasses.replace(job, checkpoint_every_seconds=None)
    train(job)


def test_when_seconds_are_up_on_one_rank_all_save(make_job, tmp_path):
    job = make_job("pretrain", steps=8, checkpoint_every_seconds=1e-6)
    run_ranks(2, train_by_own_clock, job, folder=tmp_path, seconds=SECONDS)
    events = map(json.loads, (tmp_path / "out" / "metrics.jsonl").read_text().splitlines())
    saved = [event["step"] for event in events if event["event"] == "checkpoint"]
    assert saved == list(range(1, 9))


def no_room(*arguments: object, **fields: object) -> None:
    raise DiskFullError("no room on the disk")


def train_to_its_end(job: TrainJob, what: str, folder: str) -> None:
    """Leave the name of the error that ends it."""
    if is_first():
        match what:
            case "log begins":
                MetricsLog.__init__ = no_room
            case "log goes on":
                write = MetricsLog.write
                MetricsLog.write = lambda log, event, **fields: (
                    write(log, event, **fields) if fields.get("step", 0) < 3 else no_room()
                )
            case "last line":
                write = MetricsLog.write
                MetricsLog.write = lambda log, event, **fields: (
                    write(log, event, **fields) if event != "done" else no_room()
                )
            case "old models":
                EarlyStop.saved = no_room
            case "export":
                trainer_module.export_model = no_room
            case "best model":
                EarlyStop.finish = no_room
    elif what == "saving":
        from model import checkpoint

        checkpoint._write_own = no_room
        time.sleep(0.1)
    try:
        train(job)
    except Exception as error:
        Path(folder, os.environ["RANK"]).write_text(type(error).__name__)


@pytest.mark.parametrize(
    "what",
    [
        *("log begins", "log goes on", "last line", "old models"),
        *("export", "best model", "saving"),
    ],
)
@pytest.mark.parametrize("parallel", [ParallelConfig(), ParallelConfig(data="fsdp")])
def test_what_fails_on_one_rank_ends_all_at_the_same_place(make_job, tmp_path, parallel, what):
    job = make_job(
        "pretrain",
        checkpoint_every_steps=2,
        early_stop_patience=3 if what == "best model" else None,
        parallel=parallel,
    )
    run_ranks(2, train_to_its_end, job, what, str(tmp_path), folder=tmp_path, seconds=SECONDS)
    told = [(tmp_path / rank).read_text() for rank in ("0", "1")]
    names = [DiskFullError.__name__, PeerFailedError.__name__]
    assert told == (names[::-1] if what == "saving" else names)


def train_a_part(job: TrainJob) -> None:
    assert train(job, [True, *[False] * 5].pop) == "stopped"


@pytest.mark.parametrize("parallel", [ParallelConfig(), ParallelConfig(data="fsdp")])
def test_an_early_stop_may_be_switched_off_on_the_way(make_job, tmp_path, parallel):
    job = make_job("pretrain", early_stop_patience=5, eval_every_steps=2, parallel=parallel)
    run_ranks(2, train_a_part, job, folder=tmp_path, seconds=SECONDS)
    assert list((tmp_path / "out" / "best").iterdir())
    job = dataclasses.replace(job, early_stop_patience=None)
    run_ranks(2, train, job, folder=tmp_path, seconds=SECONDS)
    assert (tmp_path / "out" / "final" / "model.safetensors").exists()


def train_and_count_models(job: TrainJob, folder: str) -> None:
    made, make = [], trainer_module.initial_model
    trainer_module.initial_model = lambda job: made.append(job) or make(job)
    train(job)
    Path(folder, os.environ["RANK"]).write_text(str(len(made)))


def test_only_the_first_rank_holds_the_whole_model_for_an_export(make_job, tmp_path):
    job = make_job("pretrain", parallel=ParallelConfig(data="fsdp"))
    run_ranks(2, train_and_count_models, job, str(tmp_path), folder=tmp_path, seconds=SECONDS)
    assert [(tmp_path / rank).read_text() for rank in ("0", "1")] == ["2", "1"]


@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
def test_shards_in_bfloat16_learn_and_speak_as_one_rank_does(make_job, tiny, tmp_path, norm):
    mlp, bias = ("swiglu", False) if norm == "rmsnorm" else ("gelu", True)
    model: ModelConfig = dataclasses.replace(tiny, norm=norm, mlp=mlp, bias=bias)
    settings = {"model": model, "precision": "bf16", "sample_prompts": ["ash"], "sample_tokens": 4}
    one = make_job("pretrain", out_dir=str(tmp_path / "one"), **settings)
    many = make_job(
        "pretrain",
        out_dir=str(tmp_path / "many"),
        parallel=ParallelConfig(data="fsdp"),
        **settings,
    )
    train(one)
    run_ranks(2, train, many, folder=tmp_path, seconds=SECONDS)
    logs = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()]
        for name in ("one", "many")
    ]
    assert [event["event"] for event in logs[0]] == [event["event"] for event in logs[1]]
    for ours, theirs in zip(*logs, strict=True):
        for name in {"loss", "grad_norm", "val_loss"} & set(ours):
            assert theirs[name] == pytest.approx(ours[name], rel=0.02), (ours, theirs)
