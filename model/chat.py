"""Text to token ids and back: special tokens, documents, conversations.

In: a byte-level BPE ``tokenizer.json`` and text or messages. Out: ids, and for conversations a mask
of what the model has to say itself.

Every sequence begins with ``<|bos|>``, in pretraining too: so the token is a trained "nothing came
before", which generation starts from and scoring without a context conditions on.

    document       <|bos|> text <|eos|>
    conversation   <|bos|> <|user|> content <|end|> <|assistant|> content <|end|> …

What people write is text and stays text: no content can produce a special token.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, pre_tokenizers

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
USER, ASSISTANT, SYSTEM, END = "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"
SPECIAL_TOKENS = (BOS, EOS, PAD, USER, ASSISTANT, SYSTEM, END)
BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")
ROLES = {"user": USER, "assistant": ASSISTANT, "system": SYSTEM}

Message = Mapping[str, str]


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read ``tokenizer.json``, or the one in a folder, and see that it has our special tokens."""
    path = Path(path)
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"there is no tokenizer at {path}")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise ValueError(f"{path} is not a tokenizer: {error}") from error
    return prepare_tokenizer(tokenizer)


def prepare_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """Check the special tokens and make the tokenizer read them, when in a text, as text."""
    missing = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None]
    if missing:
        raise ValueError(
            f"the tokenizer lacks the special tokens {', '.join(missing)}; "
            "train one with model.chat.SPECIAL_TOKENS"
        )
    tokenizer.encode_special_tokens = True  # not stored in the file: must be said at every load
    return tokenizer


def special_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of one of ``SPECIAL_TOKENS``."""
    token_id = tokenizer.token_to_id(token)
    if token_id is None:
        raise ValueError(f"the tokenizer has no {token}; use model.chat.load_tokenizer")
    return token_id


def encode_text(tokenizer: Tokenizer, text: str) -> list[int]:
    """Plain ids of a text, without anything around them; special tokens in it are mere letters."""
    tokenizer.encode_special_tokens = True
    return tokenizer.encode(text, add_special_tokens=False).ids


def encode_document(tokenizer: Tokenizer, text: str) -> list[int]:
    """A document as pretraining sees it: ``<|bos|>`` text ``<|eos|>``."""
    bos, eos = special_id(tokenizer, BOS), special_id(tokenizer, EOS)
    return [bos, *encode_text(tokenizer, text), eos]


def encode_documents(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """``encode_document`` of many texts, on all the cores that the tokenizer may use."""
    tokenizer.encode_special_tokens = True
    bos, eos = special_id(tokenizer, BOS), special_id(tokenizer, EOS)
    encodings = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    return [[bos, *encoding.ids, eos] for encoding in encodings]


def encode_conversation(
    tokenizer: Tokenizer, messages: Sequence[Message]
) -> tuple[list[int], list[bool]]:
    """Ids, and True for each id that the assistant has to produce, its ``<|end|>`` included."""
    ids, mask = [special_id(tokenizer, BOS)], [False]
    end = special_id(tokenizer, END)
    for message in messages:
        content = [*encode_text(tokenizer, _content(message)), end]
        ids += [special_id(tokenizer, ROLES[message["role"]]), *content]
        mask += [False, *([message["role"] == "assistant"] * len(content))]
    return ids, mask


def encode_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """The conversation so far and ``<|assistant|>``: it is the model's turn."""
    ids, _ = encode_conversation(tokenizer, messages)
    return [*ids, special_id(tokenizer, ASSISTANT)]


def encode_answer(tokenizer: Tokenizer, answer: str) -> list[int]:
    """What follows ``encode_prompt`` when the assistant says ``answer``."""
    return [*encode_text(tokenizer, answer), special_id(tokenizer, END)]


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of ids; special tokens are left out."""
    return tokenizer.decode(list(ids), skip_special_tokens=True)


def token_byte_lengths(tokenizer: Tokenizer) -> np.ndarray:
    """(V,) int64: the UTF-8 bytes each token stands for; special tokens stand for none.

    A byte-level vocabulary writes every byte as one printable character, so characters are bytes;
    SentencePiece's writes a blank as ▁ and bytes that are no character as ``<0xE2>``.
    """
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())
    added = tokenizer.get_added_tokens_decoder()
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    words = {token: at for token, at in vocabulary.items() if at not in added}
    is_byte_level = all(map(alphabet.issuperset, words))
    lengths = np.zeros(max(vocabulary.values(), default=-1) + 1, dtype=np.int64)
    for token, token_id in words.items():
        lengths[token_id] = len(token) if is_byte_level else _sentencepiece_bytes(token)
    for token_id, extra in added.items():  # one that is not special is found in texts as it is
        lengths[token_id] = 0 if extra.special else len(extra.content.encode())
    return lengths


def _sentencepiece_bytes(token: str) -> int:
    return 1 if BYTE_TOKEN.fullmatch(token) else len(token.replace("▁", " ").encode())


def _content(message: Message) -> str:
    if message.get("role") not in ROLES:
        raise ValueError(f"role must be one of {', '.join(ROLES)}; got {message.get('role')!r}")
    if not isinstance(message.get("content"), str):
        raise ValueError(f"a message's content must be a string; got {message.get('content')!r}")
    return message["content"]
