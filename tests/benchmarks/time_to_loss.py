"""How soon is a loss reached? ``python -m tests.benchmarks.time_to_loss --data D``

In: the encyclopedia in ``text`` of D. Trains, with the engine's own ``Trainer``, a GPT-2-style model
with AdamW for ``--tokens`` tokens, and the ``modern`` preset with its optimizer for a smaller
budget. Out: a table, ``time_to_loss.json`` and a plot in ``--out``.

Time to loss is the CPU time, user and system, of all training steps (not of evaluations) of a run
whose learning rate ends its schedule at the run's last step. The target is the mean, over seeds, of
the baseline's last validation bits per byte. The preset's time counts where its last value is at
or under the target.
"""

import io
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import zstandard

from model.chat import encode_documents, load_tokenizer
from model.config import ModelConfig, OptimConfig, PretrainData, TrainJob, model_preset
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


def make_corpus(data: Path, folder: Path) -> Corpus:
    """Tokenizer and shards; made once, found again in ``folder``."""
    corpus = Corpus(*(str(folder / name) for name in ("tokenizer.json", "train", "val")))
    if (folder / "val.idx.npy").exists():
        return corpus
    folder.mkdir(parents=True, exist_ok=True)
    articles = list(_articles(data / ARTICLES))
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


def _articles(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
        for number, line in enumerate(lines):
            if number % EVERY == 0:
                yield json.loads(line)["text"]


def train_run(
    recipe: Recipe, corpus: Corpus, folder: Path, *, tokens: int, seed: int, num_evals: int = 1
) -> Run:
    """Train one model to the end of its schedule; nothing is left in ``folder``."""
    steps = tokens // (recipe.batch_size * SEQ_LEN)
    optim = replace(recipe.optim, warmup_steps=round(steps * recipe.warmup_share))
    out = folder / f"{recipe.name}-{seed}"
    shutil.rmtree(out, ignore_errors=True)
    job = TrainJob(
        objective="pretrain",
        data=PretrainData(groups={"wiki": [corpus.train]}, weights={"wiki": 1.0}, val=[corpus.val]),
        out_dir=str(out),
        steps=steps,
        seq_len=SEQ_LEN,
        batch_size=recipe.batch_size,
        model=recipe.model,
        tokenizer=corpus.tokenizer,
        optim=optim,
        seed=seed,
        eval_every_steps=-(-steps // num_evals),
        eval_batches=VAL_WINDOWS // recipe.batch_size,
        checkpoint_every_seconds=None,
        log_every_steps=50,
        device="cpu",
        threads=1,
    )
    trainer = Trainer(job)
    clock = Stopwatch()
    run = Run(recipe.name, seed, steps * recipe.batch_size * SEQ_LEN, trainer.model.num_parameters())
    evaluate = trainer.evaluate

    def evaluate_untimed() -> dict[str, float]:
        clock.stop()
        metrics = evaluate()
        run.curve.append(
            {
                "tokens": trainer.step * recipe.batch_size * SEQ_LEN,
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
    shutil.rmtree(out)
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


BASELINE = Recipe(
    "gpt2-demo, AdamW",
    model_preset("gpt2-demo", VOCAB_SIZE, SEQ_LEN),  # type: ignore[arg-type]
    OptimConfig(lr=2e-3, min_lr_ratio=0.1, decay="cosine", betas=(0.9, 0.95), weight_decay=0.1),
    batch_size=8,
)
