"""Charsets on whole texts: the Universal Declaration, and sentences of Tatoeba.

``pytest -rP`` shows the table of accuracies: exact round trips by what was declared.
"""

import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from tasks.extract.charset import decode
from tests.charsets import DECLARED_ONLY, LIES, PUBLISHED_IN, UTF16, Sample, samples

SENTENCES_A_TEXT = 25
# Letters that texts published in windows-1252 had to do without: Māori's ā, Welsh's ŵ. What is
# left of such a text in that charset is nobody's text.
NOT_PUBLISHED = {"cym", "mri"}
FLOORS = {"right": 0.995, "missing": 0.97, "utf-8": 0.97, "windows-1252": 0.97, "others": 0.97}


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    for row in _rows(folder / "udhr-a.jsonl.zst"):
        yield row["code"], row["text"]
    sentences = defaultdict(list)
    for row in _rows(folder / "tatoeba-a.jsonl.zst"):
        sentences[row["lang"]].append(row["text"])
    for language, lines in sentences.items():
        for start in range(0, len(lines) - SENTENCES_A_TEXT, 2 * SENTENCES_A_TEXT):
            yield language, "\n".join(lines[start : start + SENTENCES_A_TEXT])


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        yield from map(json.loads, io.TextIOWrapper(reader, encoding="utf-8"))


def declarations(sample: Sample) -> Iterator[tuple[str, str | None]]:
    yield "right", sample.label
    yield "missing", None
    for lie in LIES:
        if lie not in (sample.label, "iso-8859-1"):
            yield (lie if lie in FLOORS else "others"), lie


@pytest.mark.external
@pytest.mark.parametrize("shortened_to_chars", [100, 400, None])
def test_round_trips(external_data: Path, shortened_to_chars: int | None):
    given = [
        (language, text[:shortened_to_chars])
        for language, text in texts(external_data / "langid")
        if language not in NOT_PUBLISHED
    ]
    tried: Counter[tuple[str, str]] = Counter()
    exact: Counter[tuple[str, str]] = Counter()
    declared_only = {label for label, _, _ in DECLARED_ONLY}
    for sample in samples(given, [*PUBLISHED_IN, *UTF16, *DECLARED_ONLY]):
        for kind, declared in declarations(sample):
            is_exact = decode(sample.data, declared, is_html=False) == sample.text
            total = "declared only" if sample.label in declared_only else "all"
            for row in (sample.label, total):
                tried[row, kind] += 1
                exact[row, kind] += is_exact
    print(f"{'charset':14} {'texts':>6}", *(f"{kind:>13}" for kind in FLOORS))
    for row in dict.fromkeys(row for row, _ in tried):
        shares = (exact[row, k] / tried[row, k] if tried[row, k] else float("nan") for k in FLOORS)
        print(f"{row:14} {tried[row, 'missing']:6}", *(f"{share:13.3f}" for share in shares))
    slack = 0.03 if shortened_to_chars == 100 else 0.0
    for kind, floor in FLOORS.items():
        assert exact["all", kind] / tried["all", kind] >= floor - slack, kind
    assert exact["declared only", "right"] == tried["declared only", "right"]
