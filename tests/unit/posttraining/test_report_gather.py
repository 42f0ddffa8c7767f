"""What the report reads from artifacts."""

import json

import pytest

from tasks.common.store import Store
from tasks.report import gather
from tests.stages import GIVEN, given


def _open(machine, **files):
    named = {name.replace("__", "."): text for name, text in files.items()}
    return Store(machine.store).open(given(machine, files=named))


def _answers(machine, answers):
    records = [
        {"id": own, "prompt": [{"content": f"{own}?"}], "reference": "r", "answer": answer}
        for own, answer in answers.items()
    ]
    lines = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
    return _open(machine, answers__jsonl=lines + "\n")


def test_answers_are_matched_by_question(machine):
    one = _answers(machine, {"a": "1a", "b": "1b", "c": "1c\u2028"})
    other = _answers(machine, {"c": "2c", "a": "2a"})
    found = gather.answers([one, other], 5)
    assert [row["question"] for row in found] == ["a?", "c?"]
    assert [row["answers"] for row in found] == [["1a", "2a"], ["1c\u2028", "2c"]]


@pytest.mark.parametrize(
    ("speeds", "usual"), [([100, 120, 110, None], 110), ([None], 0), ([], 0), ([3, 5], 4)]
)
def test_the_speed_is_that_of_most_steps_however_often_it_was_resumed(
    machine, monkeypatch, speeds, usual
):
    monkeypatch.setattr(gather, "TRAINING_STAGES", (GIVEN.name,))
    steps = [
        {"event": "step", "step": n, "loss": 1.0, "tokens": 10**9 * n, "tokens_per_second": speed}
        for n, speed in enumerate(speeds)
    ]
    log = "\n".join(map(json.dumps, steps))
    (row,) = gather.training_table(gather.training_logs([_open(machine, metrics__jsonl=log)]))
    assert row["tokens_per_second"] == usual
