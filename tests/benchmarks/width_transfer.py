"""Does a learning rate tuned on a narrow model hold on a wide one?

``python -m tests.benchmarks.width_transfer --text FILE --output FOLDER``

In: text (plain, or JSONL with a ``text``, packed or not), read as bytes. Out: a table, and two
plots of one row a parametrisation: the root mean square of each layer's activations over widths
(the coordinate check of Yang et al. 2022, arXiv:2203.03466, appendix D.1), and the loss over
learning rates, one curve a width. One thread; every run is this project's decoder and optimizer.
"""

import argparse
import json
import math
import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.architectures import ModelConfig
from model.decoder import Decoder
from model.optim import make_optimizer, set_learning_rate
from model.options import OptimConfig
from model.schedule import learning_rate
from tasks.common.files import open_text

matplotlib.use("Agg")
from matplotlib import pyplot as plt

BASE_WIDTH = 128
HEAD_WIDTH = 16
SEQ_LEN = 64
TAIL_SHARE = 0.2  # of the steps at the end, whose losses are averaged


@dataclass(frozen=True, slots=True)
class Rule:
    """A way to parametrise by width: whether to, and for which optimizer."""

    name: str
    optimizer: str
    transfers: bool


RULES = (
    Rule("AdamW, standard", "adamw", False),
    Rule("AdamW, width_base", "adamw", True),
    Rule("Muon, standard", "muon", False),
    Rule("Muon, width_base", "muon", True),
)


def make_decoder(width: int, rule: Rule, seed: int) -> Decoder:
    """Two layers, heads in proportion to the width."""
    torch.manual_seed(seed)
    config = ModelConfig(
        vocab_size=256,
        width=width,
        n_layers=2,
        n_heads=width // HEAD_WIDTH,
        n_kv_heads=width // HEAD_WIDTH,
        mlp_width=3 * width,
        max_seq_len=SEQ_LEN,
    )
    return Decoder(replace(config, width_base=BASE_WIDTH) if rule.transfers else config)


def train(
    model: Decoder,
    batches: Iterator[Tensor],
    steps: int,
    optim: OptimConfig,
    before_step: Callable[[int], None] = lambda step: None,
) -> list[float]:
    """Train on windows of bytes, (B, T + 1); the loss of each step, in nats a byte."""
    optimizer, losses = make_optimizer(model, optim), []
    for step in range(steps):
        before_step(step)
        set_learning_rate(optimizer, learning_rate(step, steps, optim))
        window_BT = next(batches)
        logits_BTV = model(window_BT[:, :-1])
        loss = F.cross_entropy(logits_BTV.flatten(0, 1), window_BT[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def activations(model: Decoder, window_BT: Tensor) -> dict[str, float]:
    """Root mean square of what each part puts out for some windows."""
    found: dict[str, float] = {}
    parts: dict[str, Any] = {"embedding": model.embed}
    for number, block in enumerate(model.blocks):
        parts |= {f"attention {number}": block.attention, f"mlp {number}": block.mlp}
        parts |= {f"stream {number}": block}

    def keep(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: found.update({name: _rms(output)})

    hooks = [part.register_forward_hook(keep(name)) for name, part in parts.items()]
    with torch.no_grad():
        found["logits"] = _rms(model(window_BT[:, :-1]))
    for hook in hooks:
        hook.remove()
    return {name: found[name] for name in [*parts, "logits"]}


def coordinate_check(
    rule: Rule, widths: Sequence[int], ids: np.ndarray, steps: int, lr: float, seeds: int
) -> dict[int, list[dict[str, float]]]:
    """Width → activations after each number of steps, the geometric mean over seeds."""
    optim = OptimConfig(kind=rule.optimizer, lr=lr, warmup_steps=0, decay="constant")
    found = {}
    for width in widths:
        runs = []
        for seed in range(seeds):
            model, by_step = make_decoder(width, rule, seed), []
            probe = next(windows(ids, 8, seed=10_000))
            train(
                model,
                windows(ids, 8, seed),
                steps + 1,
                optim,
                lambda _step, m=model, p=probe, b=by_step: b.append(activations(m, p)),
            )
            runs.append(by_step)
        found[width] = [
            {
                name: math.exp(np.mean([math.log(r[step][name]) for r in runs]))
                for name in runs[0][0]
            }
            for step in range(steps + 1)
        ]
    return found


def sweep(
    rule: Rule,
    widths: Sequence[int],
    rates: Sequence[float],
    ids: np.ndarray,
    steps: int,
    seeds: int,
) -> dict[int, list[float]]:
    """Width → the loss that each learning rate ends with, the mean over seeds."""
    found = {}
    for width in widths:
        found[width] = []
        for lr in rates:
            optim = OptimConfig(
                kind=rule.optimizer, lr=lr, warmup_steps=steps // 10, weight_decay=0.0
            )
            tails = [
                train(make_decoder(width, rule, seed), windows(ids, 8, seed), steps, optim)[
                    -math.ceil(TAIL_SHARE * steps) :
                ]
                for seed in range(1, seeds + 1)
            ]
            found[width].append(float(np.mean(tails)))
    return found


def windows(ids: np.ndarray, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Random windows, (B, T + 1), the same for every model."""
    rng = np.random.default_rng(seed)
    while True:
        starts = rng.integers(len(ids) - SEQ_LEN - 1, size=batch_size)
        yield torch.from_numpy(np.stack([ids[s : s + SEQ_LEN + 1] for s in starts]))


def growth(found: dict[int, list[dict[str, float]]], step: int, name: str) -> float:
    """How many times the largest of all widths' activations the smallest is."""
    values = [by_step[step][name] for by_step in found.values()]
    return max(values) / min(values)


def best_rates(found: dict[int, list[float]], rates: Sequence[float]) -> dict[int, float]:
    """Width → the learning rate of the least loss."""
    return {width: rates[int(np.argmin(losses))] for width, losses in found.items()}


def grid_steps_moved(best: dict[int, float], rates: Sequence[float]) -> int:
    """By how many places of the grid the best rates differ."""
    places = [rates.index(rate) for rate in best.values()]
    return max(places) - min(places)


def read_bytes(path: Path, limit: int = 4_000_000) -> np.ndarray:
    """The first bytes of a text, or of a JSONL's ``text``."""
    parts, size = [], 0
    with open_text(path) as file:
        for line in file:
            parts.append(json.loads(line)["text"] if ".jsonl" in path.name else line)
            size += len(parts[-1])
            if size >= limit:
                break
    return np.frombuffer("\n".join(parts).encode(), dtype=np.uint8).astype(np.int64)


def _rms(x: Tensor) -> float:
    return float(x.float().square().mean().sqrt())


def _plot_coordinates(path: Path, checks: dict[str, dict[int, list[dict[str, float]]]]) -> None:
    steps = len(next(iter(next(iter(checks.values())).values())))
    figure, axes = plt.subplots(
        len(checks), steps, figsize=(3 * steps, 2.6 * len(checks)), sharey="row", squeeze=False
    )
    for row, (rule, found) in zip(axes, checks.items(), strict=True):
        for step, axis in enumerate(row):
            for name in next(iter(found.values()))[0]:
                values = [by_step[step][name] for by_step in found.values()]
                style = {"color": "#d9622b", "lw": 2} if name == "logits" else {"lw": 0.8}
                axis.plot(list(found), values, marker=".", label=name, **style)
            axis.set(xscale="log", yscale="log", title=f"after {step} steps", xlabel="width")
            axis.set_xticks(list(found), [str(width) for width in found])
            axis.minorticks_off()
        row[0].set_ylabel(f"{rule}\nroot mean square")
    axes[0][0].legend(fontsize=5)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _plot_sweeps(path: Path, sweeps: dict[str, dict[int, list[float]]], rates: list[float]) -> None:
    figure, axes = plt.subplots(1, len(sweeps), figsize=(4 * len(sweeps), 3.2), squeeze=False)
    for axis, (rule, found) in zip(axes[0], sweeps.items(), strict=True):
        for number, (width, losses) in enumerate(found.items()):
            color = plt.cm.viridis(number / len(found))
            axis.plot(rates, losses, marker="o", ms=3, color=color, label=f"width {width}")
            best = int(np.argmin(losses))
            axis.plot(rates[best], losses[best], marker="*", ms=12, color=color)
        low = min(min(losses) for losses in found.values())
        axis.set(xscale="log", title=rule, xlabel="learning rate", ylabel="loss, nats a byte")
        axis.set_ylim(low - 0.05, low + 0.8)
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    """Print the tables, leave the plots and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--rules", nargs="+", default=[rule.name for rule in RULES])
    parser.add_argument("--check-steps", type=int, default=4)
    parser.add_argument("--check-lr", type=float, default=0.01)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sweep", nargs="*", default=[rule.name for rule in RULES[:2]])
    parser.add_argument("--sweep-seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument(
        "--powers",
        type=int,
        nargs="+",
        default=[-12, -11, -10, -9, -8, -7, -6],
        help="rates 2^power",
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    ids, rates = read_bytes(args.text), [2.0**power for power in args.powers]
    rules = [rule for rule in RULES if rule.name in args.rules]
    args.output.mkdir(parents=True, exist_ok=True)
    checks, sweeps = {}, {}
    for rule in rules:
        found = coordinate_check(
            rule, args.widths, ids, args.check_steps, args.check_lr, args.seeds
        )
        checks[rule.name] = found
        print(f"\n{rule.name}: largest over smallest RMS at widths {args.widths}, by steps taken")
        for name in next(iter(found.values()))[0]:
            row = [growth(found, step, name) for step in range(args.check_steps + 1)]
            print(f"  {name:14}" + "".join(f"{value:8.2f}" for value in row), flush=True)
    _plot_coordinates(args.output / "coordinate-check.png", checks)
    print(f"coordinate checks: {_cpu_seconds():.0f} CPU seconds")
    for rule in [rule for rule in rules if rule.name in args.sweep]:
        found = sweep(rule, args.widths, rates, ids, args.steps, args.sweep_seeds)
        sweeps[rule.name] = found
        best = best_rates(found, rates)
        print(f"\n{rule.name}: best rate moves {grid_steps_moved(best, rates)} places of the grid")
        for width, losses in found.items():
            row = "".join(f"{loss:8.3f}" for loss in losses)
            print(f"  width {width:4}{row}   best {best[width]:g}", flush=True)
    if sweeps:
        _plot_sweeps(args.output / "learning-rates.png", sweeps, rates)
    figures = {"checks": checks, "sweeps": sweeps, "rates": rates}
    (args.output / "width-transfer.json").write_text(json.dumps(figures, indent=1))
    print(f"{_cpu_seconds():.0f} CPU seconds in all")


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
