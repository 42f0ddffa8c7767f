"""What could stand there: ``python -m model.fill_mask CHECKPOINT --text "iron is <|mask|>"``.

In: an exported encoder and a text with masks in it. Out: for each mask the likeliest tokens, with
their probabilities.

Shape suffixes: B rows, T positions, D width, N masks, V vocabulary.
"""

import argparse
import re
import sys
from typing import NamedTuple

import torch
from tokenizers import Tokenizer

from model import chat
from model.checkpoint import load_model
from model.devices import pick_device
from model.encoder import Encoder
from model.language_model import LanguageModel
from model.masking import MASK_NAMES, mask_token

_MASK = re.compile("|".join(map(re.escape, MASK_NAMES)))


class Candidate(NamedTuple):
    """A token that may stand at a mask."""

    token_id: int
    text: str
    probability: float


@torch.no_grad()
def fill_mask(
    model: LanguageModel, tokenizer: Tokenizer, text: str, num_candidates: int = 5
) -> list[list[Candidate]]:
    """The likeliest tokens at each mask of the text, in its order; probabilities are of the whole
    vocabulary.

    Raises:
        ValueError: the text has no mask or is too long, or the model does not fill masks.
    """
    if num_candidates < 1:
        raise ValueError(f"ask for at least one candidate; got {num_candidates}")
    if not isinstance(model, Encoder) or model.config.num_classes:
        raise ValueError("this model does not fill masks; give an encoder trained with mlm")
    ids = encode_masked(tokenizer, text)
    mask_id = chat.special_id(tokenizer, mask_token(tokenizer))
    tokens_BT = torch.tensor([ids], device=model.embed.weight.device)
    hidden_ND = model.hidden(tokens_BT)[tokens_BT == mask_id]
    top = (
        model.head(hidden_ND)
        .float()
        .softmax(dim=-1)
        .topk(min(num_candidates, model.config.vocab_size))
    )
    return [
        [
            Candidate(token_id, _text_of(tokenizer, token_id), probability)
            for token_id, probability in zip(ids, probabilities, strict=True)
        ]
        for ids, probabilities in zip(top.indices.tolist(), top.values.tolist(), strict=True)
    ]


def _text_of(tokenizer: Tokenizer, token_id: int) -> str:
    """What a reader knows the token by: special ones decode to nothing."""
    return chat.decode(tokenizer, [token_id]) or tokenizer.id_to_token(token_id) or ""


def encode_masked(tokenizer: Tokenizer, text: str) -> list[int]:
    """``<|bos|> text <|eos|>`` with the tokenizer's own mask wherever the text has one, by any of
    ``MASK_NAMES``."""
    parts = _MASK.split(text)
    if len(parts) == 1:
        raise ValueError(f"the text has no mask: write {MASK_NAMES[0]} for what is to be found")
    mask_id = chat.special_id(tokenizer, mask_token(tokenizer))
    first, *others = (chat.encode_text(tokenizer, part) for part in parts)
    ids = [chat.special_id(tokenizer, chat.BOS), *first]
    for part in others:
        ids += [mask_id, *part]
    return [*ids, chat.special_id(tokenizer, chat.EOS)]


def main(argv: list[str] | None = None) -> int:
    """Print the candidates of each mask."""
    parser = argparse.ArgumentParser(prog="python -m model.fill_mask", description="Fill masks.")
    parser.add_argument("checkpoint", help="folder with model.safetensors and tokenizer.json")
    parser.add_argument("--text", required=True, help=f"with one or more {MASK_NAMES[0]}")
    parser.add_argument("--candidates", type=int, default=5)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    arguments = parser.parse_args(argv)
    try:
        model, tokenizer = load_model(arguments.checkpoint, pick_device(arguments.device))
        found = fill_mask(model, tokenizer, arguments.text, arguments.candidates)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for number, candidates in enumerate(found, start=1):
        for candidate in candidates:
            print(f"{number}  {candidate.probability:.4f}  {candidate.text!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
