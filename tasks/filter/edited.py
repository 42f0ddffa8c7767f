"""What a recipe that edits makes of a text. Pure."""

from collections import Counter
from dataclasses import dataclass, field

from tasks.filter.breach import Breaches


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """A text after a recipe, what left it by the reason, and the rules that it breaks."""

    text: str
    breaches: Breaches
    removed: Counter[str] = field(default_factory=Counter)
