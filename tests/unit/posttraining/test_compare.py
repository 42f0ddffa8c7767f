"""The win rate: symmetric, a draw counts half, closeness as sacrebleu measures it."""

import json

import pytest

from tasks.common.stage import materialise
from tasks.compare.config import CompareConfig
from tasks.compare.stage import STAGE
from tests.stages import given

REFERENCE = "Return the current working directory."


def _evaluation(machine, answers):
    lines = [
        json.dumps({"id": str(n), "prompt": [], "reference": REFERENCE, "answer": answer})
        for n, answer in enumerate(answers)
    ]
    return given(machine, files={"answers.jsonl": "\n".join(lines)})


def _win_rate(machine, candidate, baseline):
    inputs = {"candidate": [_evaluation(machine, candidate)]}
    inputs["baseline"] = [_evaluation(machine, baseline)]
    return materialise(STAGE, CompareConfig(), inputs, machine)[0].metrics


GOOD, FAIR, BAD = REFERENCE, "Return the working directory.", "Open a file."


def test_the_closer_answer_wins_and_equal_answers_draw(machine):
    metrics = _win_rate(machine, [GOOD, BAD, FAIR, FAIR], [BAD, GOOD, FAIR, BAD])
    assert metrics["win_rate"] == (1 + 0 + 0.5 + 1) / 4
    assert metrics["draws"] == 1


def test_turning_the_sides_turns_the_rate(machine):
    one, other = [GOOD, BAD, FAIR, BAD, FAIR], [FAIR, GOOD, BAD, FAIR, GOOD]
    forth, back = _win_rate(machine, one, other), _win_rate(machine, other, one)
    assert forth["win_rate"] + back["win_rate"] == pytest.approx(1)
    assert forth["low"] == pytest.approx(1 - back["high"])


def test_no_answers_is_said_with_the_remedy(machine):
    with pytest.raises(ValueError, match="max_answers"):
        _win_rate(machine, [], [])
