"""Preference pairs: a model's better answers over its worse, by a judge one can check."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu import sentence_chrf

from tasks.common.judge import closeness
from tasks.common.records import split_validation
from tasks.preferences.pairs import make_pair

RECORD = {"id": "os.getcwd", "prompt": [{"role": "user", "content": "?"}]}


@given(st.lists(st.floats(0, 100), min_size=2, max_size=8))
def test_the_chosen_answer_is_the_best_and_the_rejected_the_worst(scores):
    answers = [f"answer {n}" for n in range(len(scores))]
    pair = make_pair(RECORD, answers, scores, min_margin=0.0)
    assert scores[answers.index(pair["chosen"])] == max(scores)
    assert scores[answers.index(pair["rejected"])] == min(scores)


def test_answers_that_the_judge_hardly_tells_apart_make_no_pair():
    assert make_pair(RECORD, ["a", "b"], [50.0, 52.0], min_margin=4.0) is None
    assert make_pair(RECORD, ["a", "b"], [50.0, 56.0], min_margin=4.0)["chosen"] == "b"


def test_the_judge_is_sacrebleus_chrf():
    answer, reference = "Return the working directory.", "Return the current working directory."
    assert closeness([answer], [reference]) == [sentence_chrf(answer, [reference]).score]
    assert closeness([reference], [reference]) == [pytest.approx(100.0)]


def test_the_validation_split_depends_on_the_id_alone():
    records = [{"id": str(number), "x": number} for number in range(1_000)]
    train, validation = split_validation(records)
    assert 25 < len(validation) < 85
    assert split_validation(records[::-1])[1] == validation[::-1]
    assert sorted(r["x"] for r in train + validation) == list(range(1_000))
