"""Where texts have what a number of a person or a secret is made of. Pure: texts in, spans out.

Numbers of phones, cards, accounts and citizens have six digits or more with little between them;
secrets are long without a blank. Most text has neither, so the finders look only into the
stretches that are found here, with array operations on a batch of texts at a time.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tasks.filter.personal.findings import Span

MIN_DIGITS = 6  # of a number with letters around them; others have more
MAX_BETWEEN = 3  # characters between two digits of a number, such as ") "
MARGIN_CHARS = 30  # letters, brackets and signs that belong to the number, on either side
LONG_CHARS = 20  # the shortest secret of a known form
ZERO, NUM_DIGITS = ord("0"), 10
BLANK = ord(" ")


class Stretch(NamedTuple):
    """Digits with little between them, and what is around them."""

    start: int
    end: int
    num_digits: int


class Batch:
    """Some texts as bytes: one a character, so that positions are the same in both."""

    def __init__(self, texts: Sequence[str]) -> None:
        joined = "\n".join(texts).encode("ascii", "replace")
        self._signs = np.frombuffer(joined, np.uint8)
        self._starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
        self._num_texts = len(texts)

    def digits(self) -> list[list[Stretch]]:
        """For each text its stretches of digits with a margin, in order; none overlap."""
        digits = np.flatnonzero((self._signs - np.uint8(ZERO)) < NUM_DIGITS)
        found: list[list[Stretch]] = [[] for _ in range(self._num_texts)]
        if len(digits) < MIN_DIGITS:
            return found
        owners = np.searchsorted(self._starts, digits, "right") - 1
        is_break = (np.diff(digits) > MAX_BETWEEN + 1) | (np.diff(owners) > 0)
        firsts = np.append(0, np.flatnonzero(is_break) + 1)
        counts = np.diff(firsts, append=len(digits))
        firsts, counts = firsts[counts >= MIN_DIGITS], counts[counts >= MIN_DIGITS]
        offsets = self._starts[owners[firsts]]
        ends = digits[firsts + counts - 1] + 1 - offsets
        for owner, start, end, count in zip(
            owners[firsts].tolist(),
            (digits[firsts] - offsets).tolist(),
            ends.tolist(),
            counts.tolist(),
            strict=True,
        ):
            _append(found[owner], Stretch(max(0, start - MARGIN_CHARS), end + MARGIN_CHARS, count))
        return found

    def long_words(self) -> list[list[Span]]:
        """For each text what stands between blanks and is long."""
        blanks = np.flatnonzero(self._signs <= BLANK)
        edges = np.concatenate(([-1], blanks, [len(self._signs)]))
        at = np.flatnonzero(np.diff(edges) > LONG_CHARS)
        found: list[list[Span]] = [[] for _ in range(self._num_texts)]
        starts, ends = edges[at] + 1, edges[at + 1]
        owners = np.searchsorted(self._starts, starts, "right") - 1
        offsets = self._starts[owners]
        for owner, start, end in zip(
            owners.tolist(), (starts - offsets).tolist(), (ends - offsets).tolist(), strict=True
        ):
            found[owner].append((start, end))
        return found


def _append(stretches: list[Stretch], new: Stretch) -> None:
    """Add a stretch; if its margin reaches into the one before, they are one."""
    if stretches and stretches[-1].end > new.start:
        last = stretches.pop()
        new = Stretch(last.start, new.end, last.num_digits + new.num_digits)
    stretches.append(new)
