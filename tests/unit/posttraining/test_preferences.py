"""Preference pairs: a model's better answers over its worse, by a judge one can check."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu import sentence_chrf

from model import chat
from model.architectures import ModelConfig
from model.decoder import Decoder
from tasks.common.judge import closeness
from tasks.common.records import split_validation
from tasks.common.stage import materialise
from tasks.preferences.config import PreferencesConfig
from tasks.preferences.pairs import make_pair
from tasks.preferences.stage import STAGE
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig
from tests.stages import given as given_files
from tests.unit.posttraining.checkpoint import checkpoint_and_tokens

TEXT = "Open a file and read the lines of it. " * 20
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


def test_prompts_that_leave_no_room_for_an_answer_are_counted_not_asked(machine):
    tokenizer = chat.prepare_tokenizer(train_bpe([TEXT], TokenizerConfig(vocab_size=320)))
    shape = {"width": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "mlp_width": 16}
    model = Decoder(ModelConfig(vocab_size=320, max_seq_len=32, **shape))
    inputs = checkpoint_and_tokens(machine, model, tokenizer, TEXT, [])
    prompts = [{**RECORD, "reference": "!"}, {**RECORD, "id": "long", "reference": "!"}]
    prompts[1]["prompt"] = [{"role": "user", "content": "x1 " * 40}]
    lines = "\n".join(map(json.dumps, prompts))
    inputs["instructions"] = [given_files(machine, files={"prompts.jsonl": lines})]
    del inputs["tokens"]
    config = PreferencesConfig(max_new_tokens=4)
    metrics = materialise(STAGE, config, inputs, machine)[0].metrics
    assert (metrics["prompts"], metrics["too_long"]) == (1, 1)


def test_the_validation_split_depends_on_the_id_alone():
    records = [{"id": str(number), "x": number} for number in range(1_000)]
    train, validation = split_validation(records)
    assert 25 < len(validation) < 85
    assert split_validation(records[::-1])[1] == validation[::-1]
    assert sorted(r["x"] for r in train + validation) == list(range(1_000))
