"""A rule that a document breaks, and by how much. Pure."""

from typing import NamedTuple


class Breach(NamedTuple):
    """One rule broken."""

    rule: str
    detail: str  # what was measured and what is allowed: mean_word_chars 12.3 > 10


Breaches = tuple[Breach, ...]
NONE: Breaches = ()


def above(rule: str, what: str, value: float, most: float) -> Breaches:
    """A breach if ``value`` is above the most that is allowed."""
    return (Breach(rule, f"{what} {_text(value)} > {_text(most)}"),) if value > most else NONE


def below(rule: str, what: str, value: float, least: float) -> Breaches:
    """A breach if ``value`` is below the least that is allowed."""
    return (Breach(rule, f"{what} {_text(value)} < {_text(least)}"),) if value < least else NONE


def outside(rule: str, what: str, value: float, least: float, most: float) -> Breaches:
    """A breach if ``value`` is below or above its bounds."""
    return below(rule, what, value, least) or above(rule, what, value, most)


def _text(value: float) -> str:
    """Four digits, but never so few that a value and its bound look the same by chance."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
