"""What a run says while it trains, and that saying it changes nothing."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from model.checkpoint import load_model
from model.early_stop import EarlyStop
from model.job import PretrainData
from model.options import FinetuneConfig, OptimConfig
from model.trainer import Trainer, train
from tests.unit.model.test_trainer import StopAfter, assert_same_bits, events, weights


@pytest.fixture
def grouped(make_job, data):
    """A pretraining job with held-out groups, one of which fills no window."""

    def make(**changes):
        base = make_job("pretrain")
        groups = {"web": [str(data / "web.bin")], "code": [str(data / "code.bin")]}
        val = {"own": [str(data / "val.bin")], "code": groups["code"]}
        own = PretrainData(groups=groups, weights=base.data.weights, val=val)
        return make_job("pretrain", **{"data": own, "steps": 6, "eval_every_steps": 3} | changes)

    return make


def test_steps_say_how_fast_and_with_what(make_job):
    job = make_job("pretrain", steps=4, peak_tflops=1e-3)
    train(job)
    (start,) = events(job, "start")
    assert start["peak_flops_per_second"] == 1e9
    for event in events(job, "step"):
        assert 0 < event["data_wait_share"] < 1
        speed = event["mfu"] * 1e9 / start["training_flops_per_token"]
        assert speed == pytest.approx(event["tokens_per_second"], rel=0.05)
        assert 50e6 < event["peak_memory_bytes"] < 50e9


def test_who_waits_reads_how_it_goes_and_how_it_ended(make_job, caplog):
    job = make_job("sft", steps=4)
    with caplog.at_level("INFO", "model.progress"):
        train(job)
    (done,) = events(job, "done")
    begun, ended = [record.message for record in caplog.records if "step" in record.message]
    assert begun.startswith("step 1/4: loss ")
    assert ended == (
        f"finished at step 4, held-out loss {done['val_loss']:.4f}: {job.out_dir}/final"
    )


def test_prefetch_changes_no_bit(make_job, tmp_path):
    jobs = [
        make_job(objective, out_dir=str(tmp_path / f"{objective}{depth}"), prefetch_batches=depth)
        for objective in ("pretrain", "sft")
        for depth in (0, 3)
    ]
    for job in jobs:
        train(job)
    assert_same_bits(jobs[0], jobs[1])
    assert_same_bits(jobs[2], jobs[3])


def test_samples_are_written_and_change_no_bit(make_job, base_model, tmp_path):
    """With dropout, which draws from the generator that a sample must not touch."""
    lora = FinetuneConfig(rank=2, dropout=0.5)
    silent, talking = (
        make_job(
            "sft",
            out_dir=str(tmp_path / name),
            finetune=lora,
            sample_prompts=prompts,
            sample_tokens=5,
        )
        for name, prompts in (("silent", []), ("talking", ["iron 3?", "ore?" * 40]))
    )
    train(silent), train(talking)
    assert_same_bits(silent, talking)
    written = events(talking, "samples")
    assert [event["step"] for event in written] == [5, 10]
    for event in written:
        assert [sample["prompt"] for sample in event["samples"]] == ["iron 3?", "ore?" * 40]
    again = make_job(
        "sft", out_dir=str(tmp_path / "again"), finetune=lora, sample_prompts=["iron 3?"]
    )
    train(again, StopAfter(4))
    train(again)
    assert_same_bits(silent, again)


def test_samples_of_a_document_go_on_from_its_beginning(make_job):
    job = make_job("pretrain", steps=5, sample_prompts=["", "ash bloom"], sample_tokens=4)
    train(job)
    (event,) = events(job, "samples")
    model, tokenizer = load_model(Path(job.out_dir) / "final")
    bos = tokenizer.token_to_id("<|bos|>")
    ids = [bos, *tokenizer.encode("ash bloom", add_special_tokens=False).ids]
    with torch.no_grad():
        likeliest = model(torch.tensor([ids]))[0, -1].argmax().item()
    assert event["samples"][1]["greedy"].startswith(tokenizer.decode([likeliest]))


def test_each_held_out_group_is_measured_by_itself(grouped, data, make_job, tmp_path):
    job = grouped()
    train(job)
    evaluated = events(job, "eval")
    assert [set(e["val_bits_per_byte_by_group"]) for e in evaluated] == [{"own", "code"}] * 2
    assert evaluated[-1]["epochs"] == events(job, "done")[0]["epochs"]
    for group, path in (("own", "val.bin"), ("code", "code.bin")):
        alone = make_job(
            "pretrain",
            out_dir=str(tmp_path / group),
            data=PretrainData(
                groups=job.data.groups, weights=job.data.weights, val=[str(data / path)]
            ),
            steps=6,
            eval_every_steps=3,
        )
        train(alone)
        for ours, theirs in zip(evaluated, events(alone, "eval"), strict=True):
            assert ours["val_bits_per_byte_by_group"][group] == theirs["val_bits_per_byte"]


def test_the_total_is_what_it_was_when_the_groups_were_one_list(grouped, tmp_path):
    apart = grouped(out_dir=str(tmp_path / "apart"), eval_batches=3)
    paths = [path for group in apart.data.val.values() for path in group]
    whole = grouped(
        out_dir=str(tmp_path / "whole"),
        eval_batches=3,
        data=PretrainData(groups=apart.data.groups, weights=apart.data.weights, val=paths),
    )
    train(apart), train(whole)
    for ours, theirs in zip(events(apart, "eval"), events(whole, "eval"), strict=True):
        assert ours["val_loss"] == theirs["val_loss"]
    assert_same_bits(apart, whole)


def test_tensorboard_has_the_log_as_curves(grouped):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="pip install tensorboard"
    )
    job = grouped(steps=9, sample_prompts=["iron"])
    train(job, StopAfter(4))
    train(job)
    curves = accumulator.EventAccumulator(str(Path(job.out_dir) / "tensorboard"))
    curves.Reload()
    for tag, event, field in (("train/loss", "step", "loss"), ("val/loss", "eval", "val_loss")):
        shown = [(point.step, point.value) for point in curves.Scalars(tag)]
        assert shown == [(e["step"], pytest.approx(e[field], rel=1e-6)) for e in events(job, event)]
    assert {"val_bits_per_byte_by_group/own", "epochs/web"} <= set(curves.Tags()["scalars"])
    assert [point.step for point in curves.Tensors("samples/0")] == [3, 6, 9]


# --- early stop --------------------------------------------------------------------------------


def watch(losses, patience, min_delta=0.0):
    stop, kept = EarlyStop("nowhere", patience, min_delta), []
    for step, loss in enumerate(losses, start=1):
        stop.look(step, {"val_loss": loss}, lambda folder: kept.append(folder.name))
        if stop.is_over:
            return step, stop.best["step"], len(kept)
    return None, stop.best["step"], len(kept)


@pytest.mark.parametrize(
    ("losses", "patience", "min_delta", "expected"),
    [
        ([5, 4, 3, 2], 1, 0.0, (None, 4, 4)),
        ([5, 4, 4.5, 4.2], 2, 0.0, (4, 2, 2)),
        ([5, 4, 4.5, 3.9, 4, 4], 2, 0.0, (6, 4, 3)),
        ([5, 4, 4], 1, 0.0, (3, 2, 2)),
        ([5, 4.95, 4.92, 4.85], 2, 0.1, (3, 1, 1)),
        ([5, math.nan, 4], 2, 0.0, (None, 3, 2)),
        ([math.nan, 5, 4], 2, 0.0, (None, 3, 2)),
    ],
)
def test_patience_counts_evaluations_without_a_gain(losses, patience, min_delta, expected):
    assert watch(losses, patience, min_delta) == expected


def test_a_best_model_stays_while_a_checkpoint_speaks_of_it(tmp_path):
    stop, checkpoints = EarlyStop(tmp_path, 9, 0.0), tmp_path / "checkpoints"
    for step, loss in ((1, 5.0), (2, 4.0), (3, 3.0), (4, 3.5), (5, 2.0)):
        stop.look(step, {"val_loss": loss}, lambda folder: folder.mkdir(parents=True))
        saved = checkpoints / f"step-{step:08d}" / "trainer.json"
        saved.parent.mkdir(parents=True)
        saved.write_text(json.dumps({"early_stop": stop.state_dict()}))
        if step == 4:
            shutil.rmtree(checkpoints / "step-00000001")
        stop.saved(checkpoints)
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == [
        *("step-00000002", "step-00000003", "step-00000005")
    ]


OVERFITTING = {
    "steps": 200,
    "eval_every_steps": 2,
    "early_stop_patience": 3,
    "optim": OptimConfig(lr=1e-2, warmup_steps=0, decay="constant"),
}


def test_the_best_model_is_exported_and_not_the_last(make_job, tmp_path, replace):
    """Answers drawn at random cannot be learned: training on them soon makes others unlikely."""
    job = make_job("sft", **OVERFITTING)
    held_out = Path(job.data.val).read_text().splitlines(keepends=True)
    for name, lines in (("train", held_out[:12]), ("val", held_out[12:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    split = replace(job.data, train=str(tmp_path / "train.jsonl"), val=str(tmp_path / "val.jsonl"))
    job = replace(job, data=split)
    assert train(job) == "done"
    evaluated = events(job, "eval")
    losses = [event["val_loss"] for event in evaluated]
    best = evaluated[losses.index(min(losses))]
    (stopped,) = events(job, "early_stop")
    (done,) = events(job, "done")
    assert stopped["step"] == done["step"] == evaluated[-1]["step"] == best["step"] + 6 < 200
    assert stopped["best_step"] == done["best_step"] == best["step"]
    assert done["stopped_early"]
    assert done["val_loss"] == min(losses)
    trainer = Trainer(
        replace(job, init_from=str(Path(job.out_dir) / "final"), out_dir=str(tmp_path / "x"))
    )
    assert trainer.evaluate()["val_loss"] == pytest.approx(min(losses), rel=1e-6)
    trainer.close()
    # At the best step itself the schedule's end is still that of all steps: the same bits.
    shorter = replace(job, out_dir=str(tmp_path / "short"), steps=best["step"])
    train(replace(shorter, early_stop_patience=None))
    assert_same_bits(job, shorter)

    # Interrupted at every other step, and once with everything lost since a checkpoint.
    pieces = replace(job, out_dir=str(tmp_path / "pieces"), checkpoint_every_steps=3)
    for _ in range(100):
        if train(pieces, StopAfter(1 if len(events_or_none(pieces)) % 2 else 2)) == "done":
            break
    assert_same_bits(job, pieces)
    assert events(pieces, "early_stop") == [stopped]
    before = weights(pieces)
    train(pieces)  # once more: finished is finished
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(pieces).items())
    assert events(pieces, "early_stop") == [stopped]
    assert len(list((tmp_path / "pieces" / "best").iterdir())) <= 2


def events_or_none(job):
    return events(job, "checkpoint") if (Path(job.out_dir) / "metrics.jsonl").exists() else []


def test_a_lost_checkpoint_takes_its_best_model_along(make_job, tmp_path):
    """The newest checkpoint is damaged: the one before still finds the model that it calls best."""
    job = make_job("pretrain", early_stop_patience=5, steps=20, eval_every_steps=1)
    whole = make_job(
        "pretrain",
        early_stop_patience=5,
        steps=20,
        eval_every_steps=1,
        out_dir=str(tmp_path / "whole"),
    )
    train(whole)
    train(job, StopAfter(6))
    train(job, StopAfter(5))
    newest = sorted((Path(job.out_dir) / "checkpoints").glob("step-*"))[-1]
    shutil.rmtree(newest)
    train(job)
    assert_same_bits(whole, job)


def test_early_stop_needs_something_held_out(make_job, replace):
    job = make_job("sft")
    with pytest.raises(ValueError, match="early_stop_patience needs held-out data"):
        replace(job, data=replace(job.data, val=None), early_stop_patience=1)
    with pytest.raises(ValueError, match="at least 1, or null"):
        make_job("sft", early_stop_patience=0)
