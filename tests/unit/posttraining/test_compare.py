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


def test_no_questions_is_said_as_it_is(machine):
    with pytest.raises(ValueError, match=r"no questions .* questions\.jsonl is empty"):
        _win_rate(machine, [], [])


def test_what_one_model_was_not_asked_is_not_compared(machine):
    metrics = _win_rate(machine, [GOOD, BAD, GOOD], [BAD, GOOD])
    assert (metrics["questions"], metrics["win_rate"]) == (2, 0.5)


def test_separators_of_lines_in_an_answer_are_text(machine):
    inputs = {
        side: [given(machine, files={"answers.jsonl": _line(f"{answer}\u2028{answer}")})]
        for side, answer in {"candidate": GOOD, "baseline": BAD}.items()
    }
    assert materialise(STAGE, CompareConfig(), inputs, machine)[0].metrics["questions"] == 1


def _line(answer):
    record = {"id": "0", "prompt": [], "reference": REFERENCE, "answer": answer}
    return json.dumps(record, ensure_ascii=False)
