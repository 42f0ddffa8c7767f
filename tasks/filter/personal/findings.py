"""A finding: where in a text what kind of personal data is. Pure."""

from typing import NamedTuple

from tasks.filter.personal.config import Kind

Span = tuple[int, int]


class Finding(NamedTuple):
    """A stretch of a text, in characters."""

    start: int
    end: int
    kind: Kind
    detail: str | None = None  # which national number, which service's secret
