"""Token shards for ``training_gpu.py``, made where it runs: of made-up documents, or of a text.

In: a folder, and texts if any. Out: ``tokenizer.json``, ``train.bin`` and, of texts, ``val.bin``.
"""

import gzip
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from model.chat import BOS, EOS, SPECIAL_TOKENS, encode_documents, special_id
from model.tokens import TokenWriter

MEAN_DOCUMENT_TOKENS = 500
VALIDATION_SHARE = 20  # one document in so many is held out
TOKENIZER_CHARS = 20_000_000  # more text changes a vocabulary little


def write_made_up(folder: Path, vocab_size: int, num_tokens: int) -> Path:
    """Random tokens in documents whose lengths vary as a web page's do; made once a folder."""
    made = folder / f"made-up-{vocab_size}-{num_tokens}"
    if made.is_dir():
        return made
    made.mkdir(parents=True)
    tokenizer = _train_tokenizer(["some words to begin with"], len(SPECIAL_TOKENS) + 256)
    tokenizer.save(str(made / "tokenizer.json"))
    bos, eos = special_id(tokenizer, BOS), special_id(tokenizer, EOS)
    rng = np.random.default_rng(0)
    with TokenWriter(made, "train", vocab_size) as out:
        left = num_tokens + 2
        while left > 0:
            length = max(8, int(rng.lognormal(np.log(MEAN_DOCUMENT_TOKENS) - 0.5, 1.0)))
            ids = rng.integers(len(SPECIAL_TOKENS), vocab_size, length)
            ids[0], ids[-1] = bos, eos
            out.add(ids)
            left -= length
    return made


def write_texts(folder: Path, texts: list[str], vocab_size: int) -> Path:
    """A tokenizer learned from the texts, and the texts by it; some documents are held out."""
    folder.mkdir(parents=True, exist_ok=True)
    random.Random(0).shuffle(texts)
    held_out = max(1, len(texts) // VALIDATION_SHARE)
    tokenizer = _train_tokenizer(_up_to(texts[held_out:], TOKENIZER_CHARS), vocab_size)
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, part in (("val", texts[:held_out]), ("train", texts[held_out:])):
        with TokenWriter(folder, name, vocab_size) as out:
            for ids in encode_documents(tokenizer, part):
                out.add(ids)
    return folder


def read_texts(path: Path, max_chars: int | None = None) -> list[str]:
    """``text`` of each line of a .jsonl, .jsonl.gz or .jsonl.zst; or a .txt, cut at empty lines
    into pieces of a few thousand characters."""
    if path.suffix == ".txt":
        pieces = _gathered(path.read_text(encoding="utf-8").split("\n\n"))
    else:
        pieces = (json.loads(line)["text"] for line in _lines(path))
    return list(pieces if max_chars is None else _up_to(pieces, max_chars))


def _lines(path: Path) -> Iterator[str]:
    if path.suffix == ".zst":
        try:
            import zstandard
        except ImportError:
            raise SystemExit(f"{path}: needs zstandard; or unpack it first: zstd -d") from None
        with path.open("rb") as file:
            reader = zstandard.ZstdDecompressor().stream_reader(file)
            yield from io.TextIOWrapper(reader, encoding="utf-8")
    else:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            yield from file


def _gathered(paragraphs: list[str], chars: int = 4000) -> Iterator[str]:
    piece = ""
    for paragraph in paragraphs:
        piece += paragraph + "\n\n"
        if len(piece) >= chars:
            yield piece
            piece = ""
    if piece:
        yield piece


def _up_to(texts, max_chars: int) -> Iterator[str]:
    for text in texts:
        yield text[:max_chars]
        max_chars -= len(text)
        if max_chars <= 0:
            return


def _train_tokenizer(texts, vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
