"""However the arithmetic is done, it is the same arithmetic."""

import dataclasses
import functools
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from model import compute, head_loss
from model.architectures import EncoderConfig, LstmConfig
from model.batches import pad_rows
from model.compute import Compute
from model.decoder import Decoder
from model.encoder import Encoder
from model.generate import generate
from model.optim import make_optimizer
from model.options import OptimConfig
from model.recompute import block_runner
from model.trainer import Trainer, train

CPU = torch.device("cpu")


def events(job, kind):
    lines = (Path(job.out_dir) / "metrics.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


# --- activation checkpointing ----------------------------------------------------------------


def make_models(tiny):
    torch.manual_seed(0)
    encoder = EncoderConfig(
        vocab_size=320, width=32, n_layers=2, n_heads=4, max_seq_len=64, mlp_width=64
    )
    return {"decoder": Decoder(tiny), "encoder": Encoder(encoder)}


def gradients_and_bytes(model, how):
    """Of a sum over the hidden states, and how much backward is kept for it."""
    model.run_block = block_runner(how)
    model.zero_grad()
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    tokens_BT = torch.arange(128).view(2, 64) % 320
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = model.hidden(tokens_BT, documents_BT=(tokens_BT % 20 == 0).cumsum(dim=1))
    hidden.square().sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None], sum(kept.values())


@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_what_is_made_again_is_the_same_to_the_last_bit(tiny, kind):
    model = make_models(tiny)[kind]
    plain, _ = gradients_and_bytes(model, "none")
    assert plain
    for how in ("selective", "full"):
        again, _ = gradients_and_bytes(model, how)
        assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True)), how


def peak_of_backward(tiny, how, n_layers=8):
    """Bytes of activations alive between forward and backward, all layers' together.

    Selective checkpointing keeps its tensors where saved_tensors_hooks do not see them, so what is
    left of all allocations is counted.
    """
    torch.manual_seed(0)
    model = Decoder(dataclasses.replace(tiny, n_layers=n_layers))
    model.run_block = block_runner(how)
    tokens_BT = torch.arange(256).view(4, 64) % 320
    with torch.profiler.profile(profile_memory=True) as profile:
        hidden = model.hidden(tokens_BT)
    assert hidden.requires_grad
    return sum(event.self_cpu_memory_usage for event in profile.key_averages())


def test_each_way_remembers_less_than_the_last(tiny):
    none, selective, full = (peak_of_backward(tiny, how) for how in ("none", "selective", "full"))
    assert selective < 0.75 * none
    assert full < 0.35 * none
    _, seen = gradients_and_bytes(Decoder(tiny), "none")
    _, seen_full = gradients_and_bytes(Decoder(tiny), "full")
    assert seen_full < 0.5 * seen


def test_models_without_blocks_are_told_so(make_job):
    lstm = LstmConfig(vocab_size=320, width=16, n_layers=1, max_seq_len=64)
    with pytest.raises(ValueError, match="works on blocks"):
        Trainer(make_job("pretrain", model=lstm, activation_checkpointing="full"))


# --- precision ---------------------------------------------------------------------------------


def test_bf16_says_almost_the_same_as_fp32(make_job, tiny):
    torch.manual_seed(0)
    model = Decoder(tiny).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # an untrained model's answers are all alike
    tokens_BT = torch.randint(0, 320, (4, 64))
    half = Compute(make_job("pretrain", precision="bf16"), CPU)
    with torch.no_grad():
        exact = model(tokens_BT).double().log_softmax(-1)
        with half.autocast():
            rounded = model(tokens_BT)
    assert rounded.dtype == torch.bfloat16
    rounded = rounded.double().log_softmax(-1)
    kl_per_token = (exact.exp() * (exact - rounded)).sum(-1).mean()
    assert 0 < kl_per_token < 1e-3
    assert exact.std() > 0.5  # there was something to get wrong


def test_auto_is_fp32_on_a_cpu(make_job):
    assert Compute(make_job("pretrain"), CPU).dtype == torch.float32
    assert Compute(make_job("pretrain"), torch.device("cuda")).dtype == torch.bfloat16


def last_loss(make_job, tmp_path, precision, **changes):
    job = make_job(
        "pretrain", out_dir=str(tmp_path / precision), precision=precision, steps=30, **changes
    )
    train(job)
    return events(job, "done")[0]["val_loss"]


def test_training_in_bf16_ends_where_fp32_does(make_job, tmp_path):
    exact, rounded = (last_loss(make_job, tmp_path, kind) for kind in ("fp32", "bf16"))
    assert exact < 4.5  # ln 320 is 5.8: something was learned
    assert rounded == pytest.approx(exact, rel=0.01)
    assert rounded != exact


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed")
def test_training_in_emulated_fp8_ends_where_fp32_does(make_job, tmp_path):
    exact, rounded = (last_loss(make_job, tmp_path, kind) for kind in ("fp32", "fp8"))
    assert rounded == pytest.approx(exact, rel=0.01)
    job = make_job("pretrain", precision="fp8", out_dir=str(tmp_path / "look"))
    kinds = [type(m).__name__ for m in Trainer(job).model.blocks[0].modules()]
    assert kinds.count("Float8Linear") == 4


@pytest.mark.skipif(importlib.util.find_spec("torchao") is not None, reason="torchao is installed")
def test_fp8_without_torchao_says_what_to_install(make_job):
    with pytest.raises(ValueError, match=r"bloomery\[fp8\]"):
        Trainer(make_job("pretrain", precision="fp8"))


# --- compilation -------------------------------------------------------------------------------


@pytest.fixture
def graphs(monkeypatch):
    """Counts what is compiled, by tracing alone: making kernels of it takes minutes on a CPU."""
    torch._dynamo.reset()
    head_loss._compiled.cache_clear()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    before = compute.num_compiled_graphs()
    yield lambda: compute.num_compiled_graphs() - before
    head_loss._compiled.cache_clear()
    torch._dynamo.reset()


def gradient(job, batches=3):
    trainer = Trainer(job)
    for _ in range(batches):
        trainer.model.zero_grad()
        means, _ = trainer.accumulate(trainer.loader.next_batch())
    trainer.close()
    return means["loss"].item(), torch.cat([p.grad.flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize(
    ("scope", "checkpointing"), [("model", "none"), ("blocks", "none"), ("model", "selective")]
)
def test_packed_rows_are_compiled_once(make_job, graphs, scope, checkpointing):
    """One graph for the model, or for all its blocks, and one for the head's loss."""
    changes = {"activation_checkpointing": checkpointing}
    loss, plain = gradient(make_job("pretrain", **changes))
    compiled_loss, compiled = gradient(
        make_job("pretrain", compile=True, compile_scope=scope, **changes)
    )
    assert graphs() == 2
    assert compiled_loss == pytest.approx(loss, rel=1e-5)
    assert (compiled - plain).norm() <= 1e-5 * plain.norm()


@pytest.mark.parametrize("scope", ["model", "blocks"])
def test_generating_from_a_compiled_model_compiles_nothing(make_job, graphs, scope):
    trainer = Trainer(make_job("pretrain", compile=True, compile_scope=scope))
    trainer.close()
    assert len(generate(trainer.model.eval(), [[1, 5, 9], [7]], 12)[0]) == 12
    assert graphs() == 0


def test_a_compiled_muon_takes_the_same_steps(tiny, make_job, graphs):
    optim = OptimConfig(kind="muon", lr=3e-3, warmup_steps=2)
    moved = []
    for on in (False, True):
        torch.manual_seed(0)
        model = Decoder(tiny)
        optimizer = make_optimizer(model, optim)
        Compute(make_job("pretrain", compile=on), CPU).prepare_optimizer(optimizer)
        for _ in range(3):
            for parameter in model.parameters():
                parameter.grad = torch.randn_like(parameter)
            optimizer.step()
        moved.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*moved, rtol=0, atol=1e-6)
    assert graphs() == len({p.shape for p in model.blocks.parameters() if p.ndim == 2})


def test_ragged_rows_come_in_few_widths_and_mean_the_same(make_job):
    rng = np.random.default_rng(0)
    jobs = [make_job("sft", compile=on, micro_batch_size=4) for on in (False, True)]
    fits = [Compute(job, CPU).fit for job in jobs]
    trainer = Trainer(make_job("sft", micro_batch_size=4))
    widths = set()
    for longest in range(5, 64, 7):
        rows = [(rng.integers(0, 320, longest), np.arange(longest) > 2) for _ in range(4)]
        batch = pad_rows(rows, pad_id=2, max_width=64)
        plain, padded = (trainer.criterion.sums(trainer.model, f(batch))["loss"] for f in fits)
        widths.add(fits[1](batch).inputs_BT.shape[1])
        assert padded.item() == pytest.approx(plain.item(), rel=1e-5)
    trainer.close()
    assert widths == {64}
    assert compute.MIN_WIDTH == 64


def test_recompiles_are_those_after_the_first_step(make_job, monkeypatch):
    counts = iter([5, 5, 7])
    monkeypatch.setattr(compute, "num_compiled_graphs", lambda: next(counts))
    counting = Compute(make_job("pretrain", compile=True), CPU)
    assert [counting.recompiles()["recompiles"] for _ in range(3)] == [0, 0, 2]
    assert Compute(make_job("pretrain"), CPU).recompiles() == {}
