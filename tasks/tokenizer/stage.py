"""The tokenizer stage: a mixed corpus in, ``tokenizer.json`` out."""

from collections.abc import Iterator

from tasks.common.mixture import TRAIN, read_mixture
from tasks.common.shard import read_tables
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig
from tasks.tokenizer.plain_bytes import byte_tokenizer

TOKENIZER_NAME = "tokenizer.json"


def run(context: StageContext, config: TokenizerConfig) -> Outcome:
    """Train a byte-level BPE tokenizer on the corpus, each portion by its share of the mixture; or
    write the one of plain bytes, which there is nothing to learn for."""
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


def _first_texts(corpus: Artifact, names: list[str], budget_bytes: int) -> Iterator[str]:
    for name in names:
        for table in read_tables(corpus.fetch(name)):
            for text in table["text"].to_pylist():
                if budget_bytes <= 0:
                    return
                budget_bytes -= len(text.encode())
                yield text


STAGE = Stage(name="tokenizer", version=2, config=TokenizerConfig, inputs=("documents",), run=run)
