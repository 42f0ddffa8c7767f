"""No vocabulary at all: a token is a byte of UTF-8, or one of our special tokens.

The same kind of file as a byte-level BPE's, without merges, so that nothing that reads a tokenizer
needs to know (ByT5, Xue et al. 2022, arXiv:2105.13626, reads texts so).
"""

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from model.chat import SPECIAL_TOKENS


def byte_tokenizer() -> Tokenizer:
    """256 bytes after the special tokens; byte b has the id ``len(SPECIAL_TOKENS)`` + b."""
    tokens = [*SPECIAL_TOKENS, *_byte_letters()]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: at for at, token in enumerate(tokens)}, merges=[])
    )
    # Words are cut apart only because a word's ids are remembered: texts are encoded faster.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in SPECIAL_TOKENS])
    return tokenizer


def _byte_letters() -> list[str]:
    """The printable letter that stands for each byte, as GPT-2 chose them: a byte's own where it is
    printable, and for the others in their order the letters from U+0100 on."""
    own = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in own else next(others)) for byte in range(256)]
