"""The LSTM model: the equations of its paper, and the promises every language model makes."""

import json
import math

import pytest
import torch

from model.architectures import LstmConfig, model_config
from model.checkpoint import load_model
from model.losses import next_token_loss
from model.lstm import Lstm
from model.options import OptimConfig
from model.trainer import train

CONFIG = LstmConfig(vocab_size=320, width=24, n_layers=2, max_seq_len=64)


def gates_by_hand(model: Lstm, tokens_T: torch.Tensor) -> torch.Tensor:
    """(T, V) logits of one row, gate by gate (Hochreiter & Schmidhuber 1997, with forget gates)."""
    layers, width = model.layers, model.config.width
    x_TD = model.embed.weight[tokens_T]
    for layer in range(model.config.n_layers):
        w_in, w_h, b_in, b_h = (
            getattr(layers, f"{name}_l{layer}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h, c, out = torch.zeros(width), torch.zeros(width), []
        for x in x_TD:
            i, f, g, o = (w_in @ x + b_in + w_h @ h + b_h).view(4, width)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            out.append(h)
        x_TD = torch.stack(out)
    mean, variance = x_TD.mean(-1, keepdim=True), x_TD.var(-1, correction=0, keepdim=True)
    normed = (x_TD - mean) / torch.sqrt(variance + 1e-5) * model.norm.weight + model.norm.bias
    return normed @ model.embed.weight.T


@torch.no_grad()
def test_logits_follow_the_equations():
    torch.manual_seed(0)
    model = Lstm(CONFIG).eval()
    tokens_T = torch.randint(320, (9,))
    found = model(tokens_T[None])[0]
    torch.testing.assert_close(found, gates_by_hand(model, tokens_T), rtol=0, atol=1e-5)


@torch.no_grad()
def test_an_untrained_model_is_as_good_as_guessing():
    torch.manual_seed(0)
    x_BT = torch.randint(320, (4, 65))
    total, count = next_token_loss(Lstm(CONFIG)(x_BT[:, :-1]), x_BT[:, 1:])
    assert float(total / count) == pytest.approx(math.log(320), abs=0.1)


@torch.no_grad()
def test_documents_packed_into_a_row_are_read_as_if_alone():
    torch.manual_seed(0)
    model = Lstm(CONFIG).eval()
    x_BT = torch.randint(320, (2, 12))
    numbers_BT = torch.tensor([[0] * 5 + [1] * 1 + [2] * 6, [2] * 12])
    packed = model.head(model.hidden(x_BT, documents_BT=numbers_BT))
    alone = [model(x_BT[:1, a:b])[0] for a, b in ((0, 5), (5, 6), (6, 12))]
    torch.testing.assert_close(packed[0], torch.cat(alone), rtol=0, atol=1e-5)
    torch.testing.assert_close(packed[1:], model(x_BT[1:]), rtol=0, atol=1e-5)


def test_it_trains_in_the_same_loop_and_is_found_again(make_job, tmp_path):
    optim = OptimConfig(lr=2e-2, warmup_steps=2)
    job = make_job("pretrain", model=CONFIG, steps=30, optim=optim, eval_every_steps=15)
    train(job)
    model, _ = load_model(tmp_path / "out" / "final")
    assert isinstance(model, Lstm)
    assert model.config == CONFIG
    log = (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()
    losses = [line["val_loss"] for line in map(json.loads, log) if "val_loss" in line]
    assert losses[-1] < losses[0] < math.log(320)


def test_an_architecture_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="unknown architecture 'rnn'; known: decoder, lstm"):
        model_config({"architecture": "rnn"})
