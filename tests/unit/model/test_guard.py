"""A refused update changes nothing but counters; a run with refusals is one result, however it is
stopped."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.chat import encode_document, load_tokenizer
from model.checkpoint import export_model, load_checkpoint
from model.decoder import Decoder
from model.guard import Guard
from model.job import PretrainData, RecordData
from model.options import FinetuneConfig, GuardConfig, OptimConfig
from model.process import run_job
from model.tokens import TokenShard, TokenWriter
from model.trainer import Trainer, train
from tests.unit.model.conftest import VOCAB_SIZE, WORDS

POISON = "ore"  # in one document alone; the models here have a NaN for it


def events(job, kind) -> list[dict]:
    lines = (Path(job.out_dir) / "metrics.jsonl").read_text().splitlines()
    return [e for e in map(json.loads, lines) if e["event"] == kind]


def final_bytes(job) -> bytes:
    return (Path(job.out_dir) / "final" / "model.safetensors").read_bytes()


class StopAfter:
    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.fixture(scope="session")
def poison(tmp_path_factory, tokenizer_path, tiny, replace_config):
    """A model that answers NaN to one word, token shards with that word in one document, and
    records with it in one record."""
    folder = tmp_path_factory.mktemp("poison")
    tokenizer = load_tokenizer(tokenizer_path)
    word = tokenizer.encode(f" {POISON}").ids
    assert len(word) == 1
    torch.manual_seed(3)
    model = Decoder(replace_config(tiny, tie_embeddings=False))
    with torch.no_grad():
        model.embed.weight[word[0]] = math.nan
    export_model(folder / "model", model, tokenizer_path)
    rng = random.Random(5)
    calm = [w for w in WORDS if w != POISON]
    texts = [" ".join(rng.choices(calm, k=60)) for _ in range(40)]
    texts[17] = " ".join([*texts[17].split()[:30], *[POISON] * 3, "ash"])
    with TokenWriter(folder, "web", VOCAB_SIZE) as out:
        for text in texts:
            out.add(encode_document(tokenizer, text))
    records = [
        {
            "id": f"r{number}",
            "messages": [
                {"role": "user", "content": f"ash {POISON}" if number == 7 else "ash bloom"},
                {"role": "assistant", "content": " ".join(rng.choices(calm, k=4))},
            ],
        }
        for number in range(24)
    ]
    (folder / "sft.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder


@pytest.fixture(scope="session")
def replace_config():
    import dataclasses

    return dataclasses.replace


@pytest.fixture
def poisoned(make_job, poison, tokenizer_path, tmp_path):
    """A pretraining job that meets a NaN in few of its batches."""

    def make(name="out", **changes):
        fields = {
            "model": None,
            "init_from": str(poison / "model"),
            "tokenizer": str(tokenizer_path),
            "data": PretrainData(groups={"web": [str(poison / "web.bin")]}, weights={"web": 1.0}),
            "out_dir": str(tmp_path / name),
            "steps": 24,
            "eval_every_steps": 100,
        }
        return make_job("pretrain", **(fields | changes))

    return make


def bad_batches(job) -> set[int]:
    """By looking into every batch for the word."""
    trainer = Trainer(job)
    word = load_tokenizer(trainer.tokenizer_path).encode(f" {POISON}").ids[0]
    batches = [trainer.loader.next_batch() for _ in range(job.steps)]
    trainer.close()
    return {n for n, batch in enumerate(batches) if (batch.inputs_BT == word).any()}


def everything(trainer) -> list[torch.Tensor]:
    state = trainer.optimizer.state_dict()["state"]
    tensors = [t for entry in state.values() for t in entry.values()]
    return [t.clone() for t in (*trainer.model.parameters(), *tensors)]


def same(one, other) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_skipped_update_changes_nothing_and_all_others_are_made(poisoned, kind):
    optim = OptimConfig(lr=3e-3, warmup_steps=2, kind=kind)
    job = poisoned(guard=GuardConfig(on_nonfinite="skip"), optim=optim)
    bad = bad_batches(job)
    assert 1 <= len(bad) <= 4
    assert 0 not in bad
    trainer = Trainer(job)
    for batch in range(job.steps):
        before, taken = everything(trainer), sum(trainer.loader.tokens().values())
        trainer.train_one_step()
        assert same(before, everything(trainer)) == (batch in bad)
        assert trainer.step == batch + 1
        tokens = job.batch_size * job.seq_len
        assert sum(trainer.loader.tokens().values()) == taken + tokens
    trainer.close()
    assert [e["step"] for e in events(job, "skipped")] == [b + 1 for b in sorted(bad)]
    assert len(events(job, "step")) == job.steps - len(bad)


def stretches(shard, indices) -> list[tuple[int, int]]:
    """Where documents that follow one another begin and end in the shard's run of ids."""
    ends = np.cumsum([len(shard.document(i)) for i in range(shard.num_documents)])
    found: list[tuple[int, int]] = []
    for i in indices:
        start = int(ends[i - 1]) if i else 0
        if found and found[-1][1] == start:
            start = found.pop()[0]
        found.append((start, int(ends[i])))
    return found


def is_within(part, whole) -> bool:
    return any(part == whole[a : a + len(part)] for a in range(len(whole)))


def test_the_documents_of_a_skipped_batch_are_named(poisoned, poison):
    job = poisoned(guard=GuardConfig(on_nonfinite="skip"))
    train(job)
    shard = TokenShard(poison / "web.bin")
    trainer = Trainer(poisoned("other"))
    batches = [trainer.loader.next_batch() for _ in range(job.steps)]
    trainer.close()
    for event in events(job, "skipped"):
        assert "nan" in event["why"]
        ((path, indices),) = event["documents"].items()
        assert path == str(shard.path)
        assert 17 in indices
        # Each row of the batch is a stretch of the documents' ids, laid end to end.
        batch = batches[event["step"] - 1]
        rows = torch.cat([batch.inputs_BT, batch.targets_BT[:, -1:]], dim=1).tolist()
        runs = [shard.tokens_N[a:b].tolist() for a, b in stretches(shard, indices)]
        assert all(any(is_within(row, run) for run in runs) for row in rows)
    (done,) = events(job, "done")
    assert (done["skipped_batches"], done["rollbacks"]) == (len(events(job, "skipped")), 0)


def test_of_records_the_ids_are_named(make_job, poison):
    job = make_job(
        "sft",
        init_from=str(poison / "model"),
        tokenizer=str(poison / "model" / "tokenizer.json"),
        data=RecordData(train=str(poison / "sft.jsonl")),
        guard=GuardConfig(on_nonfinite="skip"),
        steps=6,
    )
    train(job)
    (event,) = events(job, "skipped")  # six batches of four are one epoch of 24
    ((path, ids),) = event["documents"].items()
    assert path == str(poison / "sft.jsonl")
    assert "r7" in ids
    assert len(set(ids)) == 4


@pytest.mark.parametrize("finetune", [None, FinetuneConfig(dropout=0.3)])
def test_a_rollback_ends_as_a_run_that_never_saw_those_batches(poisoned, finetune):
    guard = GuardConfig(on_nonfinite="rollback", rollback_batches=3)
    job = poisoned(guard=guard, checkpoint_every_steps=2, finetune=finetune)
    bad = bad_batches(job)
    assert train(job) == "done"
    back = events(job, "rolled_back")
    assert [e["from_step"] - 1 for e in back if e["why"].startswith("the loss is nan")]
    assert all(e["step"] <= max(0, e["from_step"] - 3) for e in back)
    without = poisoned("without", finetune=finetune)
    trainer = Trainer(without)
    trainer.guard.left_out = {n for b in bad for n in range(max(0, b - 2), b + 1)}
    assert trainer.run(lambda: False) == "done"
    trainer.close()
    assert final_bytes(job) == final_bytes(without)
    (done,) = events(job, "done")
    assert done["skipped_batches"] == len(trainer.guard.left_out)
    assert done["rollbacks"] == len(back) >= 1


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_refusals_are_the_same_wherever_the_run_is_stopped(poisoned, policy):
    fields = {
        "guard": GuardConfig(on_nonfinite=policy, rollback_batches=3),
        "finetune": FinetuneConfig(dropout=0.3),
        "ema_decay": 0.9,
    }
    whole = poisoned("whole", **fields, checkpoint_every_steps=5)
    train(whole)
    for pause in (5, 7):
        cut = poisoned(f"cut{pause}", **fields)
        while train(cut, StopAfter(pause)) == "stopped":
            torch.manual_seed(pause)
        assert final_bytes(cut) == final_bytes(whole), pause


def test_what_was_decided_is_in_the_checkpoint(poisoned):
    job = poisoned(guard=GuardConfig(on_nonfinite="skip"), checkpoint_every_steps=24)
    train(job)
    trainer = Trainer(job)
    state = load_checkpoint(
        trainer.checkpoints / "step-00000024", trainer.model, trainer.optimizer
    ).state["guard"]
    trainer.close()
    assert set(state["left_out"]) == bad_batches(job)
    assert len(state["losses"]) == 24 - len(state["left_out"])


def test_too_many_refusals_in_a_row_stop_the_run_with_a_good_checkpoint(make_job, poison):
    texts = (poison / "sft.jsonl").read_text().replace("ash bloom", f"ash {POISON}")
    (poison / "all.jsonl").write_text(texts)
    job = make_job(
        "sft",
        init_from=str(poison / "model"),
        data=RecordData(train=str(poison / "all.jsonl")),
        guard=GuardConfig(on_nonfinite="skip", max_skips_in_a_row=3),
    )
    with pytest.raises(FloatingPointError, match=r"step 3 .*3 refused in a row.*step-00000003"):
        train(job)
    saved = load_file(Path(job.out_dir) / "checkpoints" / "step-00000003" / "model.safetensors")
    begun = load_file(poison / "model" / "model.safetensors")
    assert all(torch.equal(saved[n].nan_to_num(), begun[n].nan_to_num()) for n in begun)


def test_a_guard_that_finds_nothing_changes_no_bit(make_job, tmp_path):
    guards = [GuardConfig(), GuardConfig(on_nonfinite="rollback", on_spike="skip")]
    jobs = [
        make_job("pretrain", out_dir=str(tmp_path / str(g.may_refuse)), guard=g) for g in guards
    ]
    for job in jobs:
        train(job)
    assert final_bytes(jobs[0]) == final_bytes(jobs[1])


def test_a_batch_unlike_all_others_is_a_leap(make_job, tokenizer, tmp_path):
    """Text of one word, and in its midst noise: the loss leaps, and the noise is not learned."""
    rng = random.Random(2)
    with TokenWriter(tmp_path, "odd", VOCAB_SIZE) as out:
        for number in range(60):
            ids = encode_document(tokenizer, " ".join(["ash"] * 62))
            noise = [ids[0], *(rng.randrange(20, VOCAB_SIZE) for _ in ids[2:]), ids[-1]]
            out.add(noise if number == 31 else ids)
    data = PretrainData(groups={"odd": [str(tmp_path / "odd.bin")]}, weights={"odd": 1.0})
    guard = GuardConfig(on_spike="skip", window_steps=8)
    job = make_job("pretrain", data=data, steps=60, batch_size=4, guard=guard, eval_every_steps=100)
    train(job)
    skipped = events(job, "skipped")
    assert 1 <= len(skipped) <= 6
    for event in skipped:
        assert "leaps to" in event["why"]
        assert 31 in event["documents"][str(tmp_path / "odd.bin")]


def test_stop_names_the_last_good_checkpoint(poisoned):
    job = poisoned(
        guard=GuardConfig(on_nonfinite="stop", on_spike="skip"), checkpoint_every_steps=1
    )
    first = min(bad_batches(job))
    with pytest.raises(FloatingPointError, match=rf"step {first + 1} .*step-{first:08d}"):
        train(job)


# --- the rule alone ------------------------------------------------------------------------------


def look(guard, batch, loss, norm=1.0):
    return guard.look(batch, torch.tensor(loss, dtype=torch.float64), torch.tensor(norm))


def test_a_leap_is_so_many_standard_deviations_above_the_window():
    values = np.random.default_rng(0).normal(5, 0.5, 300)
    guard = Guard(GuardConfig(on_spike="skip", window_steps=50, spike_sigmas=2.0))
    window: list[float] = []
    refused = 0
    for batch, value in enumerate(values.tolist()):
        recent = window[-50:]
        leaps = len(recent) >= 25 and value > np.mean(recent) + 2 * np.std(recent)
        trouble = look(guard, batch, value)
        assert (trouble is not None) == leaps
        if leaps:
            refused += 1
        else:
            window.append(value)
    assert refused > 3
    assert len(guard.left_out) == refused


def test_the_gradient_norm_is_watched_as_the_loss_is_and_falling_is_no_leap():
    guard = Guard(GuardConfig(on_spike="stop", window_steps=8))
    for batch in range(8):
        assert look(guard, batch, 3.0 - 0.01 * batch, 1.0 + 0.1 * (batch % 2)) is None
    assert "gradient norm leaps to 9" in look(guard, 8, 2.9, 9.0).why
    assert look(guard, 9, 0.1, 0.1) is None


def test_another_mixture_may_have_another_loss():
    for borders, is_leap in (([], True), ([8], False)):
        guard = Guard(GuardConfig(on_spike="skip", window_steps=8), borders)
        for batch in range(8):
            look(guard, batch, 2.0)
        assert (look(guard, 8, 4.0) is not None) == is_leap


@pytest.mark.parametrize("stopped", [False, True])
def test_another_mixture_may_begin_with_a_batch_that_is_left_out(stopped):
    guard = Guard(GuardConfig(on_spike="skip", window_steps=8), [8])
    for batch in range(8):
        look(guard, batch, 2.0)
    if stopped:
        state = guard.state_dict()
        guard = Guard(guard.config, [8])
        guard.load_state_dict(json.loads(json.dumps(state)))
    assert look(guard, 10, 4.0) is None  # 8 and 9 were left out by a rollback
    assert all(look(guard, batch, 4.0) is None for batch in range(11, 18))
    assert look(guard, 18, 8.0) is not None


def test_refusals_are_counted_until_an_update_is_left_standing():
    guard = Guard(GuardConfig(on_nonfinite="skip"))
    counts = []
    for batch, loss in enumerate([1.0, math.nan, math.inf, 1.0, math.nan]):
        trouble = look(guard, batch, loss)
        counts.append(trouble.in_a_row if trouble else 0)
    assert counts == [0, 1, 2, 0, 1]
    guard = Guard(GuardConfig(on_nonfinite="rollback", rollback_batches=4))
    rows = []
    for batch in (10, 13, 18):  # of the batches between 10 and 13 none is trained on in the end
        trouble = look(guard, batch, math.nan)
        rows.append((trouble.in_a_row, guard.roll_back(trouble)[0]))
    assert rows == [(1, 7), (2, 10), (1, 15)]
    assert guard.left_out == {*range(7, 14), *range(15, 19)}


def test_two_processes_leave_out_what_one_leaves_out(poisoned, write_job):
    finals = []
    for processes in (1, 2):
        job = poisoned(str(processes), guard=GuardConfig(on_nonfinite="skip"))
        if processes == 1:
            train(job)
        else:
            run_job(write_job(job), num_processes=2)
        finals.append(load_file(Path(job.out_dir) / "final" / "model.safetensors"))
        assert {e["step"] - 1 for e in events(job, "skipped")} == bad_batches(job)
    for name, tensor in finals[0].items():
        torch.testing.assert_close(finals[1][name], tensor, rtol=0, atol=5e-5, equal_nan=True)
