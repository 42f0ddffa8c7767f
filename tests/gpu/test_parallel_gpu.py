"""On several GPUs: ranks over nccl take the steps that one takes, within bfloat16."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.options import OptimConfig, ParallelConfig
from model.trainer import train
from tests.ranks import run_ranks

pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")


@pytest.mark.parametrize(
    ("parallel", "kind"),
    [
        (ParallelConfig(), "adamw"),
        (ParallelConfig(data="fsdp"), "adamw"),
        (ParallelConfig(data="fsdp"), "muon"),
        (ParallelConfig(tensor=2), "adamw"),
    ],
    ids=["ddp", "fsdp", "fsdp-muon", "tensor"],
)
def test_two_gpus_take_the_steps_that_one_takes(make_job, tmp_path, parallel, kind):
    settings = {"device": "auto", "optim": OptimConfig(lr=1e-3, warmup_steps=2, kind=kind)}
    one = make_job("sft", out_dir=str(tmp_path / "one"), **settings)
    two = make_job("sft", out_dir=str(tmp_path / "two"), parallel=parallel, **settings)
    train(one)
    run_ranks(2, train, two, folder=tmp_path)
    ours, theirs = (
        load_file(Path(job.out_dir) / "final" / "model.safetensors") for job in (one, two)
    )
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=5e-3)
