"""What decays, and what moves how."""

import pytest
import torch

from model.decoder import Decoder
from model.muon import COEFFICIENTS, NUM_ROUNDS, Muon, Together, orthogonal
from model.optim import make_optimizer, parameter_groups, set_learning_rate
from model.options import OptimConfig


def test_matrices_decay_and_vectors_do_not(tiny, replace):
    model = Decoder(replace(tiny, norm="layernorm", bias=True))
    decayed, kept = parameter_groups(model, weight_decay=0.1)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    names = {id(p): name for name, p in model.named_parameters()}
    assert len(decayed["params"]) + len(kept["params"]) == len(names)
    for parameter in kept["params"]:
        name = names[id(parameter)]
        assert "norm" in name or name.endswith("bias")
    assert not any("norm" in names[id(p)] for p in decayed["params"])


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (40, 16), (3, 12, 30)])
def test_an_orthogonal_matrix_has_singular_values_near_one_and_the_same_directions(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    found = orthogonal(matrices)
    values = torch.linalg.svdvals(found)
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3
    exact = torch.linalg.svd(matrices, full_matrices=False)
    polar = exact[0] @ exact[2]
    cosine = torch.nn.functional.cosine_similarity(found.flatten(), polar.flatten(), dim=0)
    assert float(cosine) > 0.97


@pytest.mark.parametrize("shape", [(24, 24), (16, 40), (2, 40, 16)])
def test_each_singular_value_goes_through_the_rounds_polynomial(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape, dtype=torch.float64)
    left, values, right = torch.linalg.svd(
        matrices / matrices.norm(dim=(-2, -1), keepdim=True), full_matrices=False
    )
    for _ in range(NUM_ROUNDS):
        values = sum(c * values ** (2 * i + 1) for i, c in enumerate(COEFFICIENTS))
    expected = (left * values[..., None, :]) @ right
    found = orthogonal(matrices.float())
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)


def test_muon_moves_as_the_one_of_torch_does(monkeypatch):
    theirs_module = pytest.importorskip("torch.optim._muon")
    # torch's rounds to bfloat16; given our float32 rounds, all else must be equal.
    monkeypatch.setattr(
        theirs_module, "_zeropower_via_newtonschulz", lambda grad, *_rest: orthogonal(grad)
    )
    torch.manual_seed(0)
    shapes = [(8, 16), (16, 8), (8, 16), (12, 12)]
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    one = Muon([{"params": ours}], lr=0.01, momentum=0.9, weight_decay=0.1)
    other = torch.optim.Muon(
        theirs, lr=0.01, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(5):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        one.step()
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_muon_takes_the_inner_matrices_and_adamw_all_else(tiny, replace):
    model = Decoder(replace(tiny, tie_embeddings=False, position="learned"))
    optimizer = make_optimizer(model, OptimConfig(kind="muon", lr=0.5, adamw_lr_ratio=0.1))
    assert isinstance(optimizer, Together)
    names = {id(p): name for name, p in model.named_parameters()}
    muon, *rest = ([names[id(p)] for p in g["params"]] for g in optimizer.param_groups)
    assert all(".attention.to_" in name or ".mlp." in name for name in muon)
    assert len(muon) == 4 * tiny.n_layers
    assert {n for group in rest for n in group} == set(names.values()) - set(muon)
    set_learning_rate(optimizer, 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.2, 0.02, 0.02])
