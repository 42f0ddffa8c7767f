"""Masked language modelling: what is hidden, how often, and that it can be learned and resumed."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models

from model import chat
from model.architectures import EncoderConfig
from model.checkpoint import export_model
from model.encoder import Encoder
from model.masking import MaskingRules, hide_tokens
from model.options import OptimConfig
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
    assert evaluations[-1]["val_accuracy"] > 3 / 320
    assert "val_bits_per_byte" not in evaluations[-1]


def test_five_and_five_steps_are_ten(job, tmp_path):
    calls = iter(range(100))
    whole, halves = (job(out_dir=str(tmp_path / name)) for name in ("whole", "halves"))
    assert train(whole) == "done"
    assert train(halves, lambda: next(calls) == 4) == "stopped"
    assert train(halves) == "done"
    one, two = (load_file(Path(j.out_dir) / "final/model.safetensors") for j in (whole, halves))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_decoders_are_not_trained_to_fill_in_nor_encoders_to_go_on(
    job, make_job, tiny, base_model, tokenizer_path, tmp_path
):
    with pytest.raises(ValueError, match="'mlm' does not train decoders"):
        train(job(model=tiny))
    with pytest.raises(ValueError, match="'mlm' does not train decoders"):
        train(job(model=None, init_from=str(base_model)))
    encoder = export_model(tmp_path / "encoder", Encoder(ENCODER), tokenizer_path)
    with pytest.raises(ValueError, match="'pretrain' does not train encoders"):
        train(make_job("pretrain", model=None, init_from=str(encoder)))


def test_wordpieces_that_go_on_are_hidden_with_their_beginning():
    pieces = ["[MASK]", "[UNK]", "iron", "works", "##ery", "##s", "bloom"]
    tokenizer = Tokenizer(models.WordPiece({p: n for n, p in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[MASK]", "[UNK]"])
    rules = MaskingRules.of(tokenizer, whole_words=True)
    assert rules.mask_id == 0
    starts = {piece for piece in pieces if rules.starts_word_V[tokenizer.token_to_id(piece)]}
    assert starts == {"[MASK]", "[UNK]", "iron", "works", "bloom"}


@torch.no_grad()
def test_an_encoder_reads_documents_packed_into_a_row_as_if_alone():
    torch.manual_seed(0)
    model = Encoder(ENCODER).eval()
    x_BT = torch.randint(320, (1, 20))
    numbers_BT = torch.tensor([[1] * 8 + [2] * 12])
    packed = model.hidden(x_BT, documents_BT=numbers_BT)
    alone = [model.hidden(x_BT[:, :8]), model.hidden(x_BT[:, 8:])]
    torch.testing.assert_close(packed, torch.cat(alone, dim=1), rtol=0, atol=1e-5)
