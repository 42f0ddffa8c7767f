"""Fuzzing: mutated archives and pages, through the real reader and the real page function.

    python -m tests.benchmarks.fuzz archives --data DIR --num 1000 --seed 0
    python -m tests.benchmarks.fuzz pages --data DIR --num 10000

Without --data small built-in records are mutated. Each case runs in the guard, as pages do in the
extract stage. A crash, a hang over the limit, too much memory or a broken promise is a violation:
it is printed with its number, its input is saved, and the exit status is 1; ``--only NUMBER`` does
that case again. At the end stands a table of what was done and how long the slowest took.
"""

import argparse
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tasks.extract.config import ExtractConfig
from tasks.extract.guard import Failure, Guard
from tasks.extract.page import Page
from tests.benchmarks import fuzz_archives, fuzz_pages

MAX_MEMORY_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Case:
    """One item for the guard, and what to call it and to save of it."""

    names: tuple[str, ...]  # under each of which it is counted
    item: Any
    data: bytes
    suffix: str


class Subject(Protocol):
    """What is fuzzed."""

    @property
    def function(self) -> str:
        """The function that the guard calls, and its second argument."""

    @property
    def config(self) -> Any: ...

    def case(self, number: int) -> Case: ...

    def outcome(self, answer: Any) -> str: ...

    def complaints(self, answer: Any) -> list[str]: ...


@dataclass(frozen=True)
class Archives:
    """Archives through ``read_archive``; the promises are checked beside it, in the child."""

    folder: Path | None
    seed: int
    function = "tests.benchmarks.fuzz_archives:check_case"
    config = None

    def case(self, number: int) -> Case:
        made = fuzz_archives.make_case(self.folder, self.seed, number)
        item = (self.folder, self.seed, number)
        return Case((made.way.name, made.mutation), item, made.data, made.way.suffix)

    def outcome(self, answer: Any) -> str:
        return "read"

    def complaints(self, answer: Any) -> list[str]:
        return list(answer)


@dataclass(frozen=True)
class Pages:
    """Pages through ``extract_page``."""

    folder: Path | None
    seed: int
    function = "tasks.extract.page:extract_page"
    config = ExtractConfig(source="fuzz")

    def case(self, number: int) -> Case:
        name, record = fuzz_pages.make_case(self.folder, self.seed, number)
        return Case(tuple(name.split(", ")), record, record.payload, ".http")

    def outcome(self, answer: Any) -> str:
        return answer.reason or "text"

    def complaints(self, answer: Any) -> list[str]:
        assert isinstance(answer, Page)
        text = answer.text + (answer.metadata.title or "")
        complaints = []
        if not answer.reason and not answer.text.strip():
            complaints.append("neither text nor reason")
        if any(0xD800 <= ord(one) < 0xE000 for one in text) or "\0" in text:
            complaints.append("text that cannot be written")
        return complaints


@dataclass
class Row:
    """What came of the cases of one name."""

    num_cases: int = 0
    num_violations: int = 0
    worst_seconds: float = 0.0
    worst_number: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def count(self, number: int, seconds: float, outcome: str, *, is_violation: bool) -> None:
        self.num_cases += 1
        self.num_violations += is_violation
        self.outcomes[outcome] += 1
        if seconds > self.worst_seconds:
            self.worst_seconds, self.worst_number = seconds, number


def fuzz(subject: Subject, numbers: range, limit_seconds: float, save: Path) -> dict[str, Row]:
    """Run the cases; print violations as they come and save their inputs. One row a name."""
    rows: dict[str, Row] = defaultdict(Row)
    guard = Guard(
        subject.function,
        subject.config,
        timeout_seconds=limit_seconds,
        max_memory_bytes=MAX_MEMORY_BYTES,
    )
    with guard:
        guard.call(subject.case(numbers.start).item)  # what starting takes is no case's time
        for number in numbers:
            case = subject.case(number)
            began = time.monotonic()
            answer = guard.call(case.item)
            seconds = time.monotonic() - began
            if isinstance(answer, Failure):
                outcome, complaints = answer.reason, [f"{answer.reason}: {answer.detail}"]
            else:
                outcome, complaints = subject.outcome(answer), subject.complaints(answer)
            for name in case.names:
                rows[name].count(number, seconds, outcome, is_violation=bool(complaints))
            if complaints:
                path = save / f"{number}{case.suffix}"
                save.mkdir(parents=True, exist_ok=True)
                path.write_bytes(case.data)
                names = ", ".join(case.names)
                print(f"VIOLATION {number} ({names}): {'; '.join(complaints)}; see {path}")
    return dict(rows)


def print_table(rows: dict[str, Row]) -> None:
    """One line a name, the slowest case's seconds and number beside it."""
    width = max(map(len, rows))
    print(f"{'mutation':{width}}  cases  violations  worst s (number)  outcomes")
    for name, row in sorted(rows.items()):
        outcomes = ", ".join(f"{key} {num}" for key, num in sorted(row.outcomes.items()))
        worst = f"{row.worst_seconds:.3f} ({row.worst_number})"
        print(f"{name:{width}}  {row.num_cases:5}  {row.num_violations:10}  {worst:16}  {outcomes}")


def main() -> int:
    """The command; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description="mutated archives and pages, run for violations")
    parser.add_argument("subject", choices=["archives", "pages"])
    parser.add_argument("--data", type=Path, help="folder of *.warc.gz to mutate")
    parser.add_argument("--num", type=int, default=1000, help="cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="the one case of this number")
    parser.add_argument("--limit-seconds", type=float, default=5.0, help="for one case")
    parser.add_argument("--save", type=Path, default=Path("fuzz-violations"), help="folder")
    args = parser.parse_args()
    subject = (Archives if args.subject == "archives" else Pages)(args.data, args.seed)
    numbers = range(args.num) if args.only is None else range(args.only, args.only + 1)
    began = time.monotonic()
    rows = fuzz(subject, numbers, args.limit_seconds, args.save)
    print_table(rows)
    num_violations = sum(row.num_violations for row in rows.values())
    worst = max(rows.values(), key=lambda row: row.worst_seconds)
    print(
        f"{len(numbers)} {args.subject}, seed {args.seed}: {num_violations} violations, slowest "
        f"{worst.worst_seconds:.3f} s (number {worst.worst_number}), "
        f"{time.monotonic() - began:.0f} s in all"
    )
    return 1 if num_violations else 0


if __name__ == "__main__":
    sys.exit(main())
