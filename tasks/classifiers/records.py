"""Records of the user's labelled files. Pure: a record in, its text and label or None out."""

from collections.abc import Mapping, Sequence
from typing import Any

# What is asked and what is answered, as instruction sets call them, in the order of reading.
SPOKEN_FIELDS = ("instruction", "prompt", "question", "input", "response", "answer", "output")


def text_of(record: Any) -> str | None:
    """A record's text; of an instruction record what is asked and answered, one below the other
    (as DCLM joins them: Li et al. 2024, arXiv:2406.11794); None if it has neither.
    """
    if not isinstance(record, Mapping):
        return None
    if isinstance(record.get("text"), str):
        return _clean(record["text"])
    parts = [record[name] for name in SPOKEN_FIELDS if isinstance(record.get(name), str)]
    messages = record.get("messages")
    if isinstance(messages, list):
        contents = [m.get("content") for m in messages if isinstance(m, Mapping)]
        parts += [content for content in contents if isinstance(content, str)]
    return _clean("\n".join(part for part in parts if part)) or None


def label_of(record: Any) -> str | None:
    """A record's label as text; None if it has none."""
    label = record.get("label") if isinstance(record, Mapping) else None
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, str | int | float):
        return _clean(str(label)).strip() or None
    return None


def is_toxic(label: str, toxic_labels: Sequence[str]) -> bool:
    """Whether a label says so: by name, or as a number from 0.5 on (the share of raters)."""
    if label.lower() in toxic_labels:
        return True
    try:
        return float(label) >= 0.5
    except ValueError:
        return False


def _clean(text: str) -> str:
    """Without halves of characters, which JSON can spell and no file can hold."""
    return text.encode("utf-8", "replace").decode()
