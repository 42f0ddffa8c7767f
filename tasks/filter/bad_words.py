"""Words of a list in a text, all of them in one pass (Aho and Corasick 1975). Pure.

Lists are those of LDNOOBW or in its form: a list a language, a word or phrase a line. As in C4's
code, a word must stand alone, except in languages that are written without blanks, and a few words
that are parts of innocent ones in those are left out.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import ahocorasick

SPACELESS = frozenset(["ja", "th", "zh"])
# Each of these alone would refuse more than a tenth of its language's pages (C4's code).
ALLOWED = {"ja": {"sm", "グロ", "女の子"}, "zh": {"性"}}


@dataclass(frozen=True, slots=True)
class Use:
    """How much a text uses of a list."""

    num_words: int = 0  # uses; of several that overlap, one
    share: float = 0.0  # of the text's characters that are no blanks
    first: str = ""


class BadWordLists:
    """Lists by language; ISO 639-1 codes, of longer tags the first part."""

    def __init__(self, lists: Mapping[str, Iterable[str]]) -> None:
        words: dict[str, set[str]] = {}
        for tag, lines in lists.items():
            language = tag.lower().partition("-")[0]
            spelled = {" ".join(line.lower().split()) for line in lines}
            words.setdefault(language, set()).update(spelled - ALLOWED.get(language, set()) - {""})
        self._automata = {language: _automaton(found) for language, found in words.items() if found}

    @property
    def languages(self) -> list[str]:
        """The languages that have a list."""
        return sorted(self._automata)

    def find(self, text: str, language: str | None) -> Use:
        """How much of its language's list a text uses."""
        automaton = self._automata.get(language or "")
        if automaton is None:
            return Use()
        lowered = text.lower()
        num_words = num_chars = end = 0
        first = ""
        for start, stop in sorted(_spans(automaton, lowered, alone=language not in SPACELESS)):
            first = first or lowered[start:stop]
            num_words += start >= end
            num_chars += _ink(lowered[max(start, end) : stop])
            end = max(end, stop)
        return Use(num_words, num_chars / max(1, _ink(text)) if num_chars else 0.0, first)


def _automaton(words: Iterable[str]) -> ahocorasick.Automaton:
    automaton = ahocorasick.Automaton()
    for word in sorted(words):
        automaton.add_word(word, len(word))
    automaton.make_automaton()
    return automaton


def _spans(
    automaton: ahocorasick.Automaton, text: str, *, alone: bool
) -> Iterator[tuple[int, int]]:
    for last, num_chars in automaton.iter(text):
        start, stop = last + 1 - num_chars, last + 1
        if not alone or not (
            _is_joined(text[start - 1 : start]) or _is_joined(text[stop : stop + 1])
        ):
            yield start, stop


def _is_joined(neighbour: str) -> bool:
    return neighbour.isalnum() or neighbour == "_"


def _ink(text: str) -> int:
    return sum(map(len, text.split()))
