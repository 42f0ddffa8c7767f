"""Training on a GPU: types, compilation and checkpointing change the speed, and not the result."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from model.decoder import Decoder
from model.float8 import MIN_CAPABILITY
from model.generate import generate
from model.recompute import block_runner
from model.trainer import Trainer, train


def events(job, kind):
    lines = (Path(job.out_dir) / "metrics.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


@pytest.fixture
def final_loss(make_job, tmp_path, replace):
    """Held-out loss of a job of 60 steps on the GPU, and its job."""

    def run(name, objective="pretrain", **changes):
        job = make_job(objective, out_dir=str(tmp_path / name), device="cuda", steps=60)
        job = replace(job, **changes)
        assert train(job) == "done"
        return events(job, "done")[0]["val_loss"], job

    return run


def test_bf16_ends_where_fp32_does(final_loss):
    exact, _ = final_loss("fp32", precision="fp32")
    rounded, job = final_loss("bf16")
    assert Trainer(job).compute.dtype == torch.bfloat16
    assert exact < 4.0
    assert rounded == pytest.approx(exact, rel=0.01)


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed")
def test_fp8_ends_where_bf16_does(final_loss, tiny, replace):
    if torch.cuda.get_device_capability() < MIN_CAPABILITY:
        pytest.skip("no float8 multipliers here")
    model = replace(tiny, width=128, mlp_width=256)
    exact, _ = final_loss("bf16", model=model)
    rounded, _ = final_loss("fp8", model=model, precision="fp8", compile=True)
    assert rounded == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("scope", ["model", "blocks"])
@pytest.mark.parametrize("attention", ["varlen", "flex"])
def test_packed_rows_are_compiled_once(final_loss, tiny, replace, scope, attention):
    """Batches of documents of all lengths: no shape is new after the first step."""
    model = replace(tiny, width=64)
    eager, _ = final_loss("eager", model=model)
    compiled, job = final_loss(
        f"{scope}-{attention}",
        model=model,
        compile=True,
        compile_scope=scope,
        attention=attention,
        eval_every_steps=60,
    )
    steps = events(job, "step")
    assert len(steps) == 60
    assert [e["recompiles"] for e in steps] == [0] * 60
    assert compiled == pytest.approx(eager, rel=0.01)


def test_ragged_rows_are_compiled_a_few_times(final_loss):
    _, job = final_loss("sft", objective="sft", compile=True, eval_every_steps=60)
    assert events(job, "step")[-1]["recompiles"] <= 2


def test_each_way_of_checkpointing_takes_less_memory(tiny, replace):
    torch.manual_seed(0)
    config = replace(tiny, width=256, mlp_width=704, n_layers=12, max_seq_len=1024)
    model = Decoder(config).to("cuda")
    tokens_BT = torch.randint(0, 320, (8, 1024), device="cuda")

    def peak_and_gradient(how):
        model.run_block = block_runner(how)
        model.zero_grad()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            hidden = model.hidden(tokens_BT)
        hidden.float().square().mean().backward()
        flat = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        return torch.cuda.max_memory_allocated() - before, flat

    none, plain = peak_and_gradient("none")
    selective, selective_gradient = peak_and_gradient("selective")
    full, full_gradient = peak_and_gradient("full")
    assert full < selective < none
    assert selective < 0.8 * none
    assert full < 0.5 * none
    for again in (selective_gradient, full_gradient):
        assert (again - plain).norm() <= 1e-3 * plain.norm()


def test_a_stopped_run_goes_on_to_the_same_loss(final_loss, make_job, tmp_path):
    whole, job = final_loss("whole")
    asked = iter(range(10**6))
    halves = make_job("pretrain", out_dir=str(tmp_path / "halves"), device="cuda", steps=60)
    assert train(halves, lambda: next(asked) >= 29) == "stopped"
    assert train(halves) == "done"
    assert events(halves, "done")[0]["val_loss"] == pytest.approx(whole, rel=1e-3)
    assert [e["step"] for e in events(halves, "resumed")] == [30]
    assert job.steps == halves.steps


def test_a_gpu_writes_what_a_cpu_writes(tiny):
    torch.manual_seed(0)
    model = Decoder(tiny).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    prompts = [[1, 5, 9], [7], list(range(20, 34))]
    on_cpu = generate(model, prompts, 20)
    assert generate(model.to("cuda"), prompts, 20) == on_cpu
