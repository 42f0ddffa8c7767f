"""Steps whose gradients we write by hand: autograd's, of the plain formulas in float64."""

import pytest
import torch
import torch.nn.functional as F

from model.elementwise import LayerNorm, RmsNorm, rotate, silu_gate


def silu_formula(x):
    gate, up = x.chunk(2, dim=-1)
    return gate * torch.sigmoid(gate) * up


def norm_formula(x, gain):
    return x / (x.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt() * gain


def norm(x, gain):
    module = RmsNorm(x.shape[-1], eps=1e-5)
    return torch.func.functional_call(module, {"weight": gain}, (x,))


ANGLES = torch.randn(5, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def tables():
    doubled = torch.cat([ANGLES, ANGLES], dim=-1)
    return doubled.cos(), doubled.sin()


def rotation(x):
    return rotate(x, *(table.float() for table in tables()))


def rotation_formula(x):
    """As numbers of the complex plane."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.complex(first, second) * torch.polar(torch.ones_like(ANGLES), ANGLES)
    return torch.cat([turned.real, turned.imag], dim=-1)


CASES = {
    "silu_gate": (silu_gate, silu_formula, [(2, 5, 3, 8)]),
    "rms_norm": (norm, norm_formula, [(2, 5, 3, 8), (8,)]),
    "rotate": (rotation, rotation_formula, [(2, 5, 3, 8)]),
}


@pytest.mark.parametrize("is_strided", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_formula(name, is_strided):
    ours, formula, shapes = CASES[name]
    generator = torch.Generator().manual_seed(0)
    exact = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    found = [x.float() for x in exact]
    if is_strided:  # as a slice of a wider product is
        found[0] = torch.cat([found[0], found[0]], dim=2)[:, :, :3]
    exact, found = ([x.requires_grad_() for x in xs] for xs in (exact, found))
    y, wanted_y = ours(*found), formula(*exact)
    grad = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(y, wanted_y.float(), rtol=1e-5, atol=1e-6)
    gradients = torch.autograd.grad(y, found, grad.float())
    for one, other in zip(gradients, torch.autograd.grad(wanted_y, exact, grad), strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-5, atol=1e-5)


def test_what_is_frozen_gets_no_gradient():
    x, gain = torch.randn(4, 8, requires_grad=True), torch.ones(8)
    norm(x, gain).sum().backward()
    assert x.grad is not None
    assert gain.grad is None


@pytest.mark.parametrize("name", CASES)
def test_half_precision_goes_the_plain_way(name):
    ours, formula, shapes = CASES[name]
    xs = [torch.randn(s, generator=torch.Generator().manual_seed(0)) for s in shapes]
    y = ours(*(x.bfloat16() for x in xs))
    torch.testing.assert_close(
        y.float(), formula(*(x.double() for x in xs)).float(), rtol=0.05, atol=0.05
    )


def test_the_norm_is_torch_s_too():
    x, gain = torch.randn(3, 8), torch.randn(8)
    torch.testing.assert_close(norm(x, gain), F.rms_norm(x, (8,), gain, 1e-5))


@pytest.mark.parametrize("kind", [RmsNorm, LayerNorm])
@pytest.mark.parametrize(("of_x", "of_gain"), [("float32", "bfloat16"), ("bfloat16", "float32")])
def test_norms_read_gains_of_another_type(kind, of_x, of_gain):
    """As shards bring them, and as autocast leaves them: neither is rounded to the other's."""
    of_x, of_gain = getattr(torch, of_x), getattr(torch, of_gain)
    module = kind(8, eps=1e-5).to(of_gain)
    torch.nn.init.normal_(module.weight)
    x = torch.randn(4, 8).to(of_x)
    wanted = kind(8, eps=1e-5).float()
    wanted.load_state_dict(module.state_dict())
    bounds = {"rtol": 1e-5, "atol": 1e-5} if of_x == torch.float32 else {"rtol": 0.01, "atol": 0.01}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(module(x).float(), wanted(x.float()), **bounds)
