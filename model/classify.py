"""What a text is: ``python -m model.classify CHECKPOINT --text "…"``.

In: an exported encoder with classes, and texts. Out: the probability of each label. How it was
trained is ``objectives/classify.py``'s.

Shape suffixes: B rows, T positions, C classes.
"""

import argparse
import sys
from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor

from model import chat
from model.checkpoint import load_model
from model.devices import pick_device
from model.encoder import Encoder
from model.language_model import LanguageModel

TEXTS_PER_BATCH = 32


@torch.no_grad()
def classify(
    model: LanguageModel, tokenizer: Tokenizer, texts: Sequence[str]
) -> list[dict[str, float]]:
    """For each text, the probability of each label, the likeliest first. A text that is too long
    is read as far as the model reads.

    Raises:
        ValueError: the model has no classes.
    """
    if not isinstance(model, Encoder) or not model.config.num_classes:
        raise ValueError("this model has no classes; train one with the objective classify")
    rows = [encode_text(tokenizer, text, model.config.max_seq_len) for text in texts]
    found = []
    for start in range(0, len(rows), TEXTS_PER_BATCH):
        logits_BC = _logits(model, rows[start : start + TEXTS_PER_BATCH])
        for probabilities in logits_BC.softmax(dim=-1).tolist():
            named = dict(zip(model.config.class_names, probabilities, strict=True))
            found.append(dict(sorted(named.items(), key=lambda item: -item[1])))
    return found


def encode_text(tokenizer: Tokenizer, text: str, max_tokens: int) -> list[int]:
    """``<|bos|> text <|eos|>``, the text cut so that all has at most ``max_tokens``."""
    bos, *inner, eos = chat.encode_document(tokenizer, text)
    return [bos, *inner[: max_tokens - 2], eos]


def class_logits(model: Encoder, tokens_BT: Tensor, lengths: Sequence[int]) -> Tensor:
    """(B, C) of texts of those lengths, padded on the right."""
    places_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
    lengths_B = torch.tensor(lengths, device=tokens_BT.device)
    # Padding is another document, which the text does not see.
    is_padding_BT = (places_T >= lengths_B[:, None]).long()
    return model.classify(model.hidden(tokens_BT, documents_BT=is_padding_BT))


def _logits(model: Encoder, rows: Sequence[Sequence[int]]) -> Tensor:
    width = max(map(len, rows))
    tokens_BT = torch.zeros(len(rows), width, dtype=torch.long)
    for at, row in enumerate(rows):
        tokens_BT[at, : len(row)] = torch.tensor(row)
    return class_logits(model, tokens_BT.to(model.embed.weight.device), [len(r) for r in rows])


def main(argv: list[str] | None = None) -> int:
    """Print each text's labels with their probabilities."""
    parser = argparse.ArgumentParser(prog="python -m model.classify", description="Name the class.")
    parser.add_argument("checkpoint", help="folder with model.safetensors and tokenizer.json")
    parser.add_argument("--text", required=True, action="append", help="may be given again")
    parser.add_argument("--labels", type=int, help="print so many of the likeliest; all")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    arguments = parser.parse_args(argv)
    try:
        if arguments.labels is not None and arguments.labels < 1:
            raise ValueError(f"--labels must be at least 1; got {arguments.labels}")
        model, tokenizer = load_model(arguments.checkpoint, pick_device(arguments.device))
        found = classify(model, tokenizer, arguments.text)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for number, labels in enumerate(found, start=1):
        for label, probability in list(labels.items())[: arguments.labels]:
            print(f"{number}  {probability:.4f}  {label}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
