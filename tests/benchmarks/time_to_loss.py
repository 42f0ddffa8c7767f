"""How soon is a loss reached? ``python -m tests.benchmarks.time_to_loss --data D``

In: the encyclopedia in ``text`` of D. Trains, with the engine's own ``Trainer``, a GPT-2-style
model with AdamW for ``--tokens`` tokens, and the ``modern`` preset with its optimizer for a smaller
budget. Out: a table, JSON files and a plot in ``--out``.

Time to loss is the CPU time, user and system, of all training steps (not of evaluations) of a run
whose learning rate ends its schedule at the run's last step. The target is the mean, over seeds, of
the baseline's last validation bits per byte. The preset's time counts where its last value is at
or under the target; other seeds are in no ratio.
"""

import argparse
import io
import json
import math
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import zstandard
from scipy import stats

from model.architectures import ModelConfig, model_preset
from model.chat import encode_documents, load_tokenizer
from model.job import PretrainData, TrainJob
from model.options import OptimConfig, optim_preset
from model.tokens import TokenWriter
from model.trainer import Trainer
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig

ARTICLES = "text/encyclopedia/enwiki-2015.jsonl.zst"
EVERY = 3  # one article in so many: from all over the file, and more than a run reads
HELD_OUT = 40  # of those, one in so many
VOCAB_SIZE = 4096
SEQ_LEN = 256
VAL_WINDOWS = 384  # 98,304 tokens, from all over the held-out articles


@dataclass(frozen=True)
class Corpus:
    """Token shards and the tokenizer that made them."""

    tokenizer: str
    train: str
    val: str


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how: everything but the number of tokens and the seed."""

    name: str
    model: ModelConfig
    optim: OptimConfig
    batch_size: int
    warmup_share: float = 0.05


@dataclass
class Run:
    """A recipe's run: where it was when."""

    recipe: str
    seed: int
    tokens: int
    num_parameters: int
    cpu_seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)

    @property
    def bits_per_byte(self) -> float:
        """Of the held-out text, at the end."""
        return self.curve[-1]["bits_per_byte"]


def make_corpus(data: Path, folder: Path, every: int = EVERY) -> Corpus:
    """Tokenizer and shards; made once, found again in ``folder``."""
    corpus = Corpus(*(str(folder / name) for name in ("tokenizer.json", "train", "val")))
    if (folder / "val.idx.npy").exists():
        return corpus
    folder.mkdir(parents=True, exist_ok=True)
    articles = list(_articles(data / ARTICLES, every))
    held_out = articles[::HELD_OUT]
    kept = [text for number, text in enumerate(articles) if number % HELD_OUT]
    tokenizer = train_bpe(kept[::2], TokenizerConfig(vocab_size=VOCAB_SIZE))
    tokenizer.save(corpus.tokenizer)
    tokenizer = load_tokenizer(corpus.tokenizer)
    for path, texts in ((corpus.train, kept), (corpus.val, held_out)):
        with TokenWriter(folder, Path(path).name, VOCAB_SIZE) as out:
            for ids in encode_documents(tokenizer, texts):
                out.add(ids)
    return corpus


def _articles(path: Path, every: int) -> Iterator[str]:
    with path.open("rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
        for number, line in enumerate(lines):
            if number % every == 0:
                yield json.loads(line)["text"]


def train_run(
    recipe: Recipe, corpus: Corpus, folder: Path, *, tokens: int, seed: int, num_evals: int = 1
) -> Run:
    """Train one model to the end of its schedule, unless ``folder`` tells of that run already."""
    described = {"recipe": asdict(recipe), "tokens": tokens, "seed": seed, "evals": num_evals}
    record = folder / f"{recipe.name}-{tokens}-{seed}.json"
    if record.exists():
        saved = json.loads(record.read_text())
        if saved["of"] == json.loads(json.dumps(described)):
            return Run(**saved["run"])
    with tempfile.TemporaryDirectory() as out:
        run = _timed(recipe, _job(recipe, corpus, out, tokens, seed, num_evals))
    record.write_text(json.dumps({"of": described, "run": asdict(run)}, indent=1))
    print(
        f"{run.recipe:34} seed {run.seed}: {run.bits_per_byte:.4f} bits per byte after "
        f"{run.tokens:,} tokens, {run.cpu_seconds:.1f} CPU-s "
        f"({1e6 * run.cpu_seconds / run.tokens:.0f} µs a token), "
        f"{run.num_parameters / 1e6:.2f} M parameters",
        flush=True,
    )
    return run


def _job(
    recipe: Recipe, corpus: Corpus, out: str, tokens: int, seed: int, num_evals: int
) -> TrainJob:
    steps = tokens // (recipe.batch_size * SEQ_LEN)
    return TrainJob(
        objective="pretrain",
        data=PretrainData(groups={"wiki": [corpus.train]}, weights={"wiki": 1.0}, val=[corpus.val]),
        out_dir=out,
        steps=steps,
        seq_len=SEQ_LEN,
        batch_size=recipe.batch_size,
        model=recipe.model,
        tokenizer=corpus.tokenizer,
        optim=replace(recipe.optim, warmup_steps=round(steps * recipe.warmup_share)),
        seed=seed,
        eval_every_steps=-(-steps // num_evals),
        eval_batches=VAL_WINDOWS // recipe.batch_size,
        checkpoint_every_seconds=None,
        log_every_steps=50,
        device="cpu",
        threads=1,
    )


def _timed(recipe: Recipe, job: TrainJob) -> Run:
    trainer, clock = Trainer(job), Stopwatch()
    tokens_per_step = job.batch_size * job.seq_len
    tokens = job.steps * tokens_per_step
    run = Run(recipe.name, job.seed, tokens, trainer.model.num_parameters())
    evaluate = trainer.evaluate

    def evaluate_untimed() -> dict[str, Any]:
        clock.stop()
        metrics = evaluate()
        run.curve.append(
            {
                "tokens": trainer.step * tokens_per_step,
                "cpu_seconds": clock.seconds,
                "bits_per_byte": metrics["val_bits_per_byte"],
            }
        )
        clock.start()
        return metrics

    trainer.evaluate = evaluate_untimed  # type: ignore[method-assign]
    try:
        clock.start()
        trainer.run(lambda: False)
    finally:
        trainer.close()
    run.cpu_seconds = run.curve[-1]["cpu_seconds"]
    return run


class Stopwatch:
    """CPU seconds of this process between ``start`` and ``stop``, added up."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def start(self) -> None:
        """Go on."""
        self._since = time.process_time()

    def stop(self) -> None:
        """Pause."""
        self.seconds += time.process_time() - self._since


# --- what is compared ----------------------------------------------------------------------------


def _preset(name: str) -> ModelConfig:
    config = model_preset(name, VOCAB_SIZE, SEQ_LEN)
    assert isinstance(config, ModelConfig)
    return config


BASELINE = Recipe(
    "gpt2-demo with AdamW",
    _preset("gpt2-demo"),
    OptimConfig(lr=1e-3, min_lr_ratio=0.1, decay="cosine", betas=(0.9, 0.95), weight_decay=0.1),
    batch_size=4,  # with the rate, the best of --sweep; 2 is as good a token, and slower
)
MODERN = Recipe("modern-demo", _preset("modern-demo"), optim_preset("modern-demo"), batch_size=8)
BUDGET = 0.18  # of the baseline's tokens: what reaches the target with every seed
ABLATIONS: dict[str, dict[str, Any]] = {
    "value embeddings": {"value_embeddings": True},
    "no input residual": {"input_residual": False},
    "no zero initialisation": {"zero_init": False},
    "no QK-norm": {"qk_norm": False},
    "SwiGLU of as many numbers": {"mlp": "swiglu", "mlp_width": 512},
    "logit soft-cap 15": {"logit_softcap": 15.0},
    "tied head": {"tie_embeddings": True},
    "AdamW for all": {"kind": "adamw", "lr": 4e-3},
    "embeddings at the matrices' rate": {"adamw_lr_ratio": 1.0},
    "Muon's momentum 0.95": {"muon_momentum": 0.95},
    "6 layers": {"n_layers": 6},
}
ABLATION_TOKENS = 120_000
SWEPT_LRS = (5e-4, 1e-3, 2e-3, 4e-3)
SWEPT_BATCHES = (8, 4, 2)


def sweep(corpus: Corpus, out: Path, tokens: int) -> list[Run]:
    """The baseline's learning rate, then at the best of them smaller batches."""
    runs = []

    def one(lr: float, batch_size: int) -> float:
        name = f"baseline, lr {lr:g}, batch {batch_size}"
        optim = replace(BASELINE.optim, lr=lr)
        recipe = replace(BASELINE, name=name, optim=optim, batch_size=batch_size)
        runs.append(train_run(recipe, corpus, out, tokens=tokens, seed=0))
        return runs[-1].bits_per_byte

    best_lr = min(SWEPT_LRS, key=lambda lr: one(lr, SWEPT_BATCHES[0]))
    for batch_size in SWEPT_BATCHES[1:]:
        one(best_lr, batch_size)
    return runs


def compare(
    corpus: Corpus, out: Path, tokens: int, budget: float, seeds: Sequence[int]
) -> dict[str, Any]:
    """Baseline and preset in turn, seed by seed, and what their times say."""
    pairs = []
    for seed in seeds:
        slow, fast = (
            train_run(recipe, corpus, out, tokens=own, seed=seed, num_evals=4)
            for recipe, own in ((BASELINE, tokens), (MODERN, round(tokens * budget)))
        )
        pairs.append((slow, fast))
    result = judge(pairs)
    print(
        f"\ntarget {result['target_bits_per_byte']:.4f} bits per byte, the mean of {len(pairs)} "
        f"baseline runs; reached by {result['num_reached']} of {len(pairs)} runs of the preset\n"
        f"{told(result)}"
    )
    return result


def judge(pairs: Sequence[tuple[Run, Run]]) -> dict[str, Any]:
    """The target, and the ratios of the pairs whose preset has reached it."""
    target = sum(slow.bits_per_byte for slow, _ in pairs) / len(pairs)
    ratios = [
        fast.cpu_seconds / slow.cpu_seconds for slow, fast in pairs if fast.bits_per_byte <= target
    ]
    return {
        "target_bits_per_byte": target,
        "num_reached": len(ratios),
        "ratios": ratios,
        "ratio": math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None,
        "ratio_interval": _interval(ratios) if len(ratios) > 1 else None,
        "runs": [run for pair in pairs for run in pair],
    }


def told(result: Mapping[str, Any]) -> str:
    """The ratio in words."""
    if result["ratio"] is None:
        return "CPU time, preset / baseline: the target was not reached"
    said = f"CPU time, preset / baseline: {result['ratio']:.3f}"
    if result["ratio_interval"] is not None:
        low, high = result["ratio_interval"]
        said += f" (95 %: {low:.3f} … {high:.3f})"
    return said


def ablate(corpus: Corpus, out: Path, tokens: int, seeds: Sequence[int]) -> list[Run]:
    """The preset with one thing changed at a time, on the same data in the same order."""
    recipes = [MODERN, *(_changed(name, **change) for name, change in ABLATIONS.items())]
    runs = [
        train_run(recipe, corpus, out, tokens=tokens, seed=seed)
        for seed in seeds
        for recipe in recipes
    ]
    preset = [run for run in runs if run.recipe == MODERN.name]
    print(f"\n{tokens:,} tokens; differences to the preset's run of the same seed")
    print(f"{'':34} {'bits per byte':>14} {'difference':>22} {'CPU-µs a token':>15} {'M':>6}")
    for recipe in recipes:
        own = [run for run in runs if run.recipe == recipe.name]
        gaps = [a.bits_per_byte - b.bits_per_byte for a, b in zip(own, preset, strict=True)]
        spread = f"({min(gaps):+.4f} … {max(gaps):+.4f})" if len(gaps) > 1 else ""
        bits = sum(run.bits_per_byte for run in own) / len(own)
        micro = 1e6 * sum(run.cpu_seconds for run in own) / sum(run.tokens for run in own)
        print(
            f"{recipe.name:34} {bits:14.4f} {sum(gaps) / len(gaps):+8.4f} {spread:21} "
            f"{micro:7.1f} {own[0].num_parameters / 1e6:6.2f}"
        )
    return runs


def _changed(name: str, *, batch_size: int | None = None, **changes: Any) -> Recipe:
    """The preset with some fields of its model or optimizer changed."""
    model = {k: v for k, v in changes.items() if hasattr(MODERN.model, k)}
    optim = {k: v for k, v in changes.items() if k not in model}
    return Recipe(
        name,
        replace(MODERN.model, **model),
        replace(MODERN.optim, **optim),
        batch_size or MODERN.batch_size,
    )


def _interval(ratios: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of the mean of their logarithms."""
    logs = [math.log(ratio) for ratio in ratios]
    mean = sum(logs) / len(logs)
    low, high = stats.t.interval(0.95, len(logs) - 1, loc=mean, scale=stats.sem(logs))
    return math.exp(low), math.exp(high)


def draw(result: dict[str, Any], path: Path) -> None:
    """Loss against CPU seconds, a line a run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    colours = {BASELINE.name: "tab:grey", MODERN.name: "tab:orange"}
    for run in result["runs"]:
        seconds = [point["cpu_seconds"] for point in run.curve]
        bits = [point["bits_per_byte"] for point in run.curve]
        label = None if run.seed else run.recipe
        axes.plot(seconds, bits, ".-", color=colours[run.recipe], alpha=0.8, label=label)
    axes.axhline(result["target_bits_per_byte"], ls=":", color="black", lw=1, label="target")
    axes.set(xlabel="CPU seconds of training", ylabel="validation bits per byte")
    axes.set_title(told(result))
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def main() -> None:
    """Sweep, compare or ablate; print, save, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    default = Path(tempfile.gettempdir()) / "time_to_loss"
    parser.add_argument("--out", type=Path, default=default, help="Corpus and results go there")
    parser.add_argument("--tokens", type=int, default=800_000, help="Of a baseline run")
    parser.add_argument("--budget", type=float, default=BUDGET, help="The preset's share of them")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sweep", action="store_true", help="Choose the baseline's rate instead")
    parser.add_argument("--ablations", action="store_true", help="Change the preset instead")
    parser.add_argument("--quick", action="store_true", help="A minute: see that it runs")
    given = parser.parse_args()
    tokens, seeds, out, every = given.tokens, range(given.seeds), given.out, EVERY
    if given.quick:
        tokens, seeds, out, every = 16_384, range(1), out / "quick", 30 * EVERY
    corpus = make_corpus(given.data, out / "corpus", every)
    runs = out / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    result: Any
    if given.sweep:
        kind, result = "sweep", sweep(corpus, runs, tokens * 3 // 8)
    elif given.ablations:
        kind, result = "ablations", ablate(corpus, runs, min(tokens, ABLATION_TOKENS), seeds)
    else:
        kind, result = "comparison", compare(corpus, runs, tokens, given.budget, seeds)
    path = out / f"{kind}.json"
    path.write_text(json.dumps(result, indent=1, default=asdict))
    if kind == "comparison":
        draw(result, out / "comparison.png")
    print(f"saved in {path}")


if __name__ == "__main__":
    main()
