"""Names of persons, by a library for recognising entities that is installed on demand.

Texts in, spans out. spaCy and its models are not among our requirements: they are imported when
names are asked for, and who has not installed them is told what to install.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tasks.filter.personal.config import NameRules
from tasks.filter.personal.findings import Span

NameFinder = Callable[[Sequence[str]], list[list[Span]]]
PERSON_LABELS = {"PERSON", "PER", "persName"}
PIECE_CHARS = 20_000  # spaCy's memory grows with the text it is given
HOW_TO_INSTALL = (
    "to find names of persons, install spaCy (pip install 'bloomery[names]') and a model of its, "
    "such as: python -m spacy download en_core_web_sm"
)


def model_identity(rules: NameRules) -> str:
    """What a model is told apart by: its package's version, or the checksum of its folder.

    Raises:
        ValueError: there is no such model.
    """
    folder = Path(rules.model)
    if folder.is_dir():
        digest = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                digest.update(path.relative_to(folder).as_posix().encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()
    try:
        return f"{rules.model} {version(rules.model)}"
    except PackageNotFoundError:
        raise ValueError(f"no model {rules.model!r} for names; {HOW_TO_INSTALL}") from None


def name_finder(rules: NameRules) -> NameFinder:
    """The function that finds names with the configured model.

    Raises:
        ValueError: the library or the model is not installed.
    """
    pipeline = _load(rules.model)

    def find(texts: Sequence[str]) -> list[list[Span]]:
        found: list[list[Span]] = [[] for _ in texts]
        pieces = [
            (piece, (index, offset))
            for index, text in enumerate(texts)
            for offset, piece in _pieces(text)
        ]
        for parsed, (index, offset) in pipeline.pipe(pieces, as_tuples=True):
            found[index] += [
                (offset + entity.start_char, offset + entity.end_char)
                for entity in parsed.ents
                if entity.label_ in PERSON_LABELS
            ]
        return found

    return find


@cache
def _load(model: str) -> Any:
    try:
        import spacy
    except ImportError:
        raise ValueError(f"spaCy is not installed; {HOW_TO_INSTALL}") from None
    try:
        return spacy.load(model, exclude=["parser", "lemmatizer", "textcat"])
    except OSError:
        raise ValueError(f"no model {model!r} for names; {HOW_TO_INSTALL}") from None


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """A text in parts that end with a line where there are lines."""
    start = 0
    while len(text) - start > PIECE_CHARS:
        end = text.rfind("\n", start, start + PIECE_CHARS) + 1
        end = end if end > start else start + PIECE_CHARS
        yield start, text[start:end]
        start = end
    yield start, text[start:]
