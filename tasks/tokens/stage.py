"""The tokens stage: a mixed corpus and a tokenizer in, memory-mappable token shards out.

Out: ``train/GROUP/part-….bin`` and ``validation/GROUP/…`` (format: ``model.tokens``), a copy of
``tokenizer.json``, and ``mixture.json`` made again of exact token counts, so that training needs
this one artifact and keeps its budget to the token.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from model.chat import encode_documents, load_tokenizer
from model.tokens import TokenWriter
from tasks.common.mix_table import MixRules, Portion, mixture_markdown, mixture_table
from tasks.common.mixture import (
    MIXTURE_NAME,
    TRAIN,
    VALIDATION,
    read_mixture,
    shard_names,
)
from tasks.common.shard import read_tables
from tasks.common.stage import SUMMARY_NAME, Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.tokens.config import TokensConfig


def run(context: StageContext, config: TokensConfig) -> Outcome:
    """Encode every document once; the loader reads the shards in place."""
    corpus, tokenizer = context.input("documents"), context.input("tokenizer")
    mixture = read_mixture(corpus)
    names = [
        name
        for row in mixture["groups"]
        for split in (TRAIN, VALIDATION)
        for name in shard_names(corpus, split, row, ".parquet")
    ]
    tokenizer_path = tokenizer.fetch("tokenizer.json")
    results = context.map(
        encode_shard,
        [(corpus, name, tokenizer_path, context.path) for name in names],
        names=lambda index: _shard_files(names[index]),
    )
    exact = exact_mixture(mixture, results)
    shutil.copyfile(tokenizer_path, context.path / "tokenizer.json")
    (context.path / MIXTURE_NAME).write_text(json.dumps(exact, indent=1))
    (context.path / SUMMARY_NAME).write_text(mixture_markdown(exact) + "\n")
    return Outcome(metrics=_metrics(results) | {"mixture": exact})


def exact_mixture(estimated: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
    """The mixture by the same rules, of the tokens that the shards really hold."""

    def num_tokens(folder: str) -> int:
        return sum(r["tokens"] for r in results if r["name"].rpartition("/")[0] == folder)

    portions = [
        Portion(
            name=own["name"],
            group=row["group"],
            folder=own["folder"],
            times=tuple(own["times"]),
            num_documents=own["documents"],
            num_bytes=own["bytes"],
            num_tokens=num_tokens(f"{TRAIN}/{own['folder']}"),
        )
        for row in estimated["groups"]
        for own in row["portions"]
    ]
    table = mixture_table(MixRules(**estimated["rules"]), portions, are_exact=True)
    held_out = {row["group"]: row["validation_documents"] for row in estimated["groups"]}
    for row in table["groups"]:
        row["validation_documents"] = held_out[row["group"]]
        row["validation_tokens"] = num_tokens(f"{VALIDATION}/{row['folder']}")
    return table


def encode_shard(corpus: Artifact, name: str, tokenizer_path: Path, folder: Path) -> dict[str, Any]:
    """Encode one Parquet shard of documents into one token shard of the same name."""
    tokenizer = load_tokenizer(tokenizer_path)
    target = (folder / name).with_suffix("")
    num_bytes = 0
    with TokenWriter(target.parent, target.name, tokenizer.get_vocab_size()) as writer:
        for table in read_tables(corpus.fetch(name)):
            texts = table["text"].to_pylist()
            num_bytes += sum(len(text.encode()) for text in texts)
            for ids in encode_documents(tokenizer, texts):
                writer.add(ids)
    return {"name": name, "tokens": writer.num_tokens, "bytes": num_bytes}


def _shard_files(name: str) -> list[str]:
    stem = name.removesuffix(".parquet")
    return [f"{stem}.bin", f"{stem}.idx.npy"]


def _metrics(results: list[dict[str, Any]]) -> dict[str, Any]:
    metrics: dict[str, Any] = {}
    for split in (TRAIN, VALIDATION):
        mine = [r for r in results if r["name"].startswith(f"{split}/")]
        metrics[f"{split}_tokens"] = sum(r["tokens"] for r in mine)
        metrics[f"{split}_bytes"] = sum(r["bytes"] for r in mine)
    metrics["bytes_per_token"] = metrics["train_bytes"] / max(1, metrics["train_tokens"])
    return metrics


STAGE = Stage(
    name="tokens", version=3, config=TokensConfig, inputs=("documents", "tokenizer"), run=run
)
