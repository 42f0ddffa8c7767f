"""A sample of labelled examples that does not depend on their order. Pure.

Of each label the examples of the smallest ranks are taken, some to learn from and some, one in ten,
held out: half of those calibrate, half measure.
"""

import hashlib
import heapq
from collections.abc import Iterable
from typing import NamedTuple

from tasks.common.windows import MAX_CHARS

HELD_OUT_OF_TEN = 1


class Example(NamedTuple):
    """One labelled text; the rank is random, and fixed by the document."""

    rank: int
    label: str
    text: str


class Sample:
    """Examples by label, no more than ``max_each`` to learn from and a ninth of that held out.

    Of each the beginning is kept that a learner looks at.
    """

    def __init__(self, max_each: int) -> None:
        self._max = {False: max_each, True: max(1, max_each // 9)}
        self._heaps: dict[tuple[str, bool], list[tuple[int, str]]] = {}

    def add(self, label: str, document_id: str, text: str) -> None:
        """Consider an example."""
        rank = rank_of(document_id)
        held_out = is_held_out(rank)
        heap = self._heaps.setdefault((label, held_out), [])
        if len(heap) < self._max[held_out]:
            heapq.heappush(heap, (-rank, text[:MAX_CHARS]))
        elif -rank > heap[0][0]:
            heapq.heapreplace(heap, (-rank, text[:MAX_CHARS]))

    @property
    def labels(self) -> list[str]:
        """The labels that there is something to learn of."""
        return sorted(label for label, held_out in self._heaps if not held_out)

    def examples(self, *, held_out: bool) -> list[Example]:
        """Those to learn from, or those held out, in the order of ranks."""
        found = [
            Example(-rank, label, text)
            for label in self.labels
            for rank, text in self._heaps.get((label, held_out), [])
        ]
        return sorted(found)


def smallest(entries: Iterable[tuple[int, str, str]], num: int) -> list[tuple[int, str, str]]:
    """The ``num`` entries of the smallest ranks, in their order."""
    return heapq.nsmallest(num, entries)


def rank_of(document_id: str) -> int:
    """A fixed random number of a document, for samples that do not depend on order."""
    return int.from_bytes(hashlib.blake2b(document_id.encode(), digest_size=8).digest())


def is_held_out(rank: int) -> bool:
    """Whether a document is kept from the learner: one in ten."""
    return rank % 10 < HELD_OUT_OF_TEN


def calibrates(rank: int) -> bool:
    """Whether a held-out document calibrates; else it measures."""
    return rank // 10 % 2 == 0
