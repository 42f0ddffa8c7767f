"""How near training comes to what a GPU can do: ``python -m tests.benchmarks.training_gpu``.

In: a machine with torch, numpy, safetensors and tokenizers; for the comparison transformers too.
Out: a Markdown table, and with ``--json`` the same as JSON: the card's own bf16 matmul rate, and at
each size and sequence length tokens a second, the share of that rate and of the card's published
peak (MFU), memory, and the time that the loader takes. A row that does not fit in memory, or for
which no time is left, says so. ``--time-to-loss TEXT`` trains to a held-out loss instead;
``--toy`` runs the same code in small, on a CPU too.

Counted are 6 operations for each parameter of a matrix and token, and 12 · layers · width · length
a token for attention (Chowdhery et al. 2022, arXiv:2204.02311, appendix B), as llm-foundry and
nanochat count, though causal attention needs but half of the latter: ``mfu_causal`` counts that.
Where documents are masked, attention is not counted at all.
"""

import argparse
import importlib.util
import json
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from model.flops import published_peak
from tests.benchmarks.training_gpu_measures import (
    SIZES,
    WITH_DOCUMENTS,
    Clock,
    attention_milliseconds,
    matmul_tflops,
    time_to_loss,
    training_row,
)

# What matters most comes first: time may not suffice for all.
ROWS = [("1.3B", 2048), ("124M", 2048), ("1.3B", 8192), ("350M", 2048), ("350M", 8192)]
ROWS += [("124M", 8192)]
TOY_ROWS = [("toy", 64), ("toy-wide", 128)]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, as plain values."""
    device = torch.device("cuda" if torch.cuda.is_available() and not options.cpu else "cpu")
    if device.type == "cpu" and not options.toy:
        raise SystemExit("torch sees no GPU here; --toy runs the same code in small")
    clock = Clock(options.minutes, device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "cpu"
    published = published_peak(name) if device.type == "cuda" else None
    peak = published / 1e12 if published else None
    result: dict[str, Any] = {
        "device": name,
        "torch": torch.__version__,
        "peak_tflops": peak,
        "options": {k: str(v) for k, v in vars(options).items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        if options.time_to_loss:
            return result | {"time_to_loss": time_to_loss(clock, options, Path(folder))}
        result["matmul_tflops"] = matmul_tflops(clock, options.toy)
        result["attention"] = attention_milliseconds(clock, options.toy)
        result["training"] = []
        best = max(result["matmul_tflops"].values())
        for row in _rows(clock, options, Path(folder)):
            for key in ("tflops", "tflops_causal"):
                if key in row:
                    row[key.replace("tflops", "of_matmul")] = row[key] / best
                    row[key.replace("tflops", "mfu")] = row[key] / peak if peak else None
            result["training"].append(row)
            print(json.dumps(row), flush=True)
            _save(options, result)  # what is known, should the next row take the process with it
    return result


def _save(options: argparse.Namespace, result: dict[str, Any]) -> None:
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _rows(clock: Clock, options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    has_peer = importlib.util.find_spec("transformers") is not None and not options.no_peer
    peers = ["transformers"] if has_peer else []
    peers.append(WITH_DOCUMENTS)
    longest_seconds = 0.0
    for number, (size, length) in enumerate(TOY_ROWS if options.toy else ROWS):
        # The peer's place is where sizes are compared; longer rows are ours alone after those.
        for who in ["ours", *(peers if options.toy or number < 4 else [])]:
            if clock.left_seconds() < longest_seconds + 5:
                yield {"size": size, "length": length, "who": who, "error": "no time was left"}
                continue
            begin = time.monotonic()
            yield training_row(size, length, who, clock, options, folder)
            longest_seconds = max(longest_seconds, time.monotonic() - begin)


def as_markdown(result: dict[str, Any]) -> str:
    """The tables that go into RESULTS.md."""
    lines = [f"{result['device']}, torch {result['torch']}", ""]
    if "time_to_loss" in result:
        return "\n".join([*lines, "```", json.dumps(result["time_to_loss"], indent=1), "```"])
    rates = ", ".join(f"{k}: {v:.4g}" for k, v in result["matmul_tflops"].items())
    lines += [f"Matmul TFLOP/s: {rates}; published peak: {result['peak_tflops']}", ""]
    lines += ["| kernel | rows × length | ms forward and backward |", "|---|---|---:|"]
    for row in result["attention"]:
        found = f"{row['milliseconds']:.2f}" if "milliseconds" in row else row["why_not"]
        lines.append(f"| {row['kernel']} | {row['rows']} × {row['length']} | {found} |")
    columns = (
        *("size", "length", "who", "rows", "checkpointing", "tokens_per_second", "tflops"),
        *("of_matmul", "mfu", "of_matmul_causal", "peak_gib", "loader_share", "recompiles"),
        *("warmup_seconds", "error"),
    )
    lines += ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(_cell(row.get(c)) for c in columns)} |" for row in result["training"]]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--toy", action="store_true", help="sizes that a CPU trains in seconds")
    parser.add_argument("--cpu", action="store_true", help="even where there is a GPU")
    parser.add_argument("--minutes", type=float, default=9.0, help="no row is begun after these")
    parser.add_argument("--seconds", type=float, default=8.0, help="measured, of each row")
    parser.add_argument("--accumulate", type=int, default=4, help="micro-batches in a step")
    parser.add_argument("--compile", choices=["blocks", "model", "none"], default="blocks")
    parser.add_argument("--no-peer", action="store_true", help="without transformers")
    parser.add_argument("--compile-peer", action="store_true", help="transformers compiled too")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16", "fp8"], default="auto")
    parser.add_argument("--attention", choices=["auto", "sdpa", "flex", "varlen"], default="auto")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--time-to-loss", type=Path, metavar="TEXT", help=".txt or .jsonl(.zst)")
    parser.add_argument("--size", choices=list(SIZES), default="124M", help="for --time-to-loss")
    parser.add_argument("--target-bits", type=float, default=1.3, help="per byte, held out")
    parser.add_argument("--steps", type=int, default=2000, help="of the schedule of --time-to-loss")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="muon")
    options = parser.parse_args(argv)
    if options.toy and not torch.cuda.is_available():
        options.compile = "none"  # compiling costs a CPU minutes
    return options


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    result = run(options)
    _save(options, result)
    print(as_markdown(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
