"""The tokenizer stage: a mixed corpus in, ``tokenizer.json`` out; or one of the user's as it is."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from model.chat import load_tokenizer
from tasks.common.files import sha256_of
from tasks.common.mixture import TRAIN, read_mixture
from tasks.common.shard import read_tables
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig
from tasks.tokenizer.plain_bytes import byte_tokenizer

TOKENIZER_NAME = "tokenizer.json"


def run(context: StageContext, config: TokenizerConfig) -> Outcome:
    """Train a byte-level BPE tokenizer on the corpus, each portion by its share of the mixture.

    Or write the one of plain bytes, which there is nothing to learn for; or adopt one that is
    given, so that a model that knows it can be trained on.
    """
    if config.adopt:
        return _adopt(context, _adopted_path(config))
    if config.kind == "bytes":
        tokenizer = byte_tokenizer()
        tokenizer.save(str(context.path / TOKENIZER_NAME))
        return Outcome(metrics={"vocab_size": tokenizer.get_vocab_size(), "train_bytes": 0})
    corpus = context.input("documents")
    groups = read_mixture(corpus)["groups"]
    portions = [portion for group in groups for portion in group["portions"]]
    total = max(1, sum(portion["target_tokens"] for portion in portions))
    num_bytes = 0

    def texts() -> Iterator[str]:
        nonlocal num_bytes
        for portion in portions:
            budget = portion["target_tokens"] * config.max_train_bytes // total
            names = corpus.names(".parquet", f"{TRAIN}/{portion['folder']}")
            for text in _first_texts(corpus, names, budget):
                num_bytes += len(text.encode())
                yield text

    tokenizer = train_bpe(texts(), config)
    tokenizer.save(str(context.path / TOKENIZER_NAME))
    context.log.info("%d entries from %.1f MB", tokenizer.get_vocab_size(), num_bytes / 1e6)
    if tokenizer.get_vocab_size() < config.vocab_size:
        context.log.warning("too little text for %d entries", config.vocab_size)
    return Outcome(metrics={"vocab_size": tokenizer.get_vocab_size(), "train_bytes": num_bytes})


def _adopt(context: StageContext, path: Path) -> Outcome:
    """Copy a tokenizer byte for byte: what compares it with a model's wants no other."""
    size = load_tokenizer(path).get_vocab_size(with_added_tokens=True)
    shutil.copyfile(path, context.path / TOKENIZER_NAME)
    context.log.info("%d entries, adopted from %s", size, path)
    return Outcome(metrics={"vocab_size": size, "train_bytes": 0})


def _adopted_path(config: TokenizerConfig) -> Path:
    given = Path(config.adopt)
    path = given / TOKENIZER_NAME if given.is_dir() else given
    if not path.is_file():
        raise ValueError(
            f"tokenizer.adopt={config.adopt}: there is no tokenizer; name a tokenizer.json or a "
            "checkpoint's folder, such as `bloomery import-hf` writes"
        )
    return path


def _identity(config: TokenizerConfig) -> Mapping[str, Any]:
    if config.adopt:  # nothing else is heeded
        return {"adopt": sha256_of(_adopted_path(config))}
    if config.kind == "bytes":
        return {"kind": config.kind}
    return config.model_dump(mode="json", exclude={"adopt", "kind"})


def _first_texts(corpus: Artifact, names: list[str], budget_bytes: int) -> Iterator[str]:
    for name in names:
        for table in read_tables(corpus.fetch(name)):
            for text in table["text"].to_pylist():
                if budget_bytes <= 0:
                    return
                budget_bytes -= len(text.encode())
                yield text


STAGE = Stage(
    name="tokenizer",
    version=2,
    config=TokenizerConfig,
    inputs=("documents",),
    run=run,
    identity=_identity,
)
