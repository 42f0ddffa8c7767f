"""Does a learned mixture train better? ``python -m tests.benchmarks.mixture_search --data D``

In: the folder ``text`` of D (JSONL of several kinds of text). Searches a mixture for the held-out
loss of some groups with the product's own stages, then trains longer runs, several seeds each, on
the mixture found, on the proportional one, and on random ones. Out: a table. One thread; times are
CPU seconds.
"""

import argparse
import io
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import zstandard

from tasks.common.manifest import ArtifactRef
from tasks.common.mixture import read_mixture
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.ingest.config import IngestConfig
from tasks.ingest.stage import STAGE as INGEST
from tasks.mix.config import MixConfig
from tasks.mix.stage import STAGE as MIX
from tasks.regmix.config import RegmixConfig
from tasks.regmix.proxy import proxy_run
from tasks.regmix.search import draw_mixtures
from tasks.regmix.stage import (
    RUNS_NAME,
    STAGE,
    mean_loss,
    portion_weights,
    proxy_data,
    shares_and_limits,
    trainable_groups,
)
from tasks.tokenizer.config import TokenizerConfig
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tasks.tokens.config import TokensConfig
from tasks.tokens.stage import STAGE as TOKENS

FILES = {
    "encyclopedia": "encyclopedia/enwiki-2015.jsonl.zst",
    "news": "news/wikinews-en.jsonl.zst",
    "forum": "forum/20newsgroups-train.jsonl.zst",
    "docs": "docs/docs-markdown.jsonl.zst",
    "legal": "legal/german-federal-law.jsonl.zst",
}
EVERY = 8  # one document in so many: the groups' sizes stand to each other as they are


def main() -> None:
    """Search, confirm, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--targets", nargs="*", default=["encyclopedia", "news"])
    parser.add_argument("--runs", type=int, default=48)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--confirm-steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--random", type=int, default=3, help="Random mixtures to compare with")
    parser.add_argument("--store", help="Keep results there, to go on after an interruption")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = given.store or f"{folder}/store"
        machine = Machine(store=store, num_workers=1, device="cpu")
        tokens = _tokens(given.data / "text", Path(folder), machine)
        print(f"tokens made: {_cpu_seconds():.0f} s of CPU", flush=True)
        config = RegmixConfig(targets=given.targets, num_runs=given.runs, steps=given.steps)
        start = time.monotonic()
        found, _ = materialise(STAGE, config, {"tokens": [tokens]}, machine)
        seconds = found.provenance.cpu_seconds
        print(
            f"search: {given.runs} runs of {given.steps} steps, {seconds:.0f} s of CPU "
            f"({seconds / given.runs:.1f} s a run), {time.monotonic() - start:.0f} s in all"
        )
        print(json.dumps(found.metrics, indent=1), flush=True)
        artifact = Store(machine.store).open(found.ref)
        runs = json.loads(artifact.fetch(RUNS_NAME).read_text())
        _confirm(given, config, machine, tokens, dict(found.metrics["weights"]), runs)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{_cpu_seconds():.0f} s of CPU in all, {peak_mb:.0f} MB at peak")


def _tokens(text: Path, folder: Path, machine: Machine) -> ArtifactRef:
    for group, name in FILES.items():
        with (text / name).open("rb") as file, (folder / f"{group}.jsonl").open("w") as out:
            lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
            for number, line in enumerate(lines):
                if number % EVERY == 0:
                    record = json.loads(line)
                    kept = {name: record[name] for name in ("id", "url", "text")}
                    out.write(json.dumps(kept | {"source": group}) + "\n")
    paths = [str(folder / f"{group}.jsonl") for group in FILES]
    documents = materialise(INGEST, IngestConfig(paths=paths), {}, machine)[0].ref
    mix = MixConfig(validation_share=0.05, token_budget=4_000_000)
    mixed = materialise(MIX, mix, {"documents": [documents]}, machine)[0].ref
    words = TokenizerConfig(vocab_size=1024, max_train_bytes=5_000_000)
    tokenizer = materialise(TOKENIZER, words, {"documents": [mixed]}, machine)[0].ref
    inputs = {"documents": [mixed], "tokenizer": [tokenizer]}
    return materialise(TOKENS, TokensConfig(), inputs, machine)[0].ref


def _confirm(
    given: argparse.Namespace,
    config: RegmixConfig,
    machine: Machine,
    tokens: ArtifactRef,
    weights: dict[str, float],
    runs: list[dict],
) -> None:
    artifact = Store(machine.store).open(tokens)
    rows = trainable_groups(artifact, config)
    names = [row["group"] for row in rows]
    sizes = np.array([row["tokens"] for row in rows], float)
    shares, limits = shares_and_limits(read_mixture(artifact)["rules"], rows, config)
    rng = np.random.default_rng(12345)  # other mixtures than those of the search
    strengths = (config.min_strength, config.max_strength)
    random = draw_mixtures(shares, limits, given.random, strengths=strengths, rng=rng)
    best = min(runs, key=lambda run: run["target_loss"])["weights"]
    mixtures = {
        "found": np.array([weights[name] for name in names]),
        "proportional": sizes / sizes.sum(),
        "best proxy run's": np.array([best[name] for name in names]),
        **{f"random {number + 1}": own for number, own in enumerate(random)},
    }
    longer = config.model_copy(update={"steps": given.confirm_steps})
    data = proxy_data(artifact, rows, "cpu")
    print(f"\nconfirmation: {given.confirm_steps} steps, {given.seeds} seeds; {', '.join(names)}")
    means = {}
    for title, own in mixtures.items():
        losses = [
            mean_loss(
                proxy_run(data, portion_weights(rows, own), longer, 1000 + seed)["losses"],
                config.targets or names,
            )
            for seed in range(given.seeds)
        ]
        means[title] = float(np.mean(losses))
        print(
            f"{title:18} {np.array2string(own, precision=3, floatmode='fixed'):46} "
            f"loss {means[title]:.4f} (each {', '.join(f'{loss:.4f}' for loss in losses)})",
            flush=True,
        )
    mean_random = np.mean([loss for title, loss in means.items() if title.startswith("random")])
    print(
        f"mean random {mean_random:.4f}; found − proportional "
        f"{means['found'] - means['proportional']:+.4f}; found − mean random "
        f"{means['found'] - mean_random:+.4f}"
    )


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
