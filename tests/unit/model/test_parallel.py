"""However many ranks share the work, and in whatever way: the steps are those of one."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model import gradient_sum
from model.architectures import EncoderConfig, LstmConfig, ModelConfig
from model.devices import pick_device
from model.distributed import mesh_sizes
from model.job import TrainJob
from model.language_model import make_model
from model.options import FinetuneConfig, OptimConfig, ParallelConfig
from model.tensor_parallel import TensorGroup, split_over_ranks
from model.trainer import train
from tests.ranks import run_ranks

ADAMW = OptimConfig(lr=3e-3, warmup_steps=2)
MUON = OptimConfig(lr=3e-3, warmup_steps=2, kind="muon")
DDP, FSDP = ParallelConfig(), ParallelConfig(data="fsdp")
LORA = FinetuneConfig(rank=3, targets=("q_proj", "v_proj", "down_proj"))
VOCAB = {"vocab_size": 320, "max_seq_len": 64}
# Everything that tensor parallelism must deal out or leave alone.
RICH = ModelConfig(
    **VOCAB,
    width=32,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    mlp_width=48,
    qkv_bias=True,
    qk_norm=True,
    value_embeddings=True,
    tie_embeddings=False,
)
GPT2 = ModelConfig(
    **VOCAB,
    width=30,
    n_layers=2,
    n_heads=2,
    n_kv_heads=2,
    mlp_width=50,
    norm="layernorm",
    position="learned",
    mlp="gelu",
    bias=True,
)
EMA = {"ema_decay": 0.9, "early_stop_patience": 2}
RECOMPUTE = {"activation_checkpointing": "full"}
LSTM = LstmConfig(**VOCAB, width=24, n_layers=2)
BERT = EncoderConfig(**VOCAB, width=32, n_layers=2, n_heads=4, mlp_width=48)

CASES = {
    "ddp": (2, "sft", DDP, ADAMW, {}),
    "ddp-muon": (2, "pretrain", DDP, MUON, {"model": RICH}),
    "ddp-lstm": (2, "pretrain", DDP, ADAMW, {"model": LSTM}),
    "ddp-bert": (2, "mlm", DDP, ADAMW, {"model": BERT}),
    "ddp-pairs": (4, "dpo", DDP, ADAMW, {"batch_size": 3}),
    "fsdp": (
        4,
        "sft",
        FSDP,
        ADAMW,
        {"activation_checkpointing": "full", "sample_prompts": ["ash"]},
    ),
    "fsdp-muon": (2, "pretrain", FSDP, MUON, {"model": RICH, "early_stop_patience": 2}),
    "fsdp-pairs": (2, "dpo", FSDP, ADAMW, {"batch_size": 3}),
    "fsdp-lora": (2, "sft", FSDP, ADAMW, {"finetune": LORA}),
    "fsdp-replicas": (4, "sft", ParallelConfig(data="fsdp", replicas=2), ADAMW, EMA),
    "tensor-rich": (2, "pretrain", ParallelConfig(tensor=2), MUON, {"model": RICH}),
    "tensor-gpt2": (2, "pretrain", ParallelConfig(tensor=2), ADAMW, {"model": GPT2}),
    "ddp-tensor": (4, "sft", ParallelConfig(tensor=2), MUON, {}),
    "fsdp-tensor": (4, "sft", ParallelConfig(data="fsdp", tensor=2), MUON, {}),
}


def outcome(job: TrainJob) -> tuple[dict[str, torch.Tensor], list[dict]]:
    folder = Path(job.out_dir)
    events = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    told = [e for e in events if e["event"] in ("start", "step", "eval", "samples")]
    return load_file(folder / "final" / "model.safetensors"), told


def train_in_small_buckets(job: TrainJob) -> None:
    gradient_sum.BUCKET_BYTES = 10_000  # several, as a real model has
    train(job)


NUMBERS = ("num_parameters", "loss", "grad_norm", "tokens", "val_loss", "val_bits_per_byte")


@pytest.mark.parametrize("case", CASES)
def test_ranks_take_the_steps_that_one_takes(make_job, tmp_path, case):
    """Rows of unequal numbers of valid tokens, five for two or four ranks, two at a time."""
    num_ranks, objective, parallel, optim, changes = CASES[case]
    settings = {"batch_size": 5, "steps": 6, "eval_every_steps": 3, "optim": optim} | changes
    if objective in ("sft", "dpo"):
        settings.pop("model", None)
    one = make_job(objective, out_dir=str(tmp_path / "one"), **settings)
    many = make_job(objective, out_dir=str(tmp_path / "many"), parallel=parallel, **settings)
    train(one)
    run_ranks(num_ranks, train_in_small_buckets, many, folder=tmp_path)
    (weights, told), (their_weights, they_told) = outcome(one), outcome(many)
    assert their_weights.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(their_weights[name], weight, rtol=0, atol=5e-5)
    assert [e["event"] for e in they_told] == [e["event"] for e in told]
    for ours, theirs in zip(told, they_told, strict=True):
        for name in set(NUMBERS) & set(ours):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-5, abs=1e-6), (ours, theirs)


@pytest.mark.parametrize(
    ("world", "config", "sizes"),
    [
        (1, ParallelConfig(data="fsdp"), (1, 1, 1)),
        (4, DDP, (4, 1, 1)),
        (4, FSDP, (1, 4, 1)),
        (8, ParallelConfig(data="fsdp", replicas=2, tensor=2), (2, 2, 2)),
    ],
)
def test_every_process_has_a_place_in_the_mesh(world, config, sizes):
    assert tuple(mesh_sizes(world, config).values()) == sizes


def test_what_cannot_be_shared_out_is_refused_with_the_remedy(tiny):
    with pytest.raises(ValueError, match="start a multiple of 3"):
        mesh_sizes(4, ParallelConfig(tensor=3))
    with pytest.raises(ValueError, match="replicas goes with data = fsdp"):
        ParallelConfig(replicas=2)
    with pytest.raises(ValueError, match="tensor = 4 must divide the model's n_kv_heads = 2"):
        split_over_ranks(make_model(tiny), TensorGroup(None, 0, 4))
    for config, kind in ((LSTM, "lstm"), (BERT, "encoder")):
        with pytest.raises(ValueError, match=f"not {kind}s"):
            split_over_ranks(make_model(config), TensorGroup(None, 0, 2))


def test_fp8_needs_whole_blocks(make_job):
    with pytest.raises(ValueError, match=r"fp8 needs blocks that are whole .* got 2"):
        make_job("pretrain", precision="fp8", parallel=ParallelConfig(tensor=2))


def test_a_named_gpu_is_not_for_several_ranks(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"cuda:0.* one GPU for several processes"):
        pick_device("cuda:0")
