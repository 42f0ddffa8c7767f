"""Stretches cut out of a text, and what is at the joints. Pure: text and stretches in, text out.

Only whole units are cut, so a joint lies between words (in scripts without blanks: between
characters with their marks) and no character is broken. Of the white space on both sides of a
stretch that goes as many line breaks stay as the larger side had, with the indentation of what
follows; where it had none, a blank; where there was no white space at all (scripts without blanks),
a line break, so that what did not follow one another is not read as one.
"""

from collections.abc import Sequence

import numpy as np

Stretch = tuple[int, int]  # first code point, and the one after the last


def covered(firsts: np.ndarray, num_units: int, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first and last units of the stretches that runs beginning at ``firsts`` cover.

    Args:
        firsts: the unit that each run begins with.
        num_units: the length of a run.
        text: for each unit the text that it is in; no stretch goes over the end of one.
    """
    steps = np.zeros(len(text) + 1, np.int64)
    np.add.at(steps, firsts, 1)
    np.add.at(steps, firsts + num_units, -1)
    is_cut = np.cumsum(steps[:-1]) > 0
    goes_on = is_cut[1:] & is_cut[:-1] & (text[1:] == text[:-1])
    first = np.flatnonzero(is_cut & ~np.concatenate([[False], goes_on])[: len(is_cut)])
    last = np.flatnonzero(is_cut & ~np.concatenate([goes_on, [False]])[: len(is_cut)])
    return first, last


def united(stretches: Sequence[Stretch]) -> list[Stretch]:
    """The same characters as stretches that neither overlap nor touch, in order."""
    merged: list[Stretch] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def without(text: str, stretches: Sequence[Stretch]) -> str:
    """``text`` without united stretches; it begins and ends as it did where nothing was cut."""
    if not stretches:
        return text
    parts: list[str] = []
    blanks: list[str] = []  # since the last piece that is kept
    here = 0
    for start, end in [*stretches, (len(text), len(text))]:
        piece = text[here:start]
        body = piece.strip()
        if body:
            leading = piece[: piece.index(body)]
            parts.append(leading if here == 0 else _joint([*blanks, leading], bool(parts)))
            parts.append(body)
            blanks = [piece[len(leading) + len(body) :]]
        else:
            blanks.append(piece)
        if start < len(text):
            here = end
    return "".join([*parts, *blanks] if text[here:].strip() else parts)


def _joint(blanks: Sequence[str], is_inside: bool) -> str:
    """What stands between two kept pieces, or before the first, for all the white space there."""
    _, line_end, indentation = blanks[-1].rpartition("\n")
    if not is_inside:
        return indentation if line_end else ""
    if num_breaks := max(blank.count("\n") for blank in blanks):
        return "\n" * num_breaks + (indentation if line_end else "")
    return " " if any(blanks) else "\n"
