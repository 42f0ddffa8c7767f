"""Which language a text is in, as a whole and paragraph by paragraph. Pure: text in, codes out.

The model is made by ``train_language`` and reads in C++; with its answer comes the probability that
it is right. Source code, keys and numbers are in no language.
"""

import unicodedata
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tasks.common._language import OWN_LETTERS, OWN_PROBABILITY, Letters, Model

MODEL_FILE = Path(__file__).with_name("language_model.npz")
NO_LANGUAGE = "zxx"  # ISO 639-2's code for what is no language: the model's label, never an answer
NUM_CODE_POINTS = 0x33480  # what comes above holds no letters
NO_LETTER = -(1 << 30)  # in the model file, what a code point is folded by that is no letter


@dataclass(frozen=True, slots=True)
class Detected:
    """The languages of a document.

    ``language`` is the one of most of its characters, in ISO 639-1, or in 639-3 where that has no
    code; None where most of it is no language. ``score`` is the probability of that, 0 for None.
    ``shares`` are the languages' shares of its characters, the greatest first; what they lack to 1
    is in no language.
    """

    language: str | None = None
    score: float = 0.0
    shares: dict[str, float] = field(default_factory=dict)

    def columns(self) -> dict[str, Any]:
        """The same as columns of a document."""
        return {
            "language": self.language,
            "language_score": self.score,
            "language_shares": list(self.shares.items()),
        }


def identify(text: str) -> tuple[str | None, float]:
    """Name the language of a sentence or paragraph, and the probability that it is that one.

    Up to 20,000 letters are read; ``identify_paragraphs`` is faster on documents.
    """
    label, probability, _ = model().decide(_normal(text))
    if label < 0 or labels()[label] == NO_LANGUAGE:
        return None, 0.0
    return labels()[label], probability


def identify_paragraphs(text: str) -> Detected:
    """Name the languages of a document's lines, and with them its own.

    A line of few letters, or in doubt, is taken to be in the language that the document has as a
    whole. Of a document of more than 500 characters only the beginnings of lines are read, and of
    no more than 16 lines, evenly spread. Any text will do; its time grows no faster than the text.
    """
    found = model().read(_normal(text))
    if not found:
        return Detected()
    codes = labels()
    shares = {codes[label]: share for label, share, _ in found if codes[label] != NO_LANGUAGE}
    best, _, probability = found[0]
    if codes[best] == NO_LANGUAGE:
        return Detected(shares=shares)
    return Detected(codes[best], probability, shares)


def without_other_languages(text: str, wanted: Collection[str]) -> tuple[str, Counter[str]]:
    """Take out the lines that are surely in a language that is not wanted.

    Returns the text and how many lines were removed, by language. Lines of few letters stay, and
    so do those in no language.
    """
    removed = Counter[str]()
    lines = text.split("\n")
    kept = []
    for line in lines:
        label, probability, num_letters = model().decide(_normal(line))
        is_sure = num_letters >= OWN_LETTERS and probability >= OWN_PROBABILITY
        if is_sure and labels()[label] not in (NO_LANGUAGE, *wanted):
            removed[labels()[label]] += 1
        else:
            kept.append(line)
    return "\n".join(kept), removed


def labels() -> tuple[str, ...]:
    """What the model can answer: the languages' codes, and NO_LANGUAGE."""
    return _loaded()[1]


def model() -> Model:
    """The model that comes with the code."""
    return _loaded()[0]


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


@cache
def _loaded() -> tuple[Model, tuple[str, ...]]:
    with np.load(MODEL_FILE) as arrays:
        steps = arrays["folding"].astype(np.int64)
        folded = np.where(steps == NO_LETTER, 0, steps + np.arange(len(steps)))
        of_file = Model(
            Letters(folded.astype(np.uint32)),
            arrays["table"],
            arrays["weights"].astype(np.float32),
            arrays["biases"].astype(np.float32),
            *map(float, arrays["sharpness"]),
        )
        return of_file, tuple(map(str, arrays["labels"]))
