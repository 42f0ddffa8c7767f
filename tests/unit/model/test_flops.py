"""FLOPs as torch counts them, operation by operation."""

import dataclasses

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.adapters import add_adapters
from model.architectures import EncoderConfig, LstmConfig, ModelConfig
from model.batches import TokenBatch
from model.flops import forward_flops, measured_peak, published_peak, training_flops
from model.language_model import make_model
from model.observe import Meter
from model.options import FinetuneConfig

SEQ_LEN = 64
DECODER = ModelConfig(
    vocab_size=500, width=64, n_layers=3, n_heads=4, n_kv_heads=2, max_seq_len=64, mlp_width=176
)
change = dataclasses.replace
CONFIGS = {
    "llama": DECODER,
    "untied": change(DECODER, tie_embeddings=False),
    "wide heads": change(DECODER, head_dim=32, n_kv_heads=4),
    "gpt2": change(DECODER, norm="layernorm", position="learned", mlp="gelu", bias=True),
    "modern": change(
        DECODER, mlp="relu2", value_embeddings=True, input_residual=True, qk_norm=True
    ),
    "window": change(DECODER, sliding_window=SEQ_LEN, full_attention_layers=(1,)),
    "lstm": LstmConfig(vocab_size=500, width=64, n_layers=2, max_seq_len=64),
    "encoder": EncoderConfig(
        vocab_size=500, width=64, n_layers=2, n_heads=4, max_seq_len=64, mlp_width=128
    ),
}


def counted(model, length, *, backward):
    """What torch sees being multiplied, a token; kernels it does not know are kept off."""
    tokens_BT = torch.zeros(2, length, dtype=torch.long)
    with (
        FlopCounterMode(display=False) as counter,
        sdpa_kernel(SDPBackend.MATH),
        torch.backends.mkldnn.flags(enabled=False),
    ):
        loss = model(tokens_BT).square().sum()
        if backward:
            loss.backward()
    return counter.get_total_flops() / tokens_BT.numel()


@pytest.mark.parametrize("name", CONFIGS)
def test_flops_are_those_that_torch_counts(name):
    model = make_model(CONFIGS[name])
    trained, read = training_flops(model)(SEQ_LEN), forward_flops(model)(SEQ_LEN)
    assert trained.of(1, 1) == pytest.approx(counted(model, SEQ_LEN, backward=True), rel=0.01)
    assert read.of(1, 1) == pytest.approx(counted(model, SEQ_LEN, backward=False), rel=0.01)


def test_frozen_weights_have_no_gradient_to_compute():
    """But for the input of the first layer's adapters, below which nothing is trained."""
    model = make_model(change(DECODER, width=128, mlp_width=352, n_layers=12))
    whole = training_flops(model)(SEQ_LEN).of(1, 1)
    add_adapters(model, FinetuneConfig(rank=4))
    ours = training_flops(model)(SEQ_LEN).of(1, 1)
    assert ours == pytest.approx(counted(model, SEQ_LEN, backward=True), rel=0.01)
    assert ours < 0.75 * whole


def test_a_window_costs_what_it_reaches():
    """Where every layer has the window, a longer row costs no more a token."""
    narrow = make_model(change(DECODER, sliding_window=16))
    short = counted(make_model(DECODER), 16, backward=True)
    assert training_flops(narrow)(SEQ_LEN).of(1, 1) == pytest.approx(short, rel=0.01)
    full = training_flops(make_model(DECODER))(SEQ_LEN).of(1, 1)
    two_kinds = change(DECODER, sliding_window=16, full_attention_layers=(0,))
    mixed = training_flops(make_model(two_kinds))(SEQ_LEN).of(1, 1)
    assert full - mixed == pytest.approx((full - short) * 2 / 3)


def test_short_rows_cost_their_own_attention():
    """A batch of ragged rows has the FLOPs of its rows, one by one."""
    flops = training_flops(make_model(DECODER))
    meter = Meter(flops, SEQ_LEN, 1.0)
    pad = torch.zeros(3, 16, dtype=torch.long)
    meter.trained(TokenBatch(pad, pad, torch.zeros(3, 16, dtype=torch.bool), (4, 16, 4)))
    assert meter._flops_done == flops(4).of(8, 0) + flops(16).of(16, 0)
    assert flops(4).body < flops(16).body < flops(SEQ_LEN).body


def test_the_head_costs_where_it_is_asked():
    flops = training_flops(make_model(DECODER))(SEQ_LEN)
    assert flops.of(100, 100) - flops.of(100, 15) == 85 * 6 * 500 * 64


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("Tesla T4", None),
    ],
)
def test_cards_are_known_by_name(card, peak):
    assert published_peak(card) == peak


def test_measuring_the_peak_draws_no_numbers():
    before = torch.get_rng_state()
    rate = measured_peak.__wrapped__(1)
    assert torch.equal(before, torch.get_rng_state())
    assert 1e9 < rate < 1e13
