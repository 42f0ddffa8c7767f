"""The GPU's kernels for attention, against dense masks in float32: outputs and gradients."""

import dataclasses
import importlib.util

import pytest
import torch

from model.attention import attend, choose_backend, make_mask
from model.decoder import Decoder

CUDA = torch.device("cuda")
BACKENDS = ["flex", "varlen"]


def packed(rows, length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(rows, length, generator=generator) < 6 / length).cumsum(dim=1).to(CUDA)


def dense(documents_BT, window):
    place = torch.arange(documents_BT.shape[1], device=CUDA)
    back_TT = place[:, None] - place
    same_BTT = documents_BT[:, :, None] == documents_BT[:, None, :]
    return (same_BTT & (back_TT >= 0) & (back_TT < (window or len(place))))[:, None]


def need(backend, dtype=torch.bfloat16, head_width=64):
    try:
        choose_backend(backend, CUDA, dtype, head_width)
    except ValueError as error:
        pytest.skip(str(error))


def relative_error(ours, exact):
    return ((ours.float() - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("window", [None, 100])
@pytest.mark.parametrize("head_width", [64, 128])
@pytest.mark.parametrize("length", [512, 1000])
def test_outputs_and_gradients_are_those_of_dense_attention(backend, window, head_width, length):
    need(backend, head_width=head_width)
    torch.manual_seed(0)
    documents_BT = packed(2, length)
    shapes = [(2, heads, length, head_width) for heads in (8, 2, 2)]
    exact = [torch.randn(s, device=CUDA).bfloat16().float().requires_grad_() for s in shapes]
    half = [x.detach().bfloat16().requires_grad_() for x in exact]
    slope = torch.randn(shapes[0], device=CUDA).bfloat16()
    expected = attend(*exact, dense(documents_BT, window))
    seen = attend(*half, make_mask(documents_BT, window, backend))
    expected.backward(slope.float())
    seen.backward(slope)
    assert relative_error(seen, expected) < 0.01
    for name, ours, theirs in zip("qkv", half, exact, strict=True):
        assert relative_error(ours.grad, theirs.grad) < 0.02, name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "changes", [{}, {"sliding_window": 50, "full_attention_layers": (1,)}, {"qk_norm": True}]
)
def test_a_decoder_learns_the_same_with_every_kernel(tiny, backend, changes):
    need(backend, head_width=16)
    torch.manual_seed(0)
    config = dataclasses.replace(tiny, width=64, max_seq_len=256, **changes)
    model = Decoder(config).to(CUDA)
    tokens_BT = torch.randint(0, 320, (3, 256), device=CUDA)

    def gradient(backend):
        model.attention_backend = backend
        model.zero_grad()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            hidden = model.hidden(tokens_BT, documents_BT=packed(3, 256))
        hidden.float().square().mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    reference = gradient("sdpa")
    assert relative_error(gradient(backend), reference) < 0.03


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_document_sees_another_by_a_single_bit(tiny, backend):
    need(backend, head_width=16)
    torch.manual_seed(0)
    model = Decoder(dataclasses.replace(tiny, width=64, max_seq_len=256)).to(CUDA).eval()
    model.attention_backend = backend
    tokens_BT = torch.randint(0, 320, (1, 256), device=CUDA)
    documents_BT = (torch.arange(256, device=CUDA) >= 100).long()[None]
    changed_BT = tokens_BT.clone()
    changed_BT[:, :100] = 7
    with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16):
        one, other = (model.hidden(t, documents_BT=documents_BT) for t in (tokens_BT, changed_BT))
    assert torch.equal(one[:, 100:], other[:, 100:])
    assert not torch.equal(one[:, :100], other[:, :100])


def test_auto_takes_a_kernel_that_skips_what_is_masked():
    expected = {"varlen", "flex"} if importlib.util.find_spec("triton") else {"varlen", "sdpa"}
    assert choose_backend("auto", CUDA, torch.bfloat16, 64) in expected
