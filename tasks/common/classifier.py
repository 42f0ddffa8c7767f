"""A trained classifier, read from its artifact: texts in, scores out, many texts at a time.

Two learners have one face. ``windows`` is a linear model over hashed n-grams of windows of words;
``fasttext`` is Joulin et al. 2017 (arXiv:1607.01759) on a document's beginning, which is then one
window. Both give each window a raw number a label; the card says how these are read as a score of
the document.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from tasks.common.fasttext_lines import features
from tasks.common.fasttext_model import FastText
from tasks.common.store import Artifact
from tasks.common.windows import windows_of

CARDS_NAME = "classifiers.json"
MAX_LABEL_SCORE = 5  # the scale of additive points of FineWeb-Edu
MAX_LOGIT = 30.0


class Card(BaseModel):
    """What a classifier is and how its raw numbers become a score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    learner: Literal["windows", "fasttext"]
    labels: list[str] = Field(description="Of classes; of two the second is the one scored")
    reading: Literal["amount", "mean", "max", "points"]
    scale: float = Field(1.0, description="Of raw numbers, from calibration")
    shift: float = Field(0.0, description="Of raw numbers, from calibration")
    half_words: float = Field(200.0, description="For amount: words like the references for 0.5")
    reference_sources: list[str] = Field([], description="Sources it was taught to find good")


class Cards(BaseModel):
    """All classifiers of an artifact; None: not trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quality: Card | None = None
    domain: Card | None = None
    toxicity: Card | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """Raw numbers of windows; of two labels, or of points, there is one."""

    values: np.ndarray  # (windows, labels)
    text: np.ndarray  # (windows,), which text each window is of
    num_words: np.ndarray  # (windows,)
    num_texts: int


class Model(Protocol):
    """What a learner leaves."""

    def raw(self, texts: list[str]) -> Raw:
        """Raw numbers of every window."""
        ...


class LinearModel:
    """Weights of hashed n-grams, (buckets, labels), and biases, (labels,)."""

    def __init__(self, weights: np.ndarray, bias: np.ndarray) -> None:
        self._weights = weights
        self._bias = bias

    @classmethod
    def load(cls, path: Path) -> "LinearModel":
        """Read what ``save`` wrote."""
        with np.load(path) as arrays:
            return cls(arrays["weights"], arrays["bias"])

    @classmethod
    def joined(cls, models: Sequence["LinearModel"]) -> "LinearModel":
        """One model with the columns of several, which reads a text once for all of them."""
        return cls(
            np.hstack([model._weights for model in models]),
            np.concatenate([model._bias for model in models]),
        )

    @property
    def num_columns(self) -> int:
        """How many raw numbers a window has."""
        return len(self._bias)

    def save(self, path: Path) -> None:
        """Write the model; equal models have equal bytes."""
        np.savez_compressed(path, weights=self._weights, bias=self._bias)

    def raw(self, texts: list[str]) -> Raw:
        """Raw numbers of every window."""
        values, of_text, num_words = [np.zeros((0, len(self._bias)))], [], []
        for part, windows in windows_of(texts):
            values.append(windows.matrix() @ self._weights + self._bias)
            of_text.append(windows.text + part.start)
            num_words.append(windows.num_words)
        none = [np.zeros(0, np.int64)]
        return Raw(
            values=np.concatenate(values),
            text=np.concatenate(none + of_text),
            num_words=np.concatenate(none + num_words),
            num_texts=len(texts),
        )


class FastTextModel:
    """fastText; a document is one window of as many words as its beginning has."""

    def __init__(self, model: FastText, labels: list[str]) -> None:
        self._model = model
        self._labels = labels

    def raw(self, texts: list[str]) -> Raw:
        """Log-probabilities; for two labels the logit of the second."""
        lines = [features(text) for text in texts]
        logs = np.log(np.maximum(self._model.probabilities(lines, self._labels), 1e-7))
        values = logs[:, 1:] - logs[:, :1] if len(self._labels) == 2 else logs
        num_words = np.array([line.count(" ") + 1 if line else 0 for line in lines], np.int64)
        has_words = num_words > 0
        return Raw(
            values=values[has_words],
            text=np.flatnonzero(has_words),
            num_words=num_words[has_words],
            num_texts=len(texts),
        )


@dataclass(frozen=True)
class Classifier:
    """A model and the card that says how to read it."""

    card: Card
    model: Model

    def scores(self, texts: list[str]) -> np.ndarray:
        """(texts, labels), of two labels or of points (texts, 1); in [0, 1]; NaN without words."""
        return read(self.model.raw(texts), self.card)


class Classifiers:
    """All classifiers of an artifact; what they have in common is done once."""

    def __init__(self, classifiers: Mapping[str, Classifier]) -> None:
        self.cards = {purpose: one.card for purpose, one in classifiers.items()}
        linear = {
            purpose: one.model
            for purpose, one in classifiers.items()
            if isinstance(one.model, LinearModel)
        }
        self._linear = LinearModel.joined(list(linear.values())) if linear else None
        self._columns: dict[str, slice] = {}
        end = 0
        for purpose, model in linear.items():
            self._columns[purpose] = slice(end, end := end + model.num_columns)
        self._others = {p: one for p, one in classifiers.items() if p not in linear}

    def scores(self, texts: list[str]) -> dict[str, np.ndarray]:
        """The scores of each classifier, as ``Classifier.scores`` gives them."""
        found = {purpose: one.scores(texts) for purpose, one in self._others.items()}
        if self._linear:
            raw = self._linear.raw(texts)
            for purpose, columns in self._columns.items():
                own = replace(raw, values=raw.values[:, columns])
                found[purpose] = read(own, self.cards[purpose])
        return found


def load_classifiers(artifact: Artifact) -> dict[str, Classifier]:
    """The classifiers of an artifact by purpose: quality, domain, toxicity."""
    cards = Cards.model_validate_json(artifact.fetch(CARDS_NAME).read_bytes())
    return {
        purpose: Classifier(card, load_model(artifact.fetch(card.file), card))
        for purpose, card in cards
        if card
    }


def load_model(path: Path, card: Card) -> Model:
    """Read a model's file."""
    if card.learner == "windows":
        return LinearModel.load(path)
    return FastTextModel(FastText(path), card.labels)


def read(raw: Raw, card: Card) -> np.ndarray:
    """Scores of documents from the raw numbers of their windows."""
    values = card.scale * raw.values + card.shift
    if card.reading == "amount":
        amount = _sums(raw, sigmoid(values) * raw.num_words[:, None])
        score = amount / (amount + card.half_words)
    elif card.reading == "max":
        score = sigmoid(_greatest(raw, values))
    elif card.reading == "points":
        score = np.clip(_means(raw, values), 0, MAX_LABEL_SCORE) / MAX_LABEL_SCORE
    else:
        mean = _means(raw, values)
        score = sigmoid(mean) if mean.shape[1] == 1 else softmax(mean)
    return np.where(_has_windows(raw)[:, None], score, np.nan)


def document_values(raw: Raw, reading: str) -> np.ndarray:
    """(texts, labels): the one raw number a label that stands for a document, for calibration."""
    return _greatest(raw, raw.values) if reading == "max" else _means(raw, raw.values)


def of_each_label(scores: np.ndarray) -> np.ndarray:
    """(texts, labels): where only the second of two labels is scored, the first is the rest."""
    return np.hstack([1 - scores, scores]) if scores.shape[1] == 1 else scores


def sigmoid(values: np.ndarray) -> np.ndarray:
    """The probability that a logit stands for."""
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -MAX_LOGIT, MAX_LOGIT))))


def softmax(values: np.ndarray) -> np.ndarray:
    """The probabilities that each row's logits stand for."""
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _sums(raw: Raw, values: np.ndarray) -> np.ndarray:
    columns = [np.bincount(raw.text, column, minlength=raw.num_texts) for column in values.T]
    return np.stack(columns, axis=1)


def _means(raw: Raw, values: np.ndarray) -> np.ndarray:
    """Each window counts as many times as it has words."""
    words = raw.num_words[:, None]
    return _sums(raw, values * words) / np.maximum(_sums(raw, words.astype(float)), 1)


def _greatest(raw: Raw, values: np.ndarray) -> np.ndarray:
    greatest = np.full((raw.num_texts, values.shape[1]), -MAX_LOGIT)
    np.maximum.at(greatest, raw.text, values)
    return greatest


def _has_windows(raw: Raw) -> np.ndarray:
    return np.bincount(raw.text, minlength=raw.num_texts) > 0
