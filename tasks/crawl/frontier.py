"""The frontier: which URLs are known, which come next, and which were refused unvisited.

Pure, and driven only by what is offered to it, in order: offering the same links again rebuilds
the same frontier, which is how an interrupted crawl finds its place. Breadth first: all URLs of
one depth before any of the next, in the order in which they were discovered.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tasks.crawl.urls import Scope

MAX_REDIRECTS = 5


@dataclass(frozen=True, slots=True)
class Target:
    """A URL to visit: ``depth`` links from a seed, ``hops`` redirects from a link."""

    url: str
    depth: int
    hops: int = 0


@dataclass
class Frontier:
    """The URLs of one crawl.

    Args:
        scope: which URLs may be visited.
        max_depth: how many links from a seed.
    """

    scope: Scope
    max_depth: int
    refused: list[tuple[Target, str]] = field(default_factory=list)
    _waiting: dict[int, deque[Target]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def offer(self, targets: Iterable[Target]) -> list[Target]:
        """Take in discovered URLs; returns those that were new, refused ones included."""
        new = []
        for target in targets:
            if target.url not in self._seen:
                self._seen.add(target.url)
                self._place(target)
                new.append(target)
        return new

    def next_batch(self, size: int) -> list[Target]:
        """Up to ``size`` URLs to visit now, all of one depth; empty when none are left."""
        for depth in sorted(self._waiting):
            queue = self._waiting[depth]
            if queue:
                return [queue.popleft() for _ in range(min(size, len(queue)))]
        return []

    def rest(self) -> Iterator[Target]:
        """What still waits, in the order in which it would have been visited."""
        for depth in sorted(self._waiting):
            yield from self._waiting[depth]

    @property
    def num_waiting(self) -> int:
        """URLs that are still to be visited."""
        return sum(map(len, self._waiting.values()))

    def _place(self, target: Target) -> None:
        reason = self._refusal(target)
        if reason:
            self.refused.append((target, reason))
        else:
            self._waiting.setdefault(target.depth, deque()).append(target)

    def _refusal(self, target: Target) -> str | None:
        if reason := self.scope.refusal(target.url, target.depth):
            return reason
        if target.depth > self.max_depth:
            return "max_depth"
        return "too_many_redirects" if target.hops > MAX_REDIRECTS else None
