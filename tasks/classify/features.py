"""What a classifier sees of a document, in training and after. Pure: text in, numbers out."""

import hashlib
import re
from collections.abc import Sequence
from urllib.parse import quote, unquote

import numpy as np

MAX_CHARS = 2_000
LABEL_PREFIX = "__label__"
HELD_OUT_OF_TEN = 1
TOKEN = re.compile(r"\w+|[^\w\s]")


def features(text: str) -> str:
    """The first 2,000 characters on one line: lower case, signs apart from words."""
    return " ".join(TOKEN.findall(text[:MAX_CHARS].lower())).replace(LABEL_PREFIX, "label")


def training_line(label: str, text: str) -> str:
    """One line of a fastText training file."""
    return f"{label_token(label)} {features(text)}\n"


def label_token(label: str) -> str:
    """A label as fastText wants it: one word."""
    return LABEL_PREFIX + quote(label, safe="")


def label_of(token: str) -> str:
    """The label that a token stands for."""
    return unquote(token.removeprefix(LABEL_PREFIX))


def rank_of(document_id: str) -> int:
    """A fixed random number of a document, for samples that do not depend on order."""
    return int.from_bytes(hashlib.blake2b(document_id.encode(), digest_size=8).digest())


def is_held_out(document_id: str) -> bool:
    """Whether a document tests the classifiers (one in ten) instead of training them."""
    return rank_of(document_id) % 10 < HELD_OUT_OF_TEN


def area_under_curve(scores: Sequence[float], is_positive: Sequence[bool]) -> float | None:
    """How often a positive outscores a negative, a tie counting half; None without both kinds.

    Mann and Whitney (1947): the mean rank of the positives says it in one sort.
    """
    positive = np.asarray(is_positive, bool)
    num_positive, num_negative = int(positive.sum()), int((~positive).sum())
    if not num_positive or not num_negative:
        return None
    _, which, counts = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    middle_ranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(middle_ranks[which][positive].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2) / (num_positive * num_negative)
