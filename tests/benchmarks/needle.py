"""A context extended, before and after.

``python -m tests.benchmarks.needle --text FILE --output FOLDER``

In: text (plain, or JSONL with a ``text``, packed or not). A small model is trained on short
documents of that text with facts in them and questions about the facts at their ends; then its
rotary positions are stretched and it is trained on with long documents, the learning rate warmed
up again. Out: how often it finds a fact by depth and length (documents it was not trained on), at
each of these points: a table, a JSON file and a plot. All by the product's own trainer; one thread.
"""

import argparse
import json
import random
import resource
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import torch
from tokenizers import Tokenizer

from model import chat
from model.architectures import ModelConfig
from model.checkpoint import load_model
from model.context import load_to_train
from model.job import PretrainData, TrainJob
from model.needle import DEPTHS, Cell, Facts, as_plain, find_needles, grid_lines
from model.options import ContextConfig, OptimConfig
from model.tokens import TokenWriter
from model.trainer import train
from tasks.common.files import open_text
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig

matplotlib.use("Agg")
from matplotlib import pyplot as plt

VOCAB_SIZE = 768
NUM_FACTS = 4
NUM_TIMES = 2  # that a document says its facts once more
# What is asked for tells a rabbit from a hammer, the text which animal it is: a tiny model learns
# to look up the second in minutes, and has to look wherever it stands.
FACTS = Facts(
    sentence=" {name} {value}.",
    question=" {name}",
    values={
        "animal": ("badger", "beaver", "falcon", "jackal", "monkey", "pigeon", "rabbit", "turtle"),
        "city": ("Berlin", "Dublin", "Havana", "Lisbon", "Madrid", "Prague", "Vienna", "Warsaw"),
        "colour": ("amber", "crimson", "ivory", "maroon", "purple", "scarlet", "silver", "violet"),
        "fruit": ("apple", "apricot", "banana", "cherry", "lemon", "mango", "melon", "orange"),
        "metal": ("cobalt", "copper", "iron", "nickel", "sodium", "titanium", "tungsten", "zinc"),
        "tool": ("chisel", "drill", "hammer", "ladder", "pliers", "shovel", "spanner", "wrench"),
    },
)


def read_text(path: Path, limit_chars: int) -> str:
    """The beginning of a text, or of a JSONL's ``text``."""
    parts: list[str] = []
    size = 0
    with open_text(path) as file:
        for line in file:
            parts.append(json.loads(line)["text"] if ".jsonl" in path.name else line)
            size += len(parts[-1])
            if size > limit_chars:
                break
    return " ".join(" ".join(parts).split())


def make_tokenizer(text: str, path: Path) -> Tokenizer:
    """A small vocabulary that knows the facts' words too."""
    rng = random.Random(0)
    facts = [sentence for _ in range(5_000) for sentence in _sentences(rng)]
    config = TokenizerConfig(vocab_size=VOCAB_SIZE)
    train_bpe([text[:500_000], *facts], config).save(str(path))
    return chat.load_tokenizer(path)


def write_documents(
    folder: Path,
    name: str,
    tokenizer: Tokenizer,
    text_ids: Sequence[int],
    length: int,
    num_tokens: int,
) -> str:
    """A shard of documents, each one row of training: text with facts, then the facts once more."""
    rng = random.Random(name)
    with TokenWriter(folder, name, tokenizer.get_vocab_size()) as out:
        while out.num_tokens < num_tokens:
            out.add(list(_document(tokenizer, text_ids, length, rng)))
    return str(out.path)


def _document(
    tokenizer: Tokenizer, text_ids: Sequence[int], length: int, rng: random.Random
) -> Iterator[int]:
    sentences = [chat.encode_text(tokenizer, text) for text in _sentences(rng)]
    again = [s for _ in range(NUM_TIMES) for s in rng.sample(sentences, len(sentences))]
    room = max(0, length - 2 - (1 + NUM_TIMES) * sum(map(len, sentences)))
    start, done = rng.randrange(len(text_ids) - room), 0
    yield chat.special_id(tokenizer, chat.BOS)
    for sentence in sentences:
        place = rng.randint(done, room)
        yield from text_ids[start + done : start + place]
        yield from sentence
        done = place
    yield from text_ids[start + done : start + room]
    for sentence in again:
        yield from sentence
    yield chat.special_id(tokenizer, chat.EOS)


def _sentences(rng: random.Random) -> list[str]:
    drawn = FACTS.draw(rng, NUM_FACTS)
    return [FACTS.sentence.format(name=name, value=value) for name, value in drawn]


def main() -> None:
    """Train, extend, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--short", type=int, default=64, help="tokens of the first context")
    parser.add_argument("--factor", type=int, default=8, help="how many times longer it becomes")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--steps-after", type=int, default=50)
    parser.add_argument("--lr", type=float, default=0.008)
    parser.add_argument("--methods", nargs="+", default=["yarn"], help="none theta linear yarn")
    parser.add_argument("--asked", type=int, default=10, help="questions a cell")
    args = parser.parse_args()
    torch.set_num_threads(1)
    long, folder = args.short * args.factor, args.output
    folder.mkdir(parents=True, exist_ok=True)
    text = read_text(args.text, 3_000_000)
    tokenizer_path = folder / "tokenizer.json"
    tokenizer = make_tokenizer(text, tokenizer_path)
    ids = chat.encode_text(tokenizer, text)
    train_ids, haystack = ids[: -len(ids) // 5], ids[-len(ids) // 5 :]
    base = folder / "base" / "final"
    tokens = args.steps * 16 * args.short
    short_docs = write_documents(folder, "short", tokenizer, train_ids, args.short, tokens)
    job = TrainJob(
        objective="pretrain",
        model=ModelConfig(
            vocab_size=tokenizer.get_vocab_size(),
            width=64,
            n_layers=2,
            n_heads=2,
            n_kv_heads=2,
            mlp_width=128,
            max_seq_len=args.short,
            width_base=256,
        ),
        tokenizer=str(tokenizer_path),
        data=PretrainData(groups={"short": [short_docs]}, weights={"short": 1.0}),
        out_dir=str(folder / "base"),
        steps=args.steps,
        seq_len=args.short,
        batch_size=16,
        optim=OptimConfig(kind="muon", lr=args.lr, warmup_steps=50),
        log_every_steps=50,
        device="cpu",
        threads=1,
    )
    shutil.rmtree(job.out_dir, ignore_errors=True)
    train(job)
    print(f"first training: {_cpu_seconds():.0f} CPU seconds")
    lengths = [args.short, *(args.short * n for n in (2, 4, 6, 8) if n <= args.factor)]
    grids = {}

    def ask(name: str, model) -> None:
        grids[name] = find_needles(
            model, tokenizer, haystack, lengths, DEPTHS, FACTS, num_asked=args.asked
        )
        print("\n".join([f"\n{name}: share found", *grid_lines(grids[name])]), flush=True)

    as_it_is = load_to_train(base, ContextConfig(max_seq_len=long, method="none"))
    ask("trained on short documents", as_it_is.eval())
    long_docs = write_documents(
        folder, "long", tokenizer, train_ids, long, args.steps_after * 4 * long
    )
    for method in args.methods:
        context = ContextConfig(max_seq_len=long, method=method)
        ask(f"{method}, untrained", load_to_train(base, context).eval())
        after = replace(
            job,
            model=None,
            init_from=str(base),
            context=context,
            data=PretrainData(groups={"long": [long_docs]}, weights={"long": 1.0}),
            out_dir=str(folder / method),
            steps=args.steps_after,
            seq_len=long,
            batch_size=4,
            optim=replace(job.optim, lr=args.lr / 2, warmup_steps=10, warmup_from_ratio=0.2),
        )
        shutil.rmtree(after.out_dir, ignore_errors=True)
        train(after)
        ask(f"{method}, trained on", load_model(folder / method / "final")[0])
    _plot(folder / "needle.png", grids)
    plain = {name: as_plain(cells) for name, cells in grids.items()}
    (folder / "needle.json").write_text(json.dumps(plain, indent=1))
    print(f"{_cpu_seconds():.0f} CPU seconds in all")


def _plot(path: Path, grids: dict[str, list[Cell]]) -> None:
    figure, axes = plt.subplots(1, len(grids), figsize=(3.4 * len(grids), 3), squeeze=False)
    for axis, (name, cells) in zip(axes[0], grids.items(), strict=True):
        lengths = sorted({cell.length for cell in cells})
        table = [[c.accuracy for c in cells if c.depth == depth] for depth in DEPTHS]
        axis.imshow(table, vmin=0, vmax=1, cmap="RdYlGn", aspect="auto")
        for y, row in enumerate(table):
            for x, value in enumerate(row):
                axis.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=7)
        axis.set_xticks(range(len(lengths)), lengths)
        axis.set_yticks(range(len(DEPTHS)), DEPTHS)
        axis.set_title(name, fontsize=9)
        axis.set(xlabel="length, tokens", ylabel="depth")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
