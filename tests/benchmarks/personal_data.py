"""Personal data: precision and recall by type, false alarms on ordinary text, and what it costs.

    python -m tests.benchmarks.personal_data --data PATH [--presidio-python PATH]
        [--datatrove-python PATH]

``--data`` is a folder with ``pii/*.jsonl.gz`` (sentences with labelled spans) and texts. The rule
of matching: a finding is right where it overlaps a labelled span of its type, a span is found where
a finding of its type overlaps it. Presidio 2 and datatrove's formatter run in their own Pythons, on
the same texts, each in a process of its own.
"""

import argparse
import gzip
import io
import json
import resource
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import zstandard

from tasks.common.stage import Machine, materialise
from tasks.common.words import batches
from tasks.filter.config import FilterConfig
from tasks.filter.personal.config import KINDS, KindRule, PersonalDataRules
from tasks.filter.personal.findings import Finding
from tasks.filter.personal.scrub import Page, Scrubber
from tasks.filter.stage import STAGE
from tests.benchmarks.pipeline import HERE
from tests.stages import given

TYPES = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "credit_card",
    "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip",
    "US_SSN": "national_id",
    "PERSON": "name",
}
NATIONAL = ("US_SSN", "US_ITIN", "UK_NINO", "ES_NIF", "IT_FISCAL_CODE", "PL_PESEL", "IN_AADHAAR")
ORDINARY = (
    "text/forum/20newsgroups-train.jsonl.zst",
    "quality/c4-demo-300.jsonl.gz",
    "text/docs/docs-markdown.jsonl.zst",
    "text/encyclopedia/enwiki-2015.jsonl.zst",
    "text/news/wikinews-en.jsonl.zst",
    "text/legal/german-federal-law.jsonl.zst",
)
PEER_CHARS = 100_000  # of each ordinary text: Presidio takes minutes a million
ROUNDS = 3

Spans = list[tuple[int, int, str]]


def main() -> None:
    """Measure and print."""
    options = _options()
    rows = [row for path in sorted((options.data / "pii").glob("*.gz")) for row in _lines(path)]
    texts = [row["full_text"] for row in rows]
    gold = [
        [
            (span["start_position"], span["end_position"], TYPES[span["entity_type"]])
            for span in row["spans"]
            if span["entity_type"] in TYPES
        ]
        for row in rows
    ]
    finders = {"ours": find_ours, **peers(options)}
    print(f"{len(texts)} sentences; a span is hit where a finding of its type overlaps it\n")
    answers = {name: find(texts) for name, find in finders.items()}
    print(quality_table(gold, {name: answer["findings"] for name, answer in answers.items()}))
    print(speed_table(len(texts), answers))
    finders.pop("our names", None)
    print(ordinary_table(options.data, finders))
    print(cost_table(options.data))


def find_ours(texts: Sequence[str]) -> dict[str, Any]:
    """All kinds but names, as the filter finds them; language given as English."""
    rules = PersonalDataRules(**{kind: KindRule(action="tag") for kind in KINDS if kind != "name"})
    scrubber = Scrubber(rules)
    pages = [Page(text=text, language="en") for text in texts]
    scrubber.find(pages[:1])
    started = time.process_time()
    findings: list[list[Finding]] = []
    for part in batches(texts):
        findings += scrubber.find(pages[part])
    seconds = time.process_time() - started
    return {
        "seconds": seconds,
        "findings": [[(f.start, f.end, f.kind) for f in found] for found in findings],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def peers(options: argparse.Namespace) -> dict[str, Any]:
    """The other finders that were given a Python."""
    found = {}
    if options.presidio_python:
        found["presidio"] = lambda texts: ask(options.presidio_python, "presidio", texts)
        found["our names"] = lambda texts: ask(options.presidio_python, "names", texts)
    if options.datatrove_python:
        found["datatrove"] = lambda texts: ask(options.datatrove_python, "datatrove", texts)
    return found


def ask(python: Path, which: str, texts: Sequence[str]) -> dict[str, Any]:
    """A peer's findings, in our names of types."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(list(texts), file)
        file.flush()
        command = [str(python), "-m", "tests.benchmarks.personal_data_peers", which, file.name]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, text=True, cwd=HERE.parent.parent
        )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    answer["findings"] = [
        [(a, b, "national_id" if t in NATIONAL else TYPES.get(t, t.lower())) for a, b, t in found]
        for found in answer["findings"]
    ]
    return answer


def quality_table(gold: Sequence[Spans], found: dict[str, list[Spans]]) -> str:
    """Precision and recall by type."""
    lines = [f"{'type':14}{'labelled':>9}" + "".join(f"{name:>22}" for name in found)]
    for kind in TYPES.values():
        line = f"{kind:14}{sum(g[2] == kind for spans in gold for g in spans):9}"
        for findings in found.values():
            line += f"{_precision_recall(gold, findings, kind):>22}"
        lines.append(line)
    return "\n".join([*lines, ""])


def _precision_recall(gold: Sequence[Spans], found: Sequence[Spans], kind: str) -> str:
    num_right = num_found = num_hit = num_gold = 0
    for labelled, findings in zip(gold, found, strict=True):
        wanted = [span for span in labelled if span[2] == kind]
        mine = [span for span in findings if span[2] == kind]
        num_found += len(mine)
        num_gold += len(wanted)
        num_right += sum(any(_overlap(one, other) for other in wanted) for one in mine)
        num_hit += sum(any(_overlap(one, other) for one in mine) for other in wanted)
    if not num_found:
        return "—"
    return f"P {num_right / num_found:.3f} R {num_hit / max(1, num_gold):.3f}"


def _overlap(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def speed_table(numtexts_of: int, answers: dict[str, dict[str, Any]]) -> str:
    """Documents a second a core, how many times as many ours are, peak memory."""
    ours = answers["ours"]["seconds"]
    return "".join(
        f"{name:12}{numtexts_of / answer['seconds']:10.0f} documents/s/core; ours "
        f"{answer['seconds'] / ours:7.1f} x; {answer['peak_mb']:6.0f} MB\n"
        for name, answer in answers.items()
    )


def ordinary_table(data: Path, finders: dict[str, Any]) -> str:
    """Findings in ordinary text, a million characters: some are right, many are not."""
    lines = ["findings a million characters of ordinary text"]
    for name in ORDINARY:
        texts = list(texts_of(data / name, PEER_CHARS))
        num_chars = sum(map(len, texts))
        for finder, find in finders.items():
            counts = Counter(kind for found in find(texts)["findings"] for _, _, kind in found)
            rates = {kind: counts[kind] / num_chars * 1e6 for kind in TYPES.values()}
            shown = "  ".join(f"{kind} {rate:.1f}" for kind, rate in rates.items() if rate)
            lines.append(f"{Path(name).name.split('.')[0]:22}{finder:12}{shown or '—'}")
    return "\n".join([*lines, ""])


def cost_table(data: Path) -> str:
    """CPU microseconds a document of the whole filter stage, by what is looked for."""
    texts = [text for name in ORDINARY[:5] for text in texts_of(data / name, 1_500_000)]
    leave = KindRule(action="leave")
    nothing = dict.fromkeys(KINDS, leave)
    mask = KindRule()
    configs = {
        "nothing": PersonalDataRules(**nothing),
        "e-mail and IP": PersonalDataRules(**nothing | {"email": mask, "ip": mask}),
        "the default": PersonalDataRules(),
    }
    mean_chars = sum(map(len, texts)) / len(texts)
    lines = [f"filter stage, {len(texts)} documents of {mean_chars:.0f} characters"]
    best = {
        name: min(_stage_seconds(texts, rules) for _ in range(ROUNDS))
        for name, rules in configs.items()
    }
    for name, seconds in best.items():
        extra = seconds / best["nothing"] - 1
        lines.append(f"{name:14}{seconds / len(texts) * 1e6:8.0f} µs a document  {extra:+.1%}")
    return "\n".join([*lines, ""])


def _stage_seconds(texts: Sequence[str], rules: PersonalDataRules) -> float:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(store=folder, num_workers=1)
        documents = given(machine, [[{"id": str(n), "text": text} for n, text in enumerate(texts)]])
        config = FilterConfig(languages=[], personal_data=rules)
        started = time.process_time()
        materialise(STAGE, config, {"documents": [documents]}, machine)
        return time.process_time() - started


def texts_of(path: Path, max_chars: int) -> Iterator[str]:
    """The first texts of a file, some ``max_chars`` characters together."""
    num_chars = 0
    for row in _lines(path):
        yield row["text"]
        num_chars += len(row["text"])
        if num_chars >= max_chars:
            return


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.suffix == ".zst":
        stream = zstandard.ZstdDecompressor().stream_reader(path.open("rb"))
        yield from map(json.loads, io.TextIOWrapper(stream, encoding="utf-8"))
    else:
        with gzip.open(path, "rt") as file:
            yield from map(json.loads, file)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.benchmarks.personal_data", description="Personal data, ours and others'"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with pii/*.jsonl.gz")
    parser.add_argument(
        "--presidio-python", type=Path, help="the Python of an environment with presidio-analyzer"
    )
    parser.add_argument(
        "--datatrove-python", type=Path, help="the Python of an environment with datatrove"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
