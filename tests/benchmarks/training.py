"""One training step on a CPU: ours beside transformers' LLaMA, litgpt and a plain GPT.

    python -m tests.benchmarks.training [--peers-python PATH] [--sizes 1M 10M 30M] [--rounds N]

``--peers-python`` is an interpreter that has litgpt too, and what ``model/`` needs; all contenders
run in that one process, turn by turn. Prints processor time a token (median and quartiles over the
rounds), the share of the machine's own matrix product rate, measured between the turns, and the
peak memory of a process that makes two such steps.

All of a size have the same width, layers and heads; a GELU of four widths has as many numbers
as a SwiGLU of 8/3, and heads are tied where the peer can. Sequences of 256, batches of 16, float32,
no dropout, fused AdamW, gradients clipped at 1.0. Ours is the trainer's own step, with all that it
does. The FLOPs of a token are 6 · numbers in matrices + 12 · layers · width · sequence.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models
from torch import Tensor, nn

from model.architectures import ModelConfig
from model.chat import BOS, SPECIAL_TOKENS
from model.job import PretrainData, TrainJob
from model.options import OptimConfig
from model.tokens import TokenWriter
from model.trainer import Trainer

VOCAB_SIZE = 8192
SEQ_LEN = 256
BATCH_ROWS = 16
TOKENS_A_STEP = SEQ_LEN * BATCH_ROWS
MEAN_DOCUMENT_TOKENS = 200
LEARNING_RATE = 1e-3
CLIP_NORM = 1.0
SQUARE = 2048  # side of the matrices by which the machine is measured
WARM_UP_STEPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Of a decoder; ``mlp_width`` is SwiGLU's."""

    n_layers: int
    width: int
    n_heads: int
    mlp_width: int
    steps_a_turn: int

    def flops_a_token(self) -> int:
        """Forward and backward."""
        matrices = self.n_layers * self.width * (4 * self.width + 3 * self.mlp_width)
        matrices += VOCAB_SIZE * self.width
        return 6 * matrices + 12 * self.n_layers * self.width * SEQ_LEN


SHAPES = {
    "toy": Shape(n_layers=1, width=32, n_heads=2, mlp_width=88, steps_a_turn=1),
    "1M": Shape(n_layers=4, width=128, n_heads=4, mlp_width=344, steps_a_turn=2),
    "10M": Shape(n_layers=6, width=320, n_heads=5, mlp_width=856, steps_a_turn=1),
    "30M": Shape(n_layers=8, width=512, n_heads=8, mlp_width=1368, steps_a_turn=1),
}


@dataclass(frozen=True, slots=True)
class Contender:
    """A model in training."""

    num_parameters: int
    step: Callable[[], Any]


# --- ours ---


def ours(shape: Shape, folder: Path, *, document_mask: bool) -> Contender:
    """Our LLaMA in our trainer, logging as it does by default."""
    tokenizer = folder / "tokenizer.json"
    words = {word: index for index, word in enumerate(SPECIAL_TOKENS)}
    words |= {f"w{index}": index for index in range(len(words), VOCAB_SIZE)}
    Tokenizer(models.WordLevel(words, unk_token="w4095")).save(str(tokenizer))
    job = TrainJob(
        objective="pretrain",
        data=PretrainData(
            groups={"random": [str(_random_documents(folder, words[BOS], len(SPECIAL_TOKENS)))]},
            weights={"random": 1.0},
        ),
        out_dir=str(folder / "out"),
        steps=1_000_000,
        seq_len=SEQ_LEN,
        batch_size=BATCH_ROWS,
        model=ModelConfig(
            vocab_size=VOCAB_SIZE,
            width=shape.width,
            n_layers=shape.n_layers,
            n_heads=shape.n_heads,
            n_kv_heads=shape.n_heads,
            max_seq_len=SEQ_LEN,
            mlp_width=shape.mlp_width,
        ),
        tokenizer=str(tokenizer),
        document_mask=document_mask,
        optim=OptimConfig(lr=LEARNING_RATE, clip_norm=CLIP_NORM),
        device="cpu",
        threads=torch.get_num_threads(),
    )
    trainer = Trainer(job)
    return Contender(trainer.model.num_parameters(), trainer.train_one_step)


def _random_documents(folder: Path, start: int, num_special: int) -> Path:
    rng = np.random.default_rng(0)
    with TokenWriter(folder, "random", VOCAB_SIZE) as out:
        for num_tokens in rng.geometric(1 / MEAN_DOCUMENT_TOKENS, 4_000):
            tokens = rng.integers(num_special, VOCAB_SIZE, num_tokens)
            out.add([start, *tokens.tolist()])
    return folder / "random.bin"


# --- others ---


def transformers_llama(shape: Shape, folder: Path) -> Contender:
    """transformers' LLaMA, with torch's attention."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=shape.width,
        intermediate_size=shape.mlp_width,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_heads,
        max_position_embeddings=SEQ_LEN,
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config)
    return _plainly_trained(model, lambda x: model(input_ids=x, use_cache=False).logits)


def litgpt_llama(shape: Shape, folder: Path) -> Contender:
    """litgpt's GPT as a LLaMA; it has no tied head, so it has more numbers."""
    from litgpt import GPT, Config

    config = Config(
        name="llama",
        block_size=SEQ_LEN,
        vocab_size=VOCAB_SIZE,
        padded_vocab_size=VOCAB_SIZE,
        n_layer=shape.n_layers,
        n_head=shape.n_heads,
        n_embd=shape.width,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
        intermediate_size=shape.mlp_width,
    )
    model = GPT(config)
    return _plainly_trained(model, model)


class PlainGpt(nn.Module):
    """GPT-2's architecture in as few lines as it takes: what anybody would write first."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCAB_SIZE, shape.width)
        self.places = nn.Embedding(SEQ_LEN, shape.width)
        self.blocks = nn.ModuleList(PlainBlock(shape) for _ in range(shape.n_layers))
        self.norm = nn.LayerNorm(shape.width, bias=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Ids to logits."""
        hidden = self.tokens(x) + self.places(torch.arange(x.shape[1]))
        for block in self.blocks:
            hidden = block(hidden)
        return F.linear(self.norm(hidden), self.tokens.weight)


class PlainBlock(nn.Module):
    """Attention, then a GELU of four widths."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, self.n_heads = shape.width, shape.n_heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, bias=False) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to the same."""
        heads = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.n_heads, -1))
        q, k, v = (part.transpose(1, 2) for part in heads.unbind(2))
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norms[1](x))))


def plain_gpt(shape: Shape, folder: Path) -> Contender:
    """The plain GPT of this file."""
    model = PlainGpt(shape)
    return _plainly_trained(model, model)


def _plainly_trained(model: nn.Module, logits_of: Callable[[Tensor], Tensor]) -> Contender:
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(VOCAB_SIZE, (BATCH_ROWS, SEQ_LEN + 1), generator=generator)
    inputs, targets = rows[:, :-1].contiguous(), rows[:, 1:].flatten()

    def step() -> None:
        loss = F.cross_entropy(logits_of(inputs).flatten(0, 1), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return Contender(sum(p.numel() for p in model.parameters()), step)


Maker = Callable[[Shape, Path], Contender]
CONTENDERS: dict[str, Maker] = {
    "ours": lambda shape, folder: ours(shape, folder, document_mask=True),
    "ours, no document mask": lambda shape, folder: ours(shape, folder, document_mask=False),
    "transformers' LLaMA": transformers_llama,
    "litgpt": litgpt_llama,
    "plain GPT": plain_gpt,
}
NEEDS = {"transformers' LLaMA": "transformers", "litgpt": "litgpt"}


# --- measuring ---


def main() -> None:
    """Measure and print."""
    options = _options()
    if options.peers_python and Path(options.peers_python) != Path(sys.executable):
        os.execv(options.peers_python, [options.peers_python, "-m", __spec__.name, *sys.argv[1:]])
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(_peak_mib_here(options.memory_of, SHAPES[options.sizes[0]]))
        return
    names = [name for name in CONTENDERS if _is_here(name)]
    print(f"torch {torch.__version__}, {options.threads} thread(s), {options.rounds} rounds")
    for size in options.sizes:
        _compare(size, names, options)


def _is_here(name: str) -> bool:
    package = NEEDS.get(name)
    if package is None or importlib.util.find_spec(package):
        return True
    print(
        f"{name} is left out: {sys.executable} has no {package}; give --peers-python one that has"
    )
    return False


def _compare(size: str, names: list[str], options: argparse.Namespace) -> None:
    shape = SHAPES[size]
    with tempfile.TemporaryDirectory() as folder:
        contenders = {}
        for index, name in enumerate(names):
            torch.manual_seed(0)
            own = Path(folder) / str(index)
            own.mkdir()
            contenders[name] = CONTENDERS[name](shape, own)
        micros, flops_a_second = _rounds(contenders, shape.steps_a_turn, options.rounds)
    rate = statistics.median(flops_a_second)
    print(f"\n{size}: {shape.flops_a_token() / 1e6:.1f} MFLOP a token; ", end="")
    print(f"the machine does {rate / 1e9:.0f} GFLOP a processor second ({SQUARE}³, float32)\n")
    heads = ("parameters", "CPU-µs/token", "quartiles", "of matmul rate", "÷ plain", "peak MiB")
    print(
        f"{'':24}{heads[0]:>12}{heads[1]:>14}{heads[2]:>16}{heads[3]:>16}{heads[4]:>9}{heads[5]:>10}"
    )
    plain = statistics.median(micros["plain GPT"])
    for name, found in micros.items():
        low, median, high = np.percentile(found, (25, 50, 75))
        share = shape.flops_a_token() / (median * 1e-6) / rate
        peak = "" if options.no_memory else f"{_peak_mib(name, size, options.threads):,}"
        print(
            f"{name:24}{contenders[name].num_parameters:>12,}{median:>14.1f}"
            f"{f'{low:.1f} … {high:.1f}':>16}{share:>16.0%}{median / plain:>9.2f}{peak:>10}"
        )
    if "transformers' LLaMA" in micros:
        theirs = statistics.median(micros["transformers' LLaMA"])
        speed = theirs / statistics.median(micros["ours"])
        print(f"\nspeed of ours against transformers' LLaMA: {speed:.2f} ×")


def _rounds(
    contenders: dict[str, Contender], steps_a_turn: int, num_rounds: int
) -> tuple[dict[str, list[float]], list[float]]:
    """Processor microseconds a token of each, round by round; FLOP a processor second."""
    square = torch.randn(SQUARE, SQUARE)
    for contender in contenders.values():
        for _ in range(WARM_UP_STEPS):
            contender.step()
    micros: dict[str, list[float]] = {name: [] for name in contenders}
    flops_a_second = []
    for _ in range(num_rounds):
        for name, contender in contenders.items():
            began = time.process_time()
            for _ in range(steps_a_turn):
                contender.step()
            seconds = time.process_time() - began
            micros[name].append(seconds / steps_a_turn / TOKENS_A_STEP * 1e6)
        began = time.process_time()
        square @ square
        flops_a_second.append(2 * SQUARE**3 / (time.process_time() - began))
    return micros, flops_a_second


def _peak_mib(name: str, size: str, threads: int) -> int:
    """Of a process of its own."""
    command = [sys.executable, "-m", __spec__.name, "--memory-of", name, "--sizes", size]
    command += ["--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def _peak_mib_here(name: str, shape: Shape) -> int:
    """What two steps add to what the process held when everything was imported."""
    if name in NEEDS:
        importlib.import_module(NEEDS[name])
    before = _status_kib("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        contender = CONTENDERS[name](shape, Path(folder))
        for _ in range(WARM_UP_STEPS):
            contender.step()
    return round((_status_kib("VmHWM") - before) / 1024)


def _status_kib(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", help="an interpreter that has litgpt and transformers")
    parser.add_argument("--sizes", nargs="+", choices=SHAPES, default=["1M", "10M", "30M"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory")
    parser.add_argument("--memory-of", choices=CONTENDERS, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
