"""What fastText sees of a document, in training and after. Pure: text in, a line out."""

import re
from urllib.parse import quote

MAX_CHARS = 2_000
LABEL_PREFIX = "__label__"
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
