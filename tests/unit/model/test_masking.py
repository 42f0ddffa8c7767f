"""Masked language modelling: what is hidden, how often, and that it can be learned and resumed."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model import chat
from model.config import EncoderConfig, OptimConfig
from model.masking import MaskingRules, hide_tokens
from model.trainer import train

ENCODER = EncoderConfig(
    vocab_size=320, width=32, n_layers=2, n_heads=4, max_seq_len=64, mlp_width=48
)


def drawn(tokenizer, *, whole_words=False, rows=400):
    rules = MaskingRules.of(tokenizer, whole_words=whole_words)
    ids = chat.encode_text(tokenizer, "bloomery coal drawn ember flux gates iron xyz ore " * 20)
    x_BT = torch.tensor(ids[:120]).repeat(rows, 1)
    x_BT[:, 0] = chat.special_id(tokenizer, chat.BOS)
    shown_BT, hidden_BT = hide_tokens(x_BT, rules, torch.Generator().manual_seed(1))
    return rules, x_BT, shown_BT, hidden_BT


def test_shares_are_those_of_the_paper(tokenizer):
    rules, x_BT, shown_BT, hidden_BT = drawn(tokenizer)
    assert float(hidden_BT[:, 1:].float().mean()) == pytest.approx(0.15, abs=0.005)
    shown, was = shown_BT[hidden_BT], x_BT[hidden_BT]
    assert float((shown == rules.mask_id).float().mean()) == pytest.approx(0.8, abs=0.02)
    assert float((shown == was).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert torch.equal(shown_BT[~hidden_BT], x_BT[~hidden_BT])


def test_special_tokens_are_never_hidden(tokenizer):
    _, _, _, hidden_BT = drawn(tokenizer)
    assert not hidden_BT[:, 0].any()


def test_whole_words_are_hidden_whole(tokenizer):
    rules, x_BT, _, hidden_BT = drawn(tokenizer, whole_words=True)
    goes_on_BT = ~rules.starts_word_V[x_BT]
    assert goes_on_BT.any()
    before_BT = hidden_BT[:, 1:-1]
    assert torch.equal(hidden_BT[:, 2:][goes_on_BT[:, 2:]], before_BT[goes_on_BT[:, 2:]])
    assert float(hidden_BT[:, 1:].float().mean()) == pytest.approx(0.15, abs=0.01)


@pytest.fixture
def job(make_job):
    def make(**changes):
        optim = OptimConfig(lr=1e-2, warmup_steps=2)
        return make_job("mlm", **({"model": ENCODER, "optim": optim} | changes))

    return make


def test_an_encoder_learns_to_fill_in(job, tmp_path):
    train(job(steps=60, eval_every_steps=30, batch_size=8, micro_batch_size=8))
    log = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    evaluations = [e for e in map(json.loads, log) if e["event"] == "eval"]
    assert evaluations[-1]["val_loss"] < 0.6 * math.log(320)  # words are drawn at random
    assert evaluations[-1]["val_accuracy"] > 0.05  # one of 320 by chance
    assert "val_bits_per_byte" not in evaluations[-1]


def test_five_and_five_steps_are_ten(job, tmp_path):
    calls = iter(range(100))
    whole, halves = (job(out_dir=str(tmp_path / name)) for name in ("whole", "halves"))
    assert train(whole) == "done"
    assert train(halves, lambda: next(calls) == 4) == "stopped"
    assert train(halves) == "done"
    one, two = (load_file(Path(j.out_dir) / "final/model.safetensors") for j in (whole, halves))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_decoders_are_not_trained_to_fill_in_nor_encoders_to_go_on(job, make_job, tiny):
    with pytest.raises(ValueError, match="'mlm' does not train"):
        job(model=tiny)
    with pytest.raises(ValueError, match="'pretrain' does not train"):
        make_job("pretrain", model=ENCODER)
