"""The lines and paragraphs of one document. Pure: text in, shares out."""

import re
from collections import Counter
from functools import cached_property
from operator import methodcaller

PARAGRAPH_BREAK = re.compile(r"\n\s*\n")
BULLETS = ("•", "●", "‣", "*", "-")
ELLIPSES = ("...", "…")
# Unicode's Sentence_Terminal outside the historic scripts, and the quotes that may follow it.
TERMINALS = tuple(
    ".?!։؝؞؟۔܀܁܂߹।॥၊။።፧፨᙮᜵᜶។៕៖៙៚᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗．？！｡\"'”’…"
)


class Lines:
    """A text's lines that are not blank, without the blanks around them."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = [line for line in map(str.strip, text.split("\n")) if line]

    def share_beginning(self, signs: tuple[str, ...]) -> float:
        """Share of lines that begin with one of the signs."""
        return sum(map(methodcaller("startswith", signs), self.lines)) / max(1, len(self.lines))

    def share_ending(self, signs: tuple[str, ...]) -> float:
        """Share of lines that end in one of the signs."""
        return sum(map(methodcaller("endswith", signs), self.lines)) / max(1, len(self.lines))

    def share_up_to(self, num_chars: int) -> float:
        """Share of lines of at most ``num_chars`` characters."""
        return sum(map(num_chars.__ge__, map(len, self.lines))) / max(1, len(self.lines))

    @cached_property
    def duplicates(self) -> tuple[float, float]:
        """Share of lines seen before, and of the text's characters in them."""
        return duplicate_shares(self.lines, len(self.text))

    @cached_property
    def duplicate_paragraphs(self) -> tuple[float, float]:
        """Share of paragraphs seen before, and of the text's characters in them."""
        paragraphs = [p.strip() for p in PARAGRAPH_BREAK.split(self.text) if p.strip()]
        return duplicate_shares(paragraphs, len(self.text))


def duplicate_shares(pieces: list[str], num_chars: int) -> tuple[float, float]:
    """Share of ``pieces`` that repeat an earlier one, and their share of ``num_chars``."""
    repeats = [(piece, count - 1) for piece, count in Counter(pieces).items() if count > 1]
    num_repeats = sum(count for _, count in repeats)
    repeat_chars = sum(len(piece) * count for piece, count in repeats)
    return num_repeats / max(1, len(pieces)), repeat_chars / max(1, num_chars)
