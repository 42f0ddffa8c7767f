"""The tokenizer stage: a mixed corpus in, ``tokenizer.json`` out."""

from collections.abc import Iterator

from tasks.common.mixture import TRAIN, read_mixture, shard_names
from tasks.common.shard import read_tables
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig


def run(context: StageContext, config: TokenizerConfig) -> Outcome:
    """Train a byte-level BPE tokenizer on the corpus, each group by its share of the mixture."""
    corpus = context.input("documents")
    num_bytes = 0

    def texts() -> Iterator[str]:
        nonlocal num_bytes
        for group in read_mixture(corpus)["groups"]:
            budget = int(group["weight"] * config.max_train_bytes)
            for text in _first_texts(corpus, shard_names(corpus, TRAIN, group, ".parquet"), budget):
                num_bytes += len(text.encode())
                yield text

    tokenizer = train_bpe(texts(), config)
    tokenizer.save(str(context.path / "tokenizer.json"))
    context.log.info("%d entries from %.1f MB", tokenizer.get_vocab_size(), num_bytes / 1e6)
    if tokenizer.get_vocab_size() < config.vocab_size:
        context.log.warning("too little text for %d entries", config.vocab_size)
    return Outcome(metrics={"vocab_size": tokenizer.get_vocab_size(), "train_bytes": num_bytes})


def _first_texts(corpus: Artifact, names: list[str], budget_bytes: int) -> Iterator[str]:
    for name in names:
        for table in read_tables(corpus.fetch(name)):
            for text in table["text"].to_pylist():
                if budget_bytes <= 0:
                    return
                budget_bytes -= len(text.encode())
                yield text


STAGE = Stage(name="tokenizer", version=1, config=TokenizerConfig, inputs=("documents",), run=run)
