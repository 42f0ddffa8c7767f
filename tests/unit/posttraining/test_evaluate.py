"""Scores against an independent witness: transformers' LLaMA with the same weights."""

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from model import chat
from model.config import ModelConfig
from model.decoder import Decoder
from model.huggingface import to_huggingface
from tasks.common.stage import materialise
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


def _context(question):
    return chat.encode_prompt(TOKENIZER, [{"role": "user", "content": question}])


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
    picks = answer_questions(ours, TOKENIZER, QUESTIONS, _context, normalisation)
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
