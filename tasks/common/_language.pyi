"""Letters and their n-grams to languages; compiled from ``native/``."""

import numpy as np

WIDTH: int  # of the table
OWN_LETTERS: int  # a paragraph with fewer is not judged by itself
OWN_PROBABILITY: float  # nor is one that is less sure

class Letters:
    """Which code points are letters, and which letter each is in lower case."""

    def __init__(self, folded: np.ndarray) -> None: ...
    def hashes(self, text: str) -> np.ndarray:
        """The features of a text, uint32; their lowest bits are rows of a model's table."""

class Model:
    """A table of features (int8, a power of two of rows) and each label's weights for its mean."""

    def __init__(
        self,
        letters: Letters,
        table: np.ndarray,
        weights: np.ndarray,
        biases: np.ndarray,
        sharpness: float,
        sharpness_growth: float,
    ) -> None: ...
    def logits(self, text: str) -> tuple[np.ndarray, int]:
        """A text's score for each label, before sharpening, and how many letters were read."""

    def decide(self, text: str) -> tuple[int, float, int]:
        """A whole text's most probable label (-1 for none), its probability, the letters read."""

    def read(self, text: str) -> list[tuple[int, float, float]]:
        """A document's labels, each with its share of the characters and its probability.

        The greatest share comes first; an empty list for no letters. A piece of few letters, or in
        doubt, has the label of the document as a whole.
        """
