"""What ``training_gpu.py`` measures: products, attention, steps of training, time to a loss.

In: a device, a size, options. Out: plain values, one dictionary a row of a table.
"""

import argparse
import contextlib
import functools
import gc
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.architectures import ModelConfig
from model.attention import attend, choose_backend, make_mask
from model.compute import num_compiled_graphs
from model.decoder import within_documents
from model.job import PretrainData, TrainJob
from model.options import OptimConfig
from model.trainer import Trainer
from tests.benchmarks.training_gpu_data import read_texts, write_made_up, write_texts

VOCAB = 50_304  # GPT-2's, rounded up to a multiple of 128
WITH_DOCUMENTS = "ours, document masks"
WARMUP_STEPS, MIN_STEPS = 2, 3


@dataclass(frozen=True)
class Size:
    """A LLaMA of a size, and how many tokens a micro-batch of it may hold at first."""

    width: int
    layers: int
    heads: int
    mlp_width: int
    micro_tokens: int
    vocab: int = VOCAB

    def config(self, length: int) -> ModelConfig:
        return ModelConfig(
            vocab_size=self.vocab,
            width=self.width,
            n_layers=self.layers,
            n_heads=self.heads,
            n_kv_heads=self.heads,
            max_seq_len=length,
            mlp_width=self.mlp_width,
        )

    def flops_per_token(self, length: int, attention: int = 12) -> int:
        """Forward and backward; 12 counts all pairs of positions, 6 the causal half."""
        block = 4 * self.width**2 + 3 * self.width * self.mlp_width
        matrices = self.layers * block + self.vocab * self.width
        return 6 * matrices + attention * self.layers * self.width * length


SIZES = {
    "124M": Size(768, 12, 12, 2048, 65_536),
    "350M": Size(1024, 24, 16, 2816, 32_768),
    "1.3B": Size(2048, 24, 16, 5504, 16_384),
    "toy": Size(64, 2, 4, 176, 512, vocab=512),
    "toy-wide": Size(128, 2, 4, 352, 512, vocab=512),
}


class Clock:
    """Minutes that are left, and the device's own time."""

    def __init__(self, minutes: float, device: torch.device) -> None:
        self.until = time.monotonic() + 60 * minutes
        self.device = device

    def left_seconds(self) -> float:
        return self.until - time.monotonic()

    def sync(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def seconds_each(self, work: Callable[[], Any], seconds: float = 0.5) -> float:
        """Of one call: the mean over as many as fit in ``seconds``, after two to warm up."""
        work(), work()
        calls, start = 0, self.sync()
        while self.sync() - start < seconds:
            for _ in range(5):
                work()
            calls += 5
        return (self.sync() - start) / calls


def matmul_tflops(clock: Clock, toy: bool) -> dict[str, float]:
    """Of bf16 products (fp32 on a CPU): square ones, and those that a 1.3 B model makes."""
    dtype = torch.bfloat16 if clock.device.type == "cuda" else torch.float32
    shapes = [(8192, 8192, 8192), (16384, 2048, 6144), (16384, 2048, 11008), (16384, 5504, 2048)]
    rates = {}
    for m, k, n in [(512, 512, 512), (512, 64, 352)] if toy else shapes:
        a = torch.randn(m, k, device=clock.device, dtype=dtype)
        b = torch.randn(k, n, device=clock.device, dtype=dtype)
        seconds = clock.seconds_each(lambda a=a, b=b: torch.mm(a, b))
        rates[f"{m}x{k}x{n}"] = 2 * m * k * n / seconds / 1e12
    return rates


def attention_milliseconds(clock: Clock, toy: bool) -> list[dict[str, Any]]:
    """Forward and backward of one layer's attention by each kernel, documents of 500 tokens."""
    dtype = torch.bfloat16 if clock.device.type == "cuda" else torch.float32
    heads, head_width, tokens = (4, 16, 512) if toy else (16, 128, 16_384)
    rows = []
    for length in (64, 128) if toy else (2048, 8192):
        batch = tokens // length
        q, k, v = (
            torch.randn(
                batch, heads, length, head_width, device=clock.device, dtype=dtype
            ).requires_grad_()
            for _ in range(3)
        )
        starts_BT = torch.rand(batch, length, device=clock.device) < 1 / min(500, length / 2)
        for kernel in ("causal", "dense", "flex", "varlen"):
            row: dict[str, Any] = {"kernel": kernel, "length": length, "rows": batch}
            try:
                mask = _mask(kernel, starts_BT.cumsum(dim=1), clock.device, dtype, head_width)

                def work(mask: Any = mask, q: Any = q, k: Any = k, v: Any = v) -> None:
                    attend(q, k, v, mask).sum().backward()

                row["milliseconds"] = 1000 * clock.seconds_each(work)
            except (ValueError, RuntimeError) as error:
                row["why_not"] = _first_line(error)
            rows.append(row)
            _free(clock.device)
    return rows


def _mask(
    kernel: str, documents_BT: torch.Tensor, device: torch.device, dtype: Any, width: int
) -> Any:
    if kernel == "causal":
        return None
    if kernel == "dense":
        return within_documents(documents_BT)
    return make_mask(documents_BT, None, choose_backend(kernel, device, dtype, width))


# --- one row of the table ----------------------------------------------------------------------


def training_row(
    name: str, length: int, who: str, clock: Clock, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Train for some seconds; smaller micro-batches, then checkpointing, where memory is short."""
    size, row = SIZES[name], {"size": name, "length": length, "who": who}
    tries = [(size.micro_tokens // part, "none") for part in (1, 2, 4)]
    tries += [(size.micro_tokens // 4, "selective"), (size.micro_tokens // 8, "full")]
    for tokens, checkpointing in tries:
        micro_rows = max(1, tokens // length)
        begin = time.monotonic()
        try:
            measured = _measures(who)(
                size, length, micro_rows, checkpointing, clock, options, folder
            )
        except torch.OutOfMemoryError:
            row["out_of_memory_at_rows"] = micro_rows
        except Exception as error:  # one row must not cost the others
            return row | {"error": f"{type(error).__name__}: {_first_line(error)}"}
        else:
            row |= measured | {"rows": micro_rows, "checkpointing": checkpointing}
            return row | {"whole_row_seconds": time.monotonic() - begin}
        finally:
            _free(clock.device)
        if micro_rows == 1 and checkpointing == "full":
            break
    return row | {"error": "out of memory at every size"}


def _measures(who: str) -> Callable[..., dict[str, Any]]:
    if who == "transformers":
        return _theirs
    return functools.partial(_ours, documents=who == WITH_DOCUMENTS)


def _ours(
    size: Size,
    length: int,
    rows: int,
    checkpointing: str,
    clock: Clock,
    options: argparse.Namespace,
    folder: Path,
    *,
    documents: bool,
) -> dict[str, Any]:
    """The trainer itself, on shards of made-up documents, with or without document masks."""
    data = write_made_up(folder, size.vocab, num_tokens=100 * rows * length)
    with tempfile.TemporaryDirectory() as out:
        job = TrainJob(
            objective="pretrain",
            model=size.config(length),
            tokenizer=str(data / "tokenizer.json"),
            data=PretrainData(
                groups={"made-up": [str(data / "train.bin")]}, weights={"made-up": 1}
            ),
            out_dir=out,
            steps=10**6,
            seq_len=length,
            batch_size=rows * options.accumulate,
            micro_batch_size=rows,
            device=str(clock.device),
            precision=options.precision,
            attention=options.attention,
            activation_checkpointing=checkpointing,  # type: ignore[arg-type]
            compile=options.compile != "none",
            compile_scope=options.compile if options.compile != "none" else "model",
            document_mask=documents,
        )
        trainer = Trainer(job)
        waits: list[float] = []

        def step() -> torch.Tensor:
            start = time.perf_counter()
            batch = trainer.loader.next_batch()
            waits.append(time.perf_counter() - start)
            means, _ = trainer.accumulate(batch)
            trainer.optimizer.step()
            trainer.optimizer.zero_grad(set_to_none=True)
            return means["loss"]

        try:
            measured = _measure(step, size, length, rows, clock, options)
            if documents:  # what is masked is not computed: to count it would be a lie
                operations = measured["tokens_per_second"] * size.flops_per_token(length, 0)
                measured["tflops"] = measured["tflops_causal"] = operations / 1e12
        finally:
            trainer.close()
        waits = waits[WARMUP_STEPS:]
        share = sum(waits) / len(waits) / measured["seconds_per_step"]
        backend = getattr(trainer.model, "attention_backend", "")
        return measured | {"loader_share": share, "attention": backend}


def _theirs(
    size: Size,
    length: int,
    rows: int,
    checkpointing: str,
    clock: Clock,
    options: argparse.Namespace,
    folder: Path,
) -> dict[str, Any]:
    """transformers' LLaMA with the usual loop: bf16 autocast, fused AdamW, its own loss."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size.vocab,
        hidden_size=size.width,
        intermediate_size=size.mlp_width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=length,
        tie_word_embeddings=True,
        use_cache=False,
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config).to(clock.device).train()
    if checkpointing != "none":
        model.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    forward = torch.compile(model) if options.compile_peer else model
    autocast: Any = contextlib.nullcontext()
    if clock.device.type == "cuda":
        autocast = torch.autocast("cuda", dtype=torch.bfloat16)

    def step() -> torch.Tensor:
        for _ in range(options.accumulate):
            tokens_BT = torch.randint(0, size.vocab, (rows, length)).to(clock.device)
            with autocast:
                loss = forward(input_ids=tokens_BT, labels=tokens_BT).loss
            (loss / options.accumulate).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return _measure(step, size, length, rows, clock, options)


def _measure(
    step: Callable[[], torch.Tensor],
    size: Size,
    length: int,
    rows: int,
    clock: Clock,
    options: argparse.Namespace,
) -> dict[str, Any]:
    if clock.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    begin = clock.sync()
    for _ in range(WARMUP_STEPS):
        loss = step()
    start, num_graphs = clock.sync(), num_compiled_graphs()
    steps = 0
    while steps < MIN_STEPS or time.perf_counter() - start < options.seconds:
        loss = step()
        steps += 1
        if steps % MIN_STEPS == 0:
            clock.sync()
    seconds = (clock.sync() - start) / steps
    if not math.isfinite(float(loss)):
        raise FloatingPointError(f"the loss is {float(loss)}")
    tokens = options.accumulate * rows * length / seconds
    return {
        "tokens_per_second": tokens,
        "tflops": tokens * size.flops_per_token(length) / 1e12,
        "tflops_causal": tokens * size.flops_per_token(length, attention=6) / 1e12,
        "seconds_per_step": seconds,
        "warmup_seconds": start - begin,
        "recompiles": num_compiled_graphs() - num_graphs,
        "peak_gib": _peak_gib(clock.device),
    }


def _peak_gib(device: torch.device) -> float | None:
    return torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None


def _free(device: torch.device) -> None:
    torch._dynamo.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:160]


# --- time to a loss ----------------------------------------------------------------------------


def time_to_loss(clock: Clock, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train on a text until held-out bits per byte are what was asked, or time is up."""
    name, length = ("toy", 64) if options.toy else (options.size, 1024)
    size = SIZES[name]
    texts = read_texts(options.time_to_loss, max_chars=400_000 if options.toy else None)
    data = write_texts(folder, texts, vocab_size=size.vocab if options.toy else 32_768)
    rows = size.micro_tokens // length
    job = TrainJob(
        objective="pretrain",
        model=size.config(length),
        tokenizer=str(data / "tokenizer.json"),
        data=PretrainData(
            groups={"text": [str(data / "train.bin")]},
            weights={"text": 1.0},
            val=[str(data / "val.bin")],
        ),
        out_dir=str(folder / "run"),
        steps=options.steps,
        seq_len=length,
        batch_size=rows,
        optim=OptimConfig(lr=options.lr, kind=options.optimizer),
        device=str(clock.device),
        precision=options.precision,
        attention=options.attention,
        compile=options.compile != "none",
        compile_scope=options.compile if options.compile != "none" else "model",
        eval_every_steps=max(1, options.steps // 40),
        eval_batches=20,
        log_every_steps=20,
        checkpoint_every_seconds=None,
    )
    trainer, begin = Trainer(job), time.monotonic()
    reached: dict[str, Any] = {}

    def should_stop() -> bool:
        bits = trainer.last_eval.get("val_bits_per_byte", math.inf)
        if bits <= options.target_bits and not reached:
            reached["seconds"], reached["step"] = time.monotonic() - begin, trainer.step
        return bool(reached) or clock.left_seconds() < 10

    try:
        trainer.run(should_stop)
    finally:
        trainer.close()
    bits = trainer.last_eval.get("val_bits_per_byte", math.inf)
    return {
        "size": name,
        "parameters": trainer.model.num_parameters(),
        "tokens": trainer.step * rows * length,
        "target_bits_per_byte": options.target_bits,
        "bits_per_byte": bits,
        "reached": reached or ({"step": trainer.step} if bits <= options.target_bits else None),
        "all_seconds": time.monotonic() - begin,
    }
