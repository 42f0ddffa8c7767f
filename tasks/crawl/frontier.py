"""The frontier: which URLs are known, which come next, and which are refused unvisited.

Pure, and driven only by what is offered to it, in order: offering the same links again rebuilds
the same frontier, which is how an interrupted crawl finds its place. Breadth first: all URLs of
one depth before any of the next; within a depth the hosts take turns, so that one that is slow or
large does not keep the others waiting.

Memory: a known URL is a 64-bit hash, a waiting one its own bytes beside, and each pattern of URLs
has a counter; a million URLs of 65 characters took 203 bytes each, 292 where no two were alike.
(Among ten million URLs two share a hash with a probability of 3 in a million; one is not visited.)
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import xxhash

from tasks.crawl.traps import Budgets, trap_reason
from tasks.crawl.urls import Scope, host_of

MAX_REDIRECTS = 5


@dataclass(frozen=True, slots=True)
class Target:
    """A URL to visit: ``depth`` links from a seed, ``hops`` redirects from a link."""

    url: str
    depth: int
    hops: int = 0


@dataclass(slots=True)
class Offered:
    """What an offer brought: URLs that will be visited, and new ones that will not, and why.

    Args:
        num_beyond: links that were not looked at, for want of memory for another URL.
    """

    accepted: list[Target] = field(default_factory=list)
    refused: list[tuple[Target, str]] = field(default_factory=list)
    num_beyond: int = 0

    def __iadd__(self, other: "Offered") -> "Offered":
        self.accepted += other.accepted
        self.refused += other.refused
        self.num_beyond += other.num_beyond
        return self


def url_key(url: str) -> int:
    """The hash by which a URL is known."""
    return xxhash.xxh3_64_intdigest(url.encode())


@dataclass
class Frontier:
    """The URLs of one crawl.

    Args:
        scope: which URLs may be visited.
        max_depth: how many links from a seed.
        budgets: how many URLs of a host and of a pattern.
        max_known: URLs remembered at most; later ones are only counted.
    """

    scope: Scope
    max_depth: int
    budgets: Budgets
    max_known: int
    _waiting: dict[int, "_Turns"] = field(default_factory=dict)
    _known: set[int] = field(default_factory=set)

    def offer(self, targets: Iterable[Target]) -> Offered:
        """Take in discovered URLs; those that are known already are in no part of the answer."""
        offered = Offered()
        for target in targets:
            key = url_key(target.url)
            if key in self._known:
                continue
            if len(self._known) >= self.max_known:
                offered.num_beyond += 1
                continue
            self._known.add(key)
            host = host_of(target.url)
            reason = self._refusal(target, host)
            if reason:
                offered.refused.append((target, reason))
            else:
                self._waiting.setdefault(target.depth, _Turns()).add(host, target)
                offered.accepted.append(target)
        return offered

    def knows(self, url: str) -> bool:
        """Whether a URL was offered before."""
        return url_key(url) in self._known

    def mark_known(self, urls: Iterable[str]) -> None:
        """Remember URLs that an earlier attempt has refused."""
        self._known.update(map(url_key, urls))

    def next_batch(self, size: int, per_host: int) -> list[Target]:
        """Up to ``size`` URLs to visit now, all of one depth; empty when none are left."""
        for depth in sorted(self._waiting):
            batch = self._waiting[depth].take(size, per_host)
            if batch:
                return [Target(url, depth, hops) for url, hops in batch]
            if size > 0:
                del self._waiting[depth]
        return []

    def rest(self) -> Iterator[Target]:
        """What still waits, host by host; the frontier is empty afterwards."""
        for depth in sorted(self._waiting):
            for url, hops in self._waiting.pop(depth).all():
                yield Target(url, depth, hops)

    @property
    def num_waiting(self) -> int:
        """URLs that are still to be visited."""
        return sum(len(turns) for turns in self._waiting.values())

    def _refusal(self, target: Target, host: str) -> str | None:
        if reason := self.scope.refusal(target.url, target.depth):
            return reason
        if target.depth > self.max_depth:
            return "max_depth"
        if target.hops > MAX_REDIRECTS:
            return "too_many_redirects"
        if target.depth and (reason := trap_reason(target.url)):  # a seed was asked for by name
            return reason
        return self.budgets.refusal(target.url, host)


class _Turns:
    """The waiting URLs of one depth: queues by host, in the order of the hosts' turns."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[bytes]] = {}
        self._num_urls = 0

    def __len__(self) -> int:
        return self._num_urls

    def add(self, host: str, target: Target) -> None:
        entry = bytes([target.hops]) + target.url.encode()  # half the size of a Target
        self._queues.setdefault(host, deque()).append(entry)
        self._num_urls += 1

    def take(self, size: int, per_host: int) -> list[tuple[str, int]]:
        """One URL of each host, then one more of each, …; a host served goes to the end."""
        taken: list[tuple[str, int]] = []
        for _ in range(per_host):
            for host in list(self._queues):
                if len(taken) >= size:
                    return taken
                queue = self._queues.pop(host)
                taken.append(_unpacked(queue.popleft()))
                self._num_urls -= 1
                if queue:
                    self._queues[host] = queue
        return taken

    def all(self) -> Iterator[tuple[str, int]]:
        for queue in self._queues.values():
            yield from map(_unpacked, queue)


def _unpacked(entry: bytes) -> tuple[str, int]:
    return entry[1:].decode(), entry[0]
