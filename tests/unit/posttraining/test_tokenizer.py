"""The tokenizer: bytes in, the same bytes out, digits apart, the same text the same vocabulary."""

from hypothesis import given
from hypothesis import strategies as st

from model.chat import decode, encode_text, prepare_tokenizer
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig

TEXTS = ["the quick brown fox jumps over 13 lazy dogs " * 20, "def f(x):\n    return x\n" * 20]
CONFIG = TokenizerConfig(vocab_size=400)
TOKENIZER = prepare_tokenizer(train_bpe(TEXTS, CONFIG))


@given(st.text())
def test_every_text_comes_back(text):
    assert decode(TOKENIZER, encode_text(TOKENIZER, text)) == text


@given(st.integers(0, 10**12))
def test_digits_are_split_one_by_one(number):
    assert len(encode_text(TOKENIZER, str(number))) == len(str(number))


def test_digits_stay_together_when_asked():
    whole = train_bpe(["1984 " * 100], TokenizerConfig(vocab_size=320, split_digits=False))
    assert len(encode_text(whole, "1984")) < 4


def test_the_same_text_gives_the_same_vocabulary():
    assert train_bpe(TEXTS, CONFIG).to_str() == train_bpe(TEXTS, CONFIG).to_str()
