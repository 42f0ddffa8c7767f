"""Byte-level BPE: every byte has a token, so nothing is ever unknown."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from model.chat import SPECIAL_TOKENS
from tasks.tokenizer.config import TokenizerConfig


def train_bpe(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """Learn a vocabulary from ``texts``; the same texts in the same order give the same one."""
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([digits, words]) if config.split_digits else words
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
