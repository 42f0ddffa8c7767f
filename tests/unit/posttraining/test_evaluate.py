"""Scores against an independent witness: transformers' LLaMA with the same weights."""

import math
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from model import chat
from model.architectures import ModelConfig
from model.decoder import Decoder
from model.generate import generate
from model.huggingface import to_huggingface
from model.tokens import TokenShard, TokenWriter
from tasks.common.records import read_records
from tasks.common.stage import materialise
from tasks.common.store import Store
from tasks.evaluate import stage as evaluate
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.multiple_choice import NEUTRAL_QUESTION, answer_questions
from tasks.evaluate.stage import STAGE
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig
from tests.unit.posttraining.checkpoint import checkpoint_and_tokens

TEXT = "Return the path of the current folder. Open a file and read the lines of it. " * 30
TOKENIZER = chat.prepare_tokenizer(train_bpe([TEXT], TokenizerConfig(vocab_size=330)))
QUESTIONS = [
    {"id": "a", "question": "What does `a` do?", "choices": ["Open a file.", "Read."], "answer": 0},
    {
        "id": "b",
        "question": "And `b`?",
        "choices": ["Return it.", "The path of it.", "x"],
        "answer": 2,
    },
]


AS_CONTEXT = partial(chat.encode_prompt, TOKENIZER)


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=330,
        width=32,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        max_seq_len=64,
        mlp_width=64,
    )
    ours = Decoder(config).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.mul_(3.0)  # far from uniform, so that picks are not a matter of rounding
    settings, weights = to_huggingface(ours)
    theirs = LlamaForCausalLM(LlamaConfig(**settings)).eval()
    theirs.load_state_dict(weights, strict=False)
    return ours, theirs


def _user(content):
    return [{"role": "user", "content": content}]


def _context(question):
    return chat.encode_prompt(TOKENIZER, _user(question))


def _loglikelihood(theirs, question, choice):
    context, answer = _context(question), chat.encode_text(TOKENIZER, choice)
    with torch.no_grad():
        logits = theirs(torch.tensor([context + answer])).logits[0]
    logps = logits.double().log_softmax(-1)
    return sum(logps[len(context) - 1 + i, token].item() for i, token in enumerate(answer))


def _their_score(theirs, question, choice, normalisation):
    total = _loglikelihood(theirs, question, choice)
    if normalisation == "pmi":
        return total - _loglikelihood(theirs, NEUTRAL_QUESTION, choice)
    return total / len(choice.encode()) if normalisation == "bytes" else total


@pytest.mark.parametrize("normalisation", ["sum", "bytes", "pmi"])
def test_multiple_choice_scores_are_those_of_transformers(models, normalisation):
    ours, theirs = models
    picks = answer_questions(ours, TOKENIZER, QUESTIONS, AS_CONTEXT, normalisation)
    for question, pick in zip(QUESTIONS, picks, strict=True):
        expected = [
            _their_score(theirs, question["question"], choice, normalisation)
            for choice in question["choices"]
        ]
        assert pick["scores"] == pytest.approx(expected, abs=2e-3)
        best = max(range(len(expected)), key=expected.__getitem__)
        assert (pick["pick"], pick["right"]) == (best, best == question["answer"])


def test_bits_per_byte_is_that_of_transformers_on_one_window(models, machine):
    ours, theirs = models
    text = TEXT[:120]
    inputs = checkpoint_and_tokens(machine, ours, TOKENIZER, text, QUESTIONS)
    manifest, _ = materialise(
        STAGE, EvaluateConfig(max_answers=2, max_new_tokens=3), inputs, machine
    )
    ids = chat.encode_document(TOKENIZER, text)
    assert len(ids) <= 64, "one window sees all of it"
    with torch.no_grad():
        logps = theirs(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    nats = -sum(logps[i, token].item() for i, token in enumerate(ids[1:]))
    assert manifest.metrics["bits_per_byte"] == pytest.approx(
        nats / math.log(2) / len(text.encode()), rel=1e-4
    )
    assert manifest.metrics["perplexity"] == pytest.approx(
        math.exp(nats / (len(ids) - 1)), rel=1e-4
    )


def test_the_unigram_model_knows_only_what_is_trained_on(models, machine):
    metrics, _, _ = _evaluated(machine, models[0], text=TEXT)
    ids = chat.encode_document(TOKENIZER, TEXT)
    counts, total = Counter(ids), len(ids) + TOKENIZER.get_vocab_size()  # each once more
    bits = -sum(math.log2((counts[token] + 1) / total) for token in ids[1:])
    assert metrics["unigram_bits_per_byte"] == pytest.approx(bits / len(TEXT.encode()))


def _evaluated(machine, model, **inputs):
    given = {"text": TEXT[:120], "questions": QUESTIONS, **inputs}
    refs = checkpoint_and_tokens(machine, model, TOKENIZER, **given)
    config = EvaluateConfig(max_new_tokens=8)
    manifest, _ = materialise(STAGE, config, refs, machine)
    fetch = Store(machine.store).open(manifest.ref).fetch
    answers = {r["id"]: r["answer"] for r in read_records(fetch("answers.jsonl"))}
    return manifest.metrics, answers, read_records(fetch("choices.jsonl"))


def test_a_model_is_asked_the_whole_conversation(models, machine):
    history = [{"role": "system", "content": "Open it."}, *_user("Read."), *_user("Return?")]
    _, answers, _ = _evaluated(machine, models[0], prompts={"all": history, "end": history[-1:]})
    for name, prompt in {"all": history, "end": history[-1:]}.items():
        stops = [chat.special_id(TOKENIZER, token) for token in (chat.END, chat.EOS)]
        (ids,) = generate(models[0], [AS_CONTEXT(prompt)], 8, stop_ids=stops)
        assert answers[name] == chat.decode(TOKENIZER, ids).strip()
    assert answers["all"] != answers["end"], "else this test tells nothing"


def test_what_is_too_long_is_left_out_and_counted(models, machine):
    long = {"id": "c", "question": "?", "choices": ["No.", "x1 " * 80], "answer": 0}
    metrics, answers, choices = _evaluated(
        machine,
        models[0],
        questions=[*QUESTIONS, long],
        prompts={"short": _user("?"), "long": _user("x1 " * 80)},
    )
    assert list(answers) == ["short"]
    assert [pick["id"] for pick in choices] == ["a", "b"]
    assert metrics["multiple_choice"]["questions"] == 2
    assert metrics["too_long"] == 2


def test_needles_are_hidden_in_held_out_text_where_asked_for(models, machine):
    inputs = checkpoint_and_tokens(machine, _longer(models[0]), TOKENIZER, TEXT, QUESTIONS)
    options = {"lengths": [200], "depths": [0.0, 1.0], "questions": 2}
    sizes = {"max_answers": 1, "max_new_tokens": 1}
    asked = materialise(STAGE, EvaluateConfig(**sizes, needle=options), inputs, machine)[0]
    assert [(c["length"], c["depth"], c["num_asked"]) for c in asked.metrics["needle"]] == [
        (200, 0.0, 2),
        (200, 1.0, 2),
    ]
    assert "needle" not in materialise(STAGE, EvaluateConfig(**sizes), inputs, machine)[0].metrics


def _longer(model):
    longer = Decoder(replace(model.config, max_seq_len=256))
    longer.load_state_dict(model.state_dict())
    return longer


def test_counts_do_not_depend_on_the_size_of_slices(tmp_path, monkeypatch):
    ids = [n * n % 330 for n in range(100)]
    for name in ("part-00000", "part-00001"):
        with TokenWriter(tmp_path, name, 330) as out:
            out.add(ids)
    shards = [TokenShard(tmp_path / name) for name in ("part-00000", "part-00001")]
    monkeypatch.setattr(evaluate, "TOKENS_PER_SLICE", 7)
    counts = evaluate._count_shard(shards[0], 330)
    assert {n: int(c) for n, c in enumerate(counts) if c} == Counter(ids)
    assert evaluate._first_tokens(shards, 130).tolist() == ids + ids[:30]
    assert evaluate._first_tokens([], 5).tolist() == []
