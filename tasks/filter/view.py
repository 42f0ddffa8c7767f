"""A document as the rules see it: its text at one point of the chain, measured. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.filter.lines import Lines
from tasks.filter.measure import Measures, measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A document before the rules."""

    text: str
    kind: str  # "prose" or "code"
    url: str = ""
    licence: str | None = None
    opt_outs: tuple[str, ...] = ()
    language: str | None = None
    language_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A document with its text as the recipes before have left it."""

    document: Candidate
    text: str
    words: Measures
    lines: Lines


def look(documents: Sequence[Candidate], *, with_ngrams: bool) -> list[View]:
    """The documents with their own texts."""
    return _views(documents, [document.text for document in documents], with_ngrams)


def look_again(views: Sequence[View], texts: Sequence[str], *, with_ngrams: bool) -> list[View]:
    """The same documents with edited texts; what did not change is not measured again."""
    changed = [at for at, view in enumerate(views) if view.text != texts[at]]
    found = list(views)
    new = _views([views[at].document for at in changed], [texts[at] for at in changed], with_ngrams)
    for at, view in zip(changed, new, strict=True):
        found[at] = view
    return found


def _views(documents: Sequence[Candidate], texts: Sequence[str], with_ngrams: bool) -> list[View]:
    measured = measure(texts, with_ngrams=with_ngrams)
    return [
        View(document=document, text=text, words=words, lines=Lines(text))
        for document, text, words in zip(documents, texts, measured, strict=True)
    ]
