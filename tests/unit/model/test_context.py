"""A longer context: other positions, the same weights."""

import dataclasses

import pytest
import torch

from model.architectures import LstmConfig, RopeScaling
from model.checkpoint import load_model
from model.context import extended, larger_theta, load_to_train
from model.huggingface import to_huggingface
from model.options import ContextConfig, OptimConfig
from model.rope import rope_tables
from model.trainer import Trainer, train

METHODS = ("none", "theta", "linear", "yarn", "llama3")


@pytest.mark.parametrize("method", METHODS)
def test_the_weights_are_the_same_and_longer_texts_can_be_read(base_model, tiny, method):
    short, _ = load_model(base_model)
    long = load_to_train(base_model, ContextConfig(max_seq_len=256, method=method))
    assert long.training
    for name, value in short.state_dict().items():
        assert torch.equal(value, long.state_dict()[name])
    tokens_BT = torch.randint(tiny.vocab_size, (1, 256))
    assert torch.isfinite(long(tokens_BT)).all()
    with pytest.raises(ValueError, match="do not fit the model's max_seq_len = 64"):
        short(tokens_BT)


@pytest.mark.parametrize("method", ["theta", "linear", "yarn", "llama3"])
@torch.no_grad()
def test_transformers_reads_the_longer_context_alike(base_model, tiny, method):
    transformers = pytest.importorskip("transformers")
    ours = load_to_train(base_model, ContextConfig(max_seq_len=256, method=method)).eval()
    config, state = to_huggingface(ours)
    assert config["max_position_embeddings"] == 256
    theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config)).eval()
    theirs.load_state_dict(state)
    tokens_BT = torch.randint(tiny.vocab_size, (1, 256))
    torch.testing.assert_close(theirs(tokens_BT).logits, ours(tokens_BT), rtol=1e-4, atol=1e-4)


def test_the_factor_is_how_much_longer_the_context_is(tiny):
    once = extended(tiny, ContextConfig(max_seq_len=256, method="yarn"))
    assert once.rope_scaling == RopeScaling(kind="yarn", factor=4.0, original_max_seq_len=64)
    twice = extended(once, ContextConfig(max_seq_len=1024, method="yarn"))
    assert twice.rope_scaling == RopeScaling(kind="yarn", factor=16.0, original_max_seq_len=64)


def test_stretched_again_a_model_keeps_what_it_was_stretched_with(tiny, replace):
    own = RopeScaling(kind="llama3", factor=2.0, original_max_seq_len=32, low_freq_factor=2.0)
    longer = extended(
        replace(tiny, rope_scaling=own), ContextConfig(max_seq_len=128, method="llama3")
    )
    assert longer.rope_scaling == replace(own, factor=4.0)


def test_a_larger_base_slows_the_slowest_turn_by_the_factor_and_the_fastest_not(tiny):
    longer = extended(tiny, ContextConfig(max_seq_len=256, method="theta"))
    short, long = (
        torch.acos(rope_tables(c)[0][1, : c.head_width // 2].double()) for c in (tiny, longer)
    )
    assert (short[0] / long[0]).item() == pytest.approx(1, rel=1e-4)
    slowest = [c.rope_theta ** -((c.head_width - 2) / c.head_width) for c in (tiny, longer)]
    assert slowest[0] / slowest[1] == pytest.approx(4)
    given = extended(tiny, ContextConfig(max_seq_len=256, method="theta", rope_theta=5e5))
    assert given.rope_theta == 5e5
    assert larger_theta(tiny, ContextConfig(max_seq_len=64, method="theta")) == tiny.rope_theta


def test_what_cannot_be_stretched_is_said(tiny, replace):
    longer = ContextConfig(max_seq_len=128)
    with pytest.raises(ValueError, match="64 learned positions and cannot read further"):
        extended(replace(tiny, position="learned"), longer)
    with pytest.raises(ValueError, match="max_seq_len = 64 is no longer than the model's 64"):
        extended(tiny, ContextConfig(max_seq_len=64))
    stretched = extended(tiny, longer)
    with pytest.raises(ValueError, match=r"stretched already \(yarn\)"):
        extended(stretched, ContextConfig(max_seq_len=512, method="theta"))
    with pytest.raises(ValueError, match="rope_theta is positive, and goes with method = theta"):
        ContextConfig(max_seq_len=512, rope_theta=1e6)


def test_training_on_with_a_longer_context_leaves_a_model_that_has_it(make_job, base_model):
    fields = {"model": None, "init_from": str(base_model), "steps": 2, "batch_size": 2}
    optim = OptimConfig(lr=1e-3, warmup_steps=1, warmup_from_ratio=0.1)
    context = ContextConfig(max_seq_len=128)
    job = make_job("pretrain", **fields, seq_len=128, context=context, optim=optim)
    before = {n: p.clone() for n, p in Trainer(job).model.named_parameters()}
    assert train(job) == "done"
    model, _ = load_model(job.out_dir + "/final")
    assert model.config.max_seq_len == 128
    assert model.config.rope_scaling.factor == 2.0
    assert any(not torch.equal(before[n], p) for n, p in model.named_parameters())
    with pytest.raises(ValueError, match="exceeds the model's max_seq_len = 64"):
        Trainer(dataclasses.replace(job, context=None, out_dir=job.out_dir + "-2"))


def test_a_run_cut_short_is_not_resumed_with_other_positions(make_job, base_model):
    fields = {"model": None, "init_from": str(base_model), "steps": 4, "batch_size": 2}
    job = make_job("pretrain", **fields, seq_len=128, context=ContextConfig(max_seq_len=128))
    assert train(job, lambda: True) == "stopped"
    other = dataclasses.replace(job, context=ContextConfig(max_seq_len=128, method="linear"))
    with pytest.raises(ValueError, match="trained with context"):
        train(other)


def test_a_context_needs_a_model_to_lengthen(make_job):
    with pytest.raises(ValueError, match="context needs init_from"):
        make_job("pretrain", context=ContextConfig(max_seq_len=128))


def test_a_model_without_positions_has_none_to_stretch():
    short = LstmConfig(vocab_size=320, width=16, n_layers=1, max_seq_len=64)
    with pytest.raises(ValueError, match=r'no positions to stretch by yarn: set .* "none"'):
        extended(short, ContextConfig(max_seq_len=128))
    assert extended(short, ContextConfig(max_seq_len=128, method="none")).max_seq_len == 128
