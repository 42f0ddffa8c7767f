"""The funnel: how many documents came in, stayed, and left for which reason."""

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, Field


class Funnel(BaseModel):
    """A ledger of documents that must balance: ``num_in == num_kept + dropped``."""

    num_in: int = 0
    num_kept: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)

    @classmethod
    def of(cls, reasons: Iterable[str | None]) -> "Funnel":
        """Count verdicts: a reason is a drop, None is a keep."""
        verdicts = list(reasons)
        dropped = Counter(reason for reason in verdicts if reason is not None)
        return cls(
            num_in=len(verdicts),
            num_kept=len(verdicts) - dropped.total(),
            dropped=dict(sorted(dropped.items())),
        )

    @classmethod
    def total(cls, funnels: Iterable["Funnel"]) -> "Funnel":
        """Add the ledgers of several shards."""
        num_in = num_kept = 0
        dropped: Counter[str] = Counter()
        for funnel in funnels:
            num_in += funnel.num_in
            num_kept += funnel.num_kept
            dropped.update(funnel.dropped)
        return cls(num_in=num_in, num_kept=num_kept, dropped=dict(sorted(dropped.items())))

    @property
    def num_dropped(self) -> int:
        """Documents that left."""
        return sum(self.dropped.values())

    def check(self) -> None:
        """Refuse a ledger that does not balance: a document would be lost without a reason."""
        assert self.num_in == self.num_kept + self.num_dropped, f"unbalanced funnel: {self}"
