"""Repeated passages in real texts: exact substrings by a suffix array, novels by their pairs.

Run with ``pytest tests/external --external-data=PATH``; PATH holds ``text``, ``sft`` and ``dedup``.
"""

import itertools
import json
from pathlib import Path

import pytest

from tasks.common.stage import Machine
from tests.benchmarks.passages import COPIES, NOVELS, PAIRS, texts
from tests.unit.passages.passage_fixtures import Made, passages
from tests.unit.passages.test_passages_substrings import by_suffix_array, left

pytestmark = pytest.mark.external
SOME = {
    "text/forum/20newsgroups-train.jsonl.zst": 400,  # quoted replies
    "sft/t0-prompted-tasks.jsonl.zst": 400,  # one passage under many templates
    "dedup/rust-book-editions.jsonl.zst": 120,  # chapters at five dates
    "text/docs/docs-markdown.jsonl.zst": 100,
}


def documents(data: Path) -> list[dict]:
    return [
        {"id": f"{name} {n}", "text": record["text"]}
        for name, count in SOME.items()
        for n, record in enumerate(itertools.islice(texts(data / name), count))
    ]


def again(machine: Machine, made: Made, rule: str) -> Made:
    rows = [{"id": name, "text": text} for name, text in made.texts.items()]
    return passages(machine, [rows], **{rule: {"on": True}})


def test_what_goes_of_real_texts_is_what_a_suffix_array_finds(machine, external_data):
    rows = documents(external_data)
    made = passages(machine, [rows[::2], rows[1::2]], substrings={"on": True})
    words = {row["id"]: row["text"].split() for row in rows}
    goes = by_suffix_array(words, 50)
    assert sum(map(any, goes.values())) > 50
    for name, said in words.items():
        assert " ".join(made.texts.get(name, "").split()) == left(said, goes[name])


@pytest.mark.parametrize(
    ("rule", "most"), [("paragraphs", 0), ("spans", 0.001), ("substrings", 0.001)]
)
def test_little_of_what_is_left_comes_again(rule, most, machine, external_data):
    """Nothing where whole lines go; else what two joints have on both sides, by rare chance."""
    made = passages(machine, [documents(external_data)], **{rule: {"on": True}})
    once = made.manifest.metrics[rule]["characters"]
    twice = again(machine, made, rule).manifest.metrics[rule]["characters"]
    assert once > 10_000
    assert twice <= most * once


def test_novels_lose_what_another_transcription_has_and_others_lose_nothing(machine, external_data):
    pairs = json.loads((external_data / PAIRS).read_text())
    rows = [
        {"id": record["id"], "text": record["text"]}
        for name in (COPIES, NOVELS)
        for record in texts(external_data / name)
    ]
    made = passages(machine, [rows], near_paragraphs={"on": True})
    shares = {row["id"]: len(made.texts.get(row["id"], "")) / len(row["text"]) for row in rows}
    for pair in pairs:
        first, second = sorted((shares.pop(pair["a"]), shares.pop(pair["b"])))
        assert first < 0.25 and second > 0.995, pair
    assert min(shares.values()) > 0.999
