"""The tokens stage: a mixed corpus and a tokenizer in, memory-mappable token shards out.

Out: ``train/GROUP/part-….bin`` and ``validation/GROUP/…`` (format: ``model.tokens``), and copies of
``tokenizer.json`` and ``mixture.json``, so that training needs this one artifact.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from model.chat import encode_documents, load_tokenizer
from model.tokens import TokenWriter
from tasks.common.mixture import MIXTURE_NAME, TRAIN, VALIDATION, read_mixture
from tasks.common.shard import read_tables
from tasks.common.stage import Outcome, Stage, StageContext
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
        for name in corpus.names(".parquet", f"{split}/{row['folder']}")
    ]
    tokenizer_path = tokenizer.fetch("tokenizer.json")
    results = context.map(
        encode_shard,
        [(corpus, name, tokenizer_path, context.path) for name in names],
        names=lambda index: _shard_files(names[index]),
    )
    for row in mixture["groups"]:
        for split in (TRAIN, VALIDATION):
            prefix = f"{split}/{row['folder']}/"
            row[f"{split}_tokens"] = sum(
                r["tokens"] for r in results if r["name"].startswith(prefix)
            )
    shutil.copyfile(tokenizer_path, context.path / "tokenizer.json")
    (context.path / MIXTURE_NAME).write_text(json.dumps(mixture, indent=1))
    return Outcome(metrics=_metrics(results))


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
    name="tokens", version=1, config=TokensConfig, inputs=("documents", "tokenizer"), run=run
)
