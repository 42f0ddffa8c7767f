"""Masked language modelling: which tokens are hidden, and how (Devlin et al. 2019, section 3.1).

In: token ids. Out: the ids with some of them hidden, and which ones. Pure: the generator is given.

Shape suffixes: B rows, T positions, V vocabulary.
"""

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from model import chat

HIDDEN_SHARE = 0.15
MASKED_SHARE, RANDOM_SHARE = 0.8, 0.1
"""Of the hidden ones: shown as the mask; as any token; the others stay, and are asked for too."""
GOES_ON = "##"
MASK_NAMES = ("<|mask|>", "[MASK]", "<mask>")


@dataclass(frozen=True, slots=True)
class MaskingRules:
    """What hiding needs to know of a vocabulary."""

    mask_id: int
    vocab_size: int
    is_special_V: Tensor
    starts_word_V: Tensor | None
    """With it whole words are hidden; None: tokens."""

    @classmethod
    def of(cls, tokenizer: Tokenizer, *, whole_words: bool) -> "MaskingRules":
        """The rules of a tokenizer."""
        vocabulary = tokenizer.get_vocab(with_added_tokens=True)
        vocab_size = max(vocabulary.values()) + 1
        added = tokenizer.get_added_tokens_decoder()
        is_special_V = torch.zeros(vocab_size, dtype=torch.bool)
        is_special_V[[at for at, token in added.items() if token.special]] = True
        starts_word_V = None
        if whole_words:
            is_wordpiece = any(token.startswith(GOES_ON) for token in vocabulary)
            starts_word = _starts_piece if is_wordpiece else _starts_word
            goes_on = [at for token, at in vocabulary.items() if not starts_word(token)]
            starts_word_V = torch.ones(vocab_size, dtype=torch.bool)
            starts_word_V[goes_on] = False
            starts_word_V |= is_special_V
        mask_id = vocabulary[mask_token(tokenizer)]
        return cls(mask_id, vocab_size, is_special_V, starts_word_V)


def mask_token(tokenizer: Tokenizer) -> str:
    """What stands for a hidden token. A tokenizer without a mask of its own has ``<|pad|>`` as
    that: a row that is packed full has no other use for it."""
    own = (name for name in MASK_NAMES if tokenizer.token_to_id(name) is not None)
    return next(own, chat.PAD)


def _starts_piece(token: str) -> bool:
    """WordPiece marks what goes on."""
    return not token.startswith(GOES_ON)


def _starts_word(token: str) -> bool:
    """Byte-level and SentencePiece vocabularies mark the blank before a word."""
    return token.startswith(("Ġ", "▁", "Ċ"))


def hide_tokens(
    tokens_BT: Tensor, rules: MaskingRules, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The ids as the model is shown them, and True where it is asked what stood there."""

    def draw(shape: torch.Size) -> Tensor:
        return torch.rand(shape, generator=generator)

    if rules.starts_word_V is None:
        is_hidden_BT = draw(tokens_BT.shape) < HIDDEN_SHARE
    else:
        word_BT = rules.starts_word_V[tokens_BT].cumsum(dim=1)
        word_BT -= word_BT[:, :1].clone()  # a row may begin within a word
        is_hidden_BT = (draw(tokens_BT.shape) < HIDDEN_SHARE).gather(1, word_BT)
    is_hidden_BT &= ~rules.is_special_V[tokens_BT]
    how_BT = draw(tokens_BT.shape)
    any_BT = torch.randint(rules.vocab_size, tokens_BT.shape, generator=generator)
    shown_BT = torch.where(how_BT < MASKED_SHARE, rules.mask_id, tokens_BT)
    shown_BT = torch.where(how_BT >= 1 - RANDOM_SHARE, any_BT, shown_BT)
    return torch.where(is_hidden_BT, shown_BT, tokens_BT), is_hidden_BT
