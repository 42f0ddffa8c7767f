"""Is the loader ever what training waits for? ``python -m tests.benchmarks.loader``

In: nothing; shards of random ids are written to a temporary folder. Out: tokens that each loader
makes in a second of one core, against the fastest training known to us, and the share of its time
that a real run of a tiny model on this CPU waits for data, with and without batches made ahead. The
tinier the model the worse that share: it is the bound for all larger ones.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from model.architectures import EncoderConfig, ModelConfig
from model.batches import Loader
from model.chat import SPECIAL_TOKENS, load_tokenizer
from model.job import PretrainData, TrainJob
from model.masking import MaskingRules
from model.objectives.mlm import MaskedLoader
from model.objectives.sft import ConversationLoader
from model.options import OptimConfig
from model.packed_loader import PackedLoader
from model.tokens import TokenWriter
from model.trainer import train

VOCAB_SIZE = 8192
FASTEST_TRAINING = 4.78e6
"""Tokens a second of modded-nanogpt's record 89: 124 M parameters on 8 H100."""
MEASURE_SECONDS = 1.0


def write_tokenizer(folder: Path) -> Path:
    """A vocabulary of bytes and of words that nobody uses, as large as a real one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokens = [*SPECIAL_TOKENS, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens += [f"w{number}" for number in range(VOCAB_SIZE - len(tokens))]
    tokenizer = Tokenizer(models.BPE(vocab={t: n for n, t in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def write_shards(folder: Path, num_sources: int) -> dict[str, list[str]]:
    """Sources of two shards, 200,000 tokens each."""
    rng = np.random.default_rng(0)
    found: dict[str, list[str]] = {}
    for source in range(num_sources):
        for shard in range(2):
            name = f"source-{source}-{shard}"
            with TokenWriter(folder, name, VOCAB_SIZE) as out:
                for _ in range(20):
                    out.add(np.append(rng.integers(7, VOCAB_SIZE, 4_999), 1))
            found.setdefault(f"source-{source}", []).append(str(folder / f"{name}.bin"))
    return found


def write_records(folder: Path) -> Path:
    """A thousand conversations of a few hundred bytes."""
    rng = random.Random(0)
    path = folder / "sft.jsonl"
    with path.open("w") as file:
        for number in range(1_000):
            said = [" ".join(map(str, rng.choices(range(999), k=20))) for _ in range(2)]
            messages = [
                {"role": role, "content": text}
                for role, text in zip(("user", "assistant"), said, strict=True)
            ]
            file.write(json.dumps({"id": str(number), "messages": messages}) + "\n")
    return path


def tokens_per_cpu_second(loader: Loader) -> float:
    """Of batches made one after another."""
    loader.next_batch()
    before, started = sum(loader.tokens().values()), time.process_time()
    while (elapsed := time.process_time() - started) < MEASURE_SECONDS:
        loader.next_batch()
    return (sum(loader.tokens().values()) - before) / elapsed


def loaders(folder: Path) -> dict[str, Loader]:
    """Each kind at the shapes of small and of large training."""
    path = write_tokenizer(folder)
    tokenizer, groups = load_tokenizer(path), write_shards(folder, 36)
    rules = MaskingRules.of(tokenizer, whole_words=False)
    found: dict[str, Loader] = {}
    for num_sources in (1, 5, 36):
        own = {name: groups[name] for name in list(groups)[:num_sources]}
        weights = {name: 1.0 + number for number, name in enumerate(own)}
        for seq_len, batch_size in ((256, 16), (2048, 64)):
            name = f"packed, {num_sources} sources, {batch_size} × {seq_len}"
            found[name] = PackedLoader(own, weights, seq_len, batch_size, seed=0)
    found["mlm, 5 sources, 16 × 256"] = MaskedLoader(
        *({n: groups[n] for n in list(groups)[:5]}, dict.fromkeys(list(groups)[:5], 1.0)),
        *(256, 16, 0),
        rules=rules,
    )
    found["sft, 16 × ≤ 512"] = ConversationLoader(
        write_records(folder), tokenizer, seq_len=512, batch_size=16, seed=0
    )
    return found


def wait_share(folder: Path, objective: str, prefetch_batches: int, num_steps: int) -> float:
    """Mean over the steps of a run, the first of which starts the thread."""
    groups = write_shards(folder, 5)
    size = {"vocab_size": VOCAB_SIZE, "width": 64, "n_layers": 2, "n_heads": 4, "max_seq_len": 256}
    model = (
        EncoderConfig(**size, mlp_width=176)  # type: ignore[arg-type]
        if objective == "mlm"
        else ModelConfig(**size, n_kv_heads=2, mlp_width=176)  # type: ignore[arg-type]
    )
    job = TrainJob(
        objective=objective,
        model=model,
        tokenizer=str(write_tokenizer(folder)),
        data=PretrainData(groups=groups, weights=dict.fromkeys(groups, 1.0)),
        out_dir=str(folder / "out"),
        steps=num_steps,
        seq_len=256,
        batch_size=8,
        optim=OptimConfig(lr=1e-3, warmup_steps=2),
        checkpoint_every_seconds=None,
        device="cpu",
        prefetch_batches=prefetch_batches,
    )
    train(job)
    lines = map(json.loads, (folder / "out" / "metrics.jsonl").read_text().splitlines())
    return statistics.mean(e["data_wait_share"] for e in lines if e["event"] == "step")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60, help="of each real run")
    steps = parser.parse_args().steps
    print(f"{'loader':32} {'tokens/CPU-s':>14} {'of the fastest training':>24}")
    with tempfile.TemporaryDirectory() as folder:
        for name, loader in loaders(Path(folder)).items():
            speed = tokens_per_cpu_second(loader)
            print(f"{name:32} {speed:14,.0f} {speed / FASTEST_TRAINING:23.1f}×", flush=True)
    print("\nshare of a run's time spent waiting for data (2 layers of 64, 8 × 256 a step)")
    for objective in ("pretrain", "mlm"):
        for depth in (0, 2):
            with tempfile.TemporaryDirectory() as folder:
                share = wait_share(Path(folder), objective, depth, steps)
            print(f"{objective:10} {depth} batches ahead: {share:.3%}", flush=True)


if __name__ == "__main__":
    main()
