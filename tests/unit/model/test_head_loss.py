"""The fused head: autograd's own loss and gradients, and never all logits at once."""

import subprocess
import sys

import pytest
import torch

from model import head_loss as module
from model.head_loss import head_loss
from model.losses import IGNORED, next_token_loss


def plain(hidden_ND, weight_VD, targets_N, softcap, z_weight):
    """The same by autograd: (loss, what is differentiated)."""
    logits_NV = hidden_ND @ weight_VD.T
    if softcap:
        logits_NV = softcap * torch.tanh(logits_NV / softcap)
    loss, _ = next_token_loss(logits_NV, targets_N.clamp(min=0), targets_N != IGNORED)
    log_z_N = logits_NV.logsumexp(-1)[targets_N != IGNORED]
    return loss, loss + z_weight * log_z_N.square().sum()


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("z_weight", [0.0, 0.1])
@pytest.mark.parametrize("chunk", [1, 50 * 7, 1 << 21])
def test_loss_and_gradients_are_those_of_autograd(monkeypatch, softcap, z_weight, chunk):
    monkeypatch.setattr(module, "CHUNK_LOGITS", chunk)
    torch.manual_seed(0)
    hidden_ND = torch.randn(31, 16, dtype=torch.float64).float().requires_grad_()
    weight_VD = torch.randn(50, 16).requires_grad_()
    targets_N = torch.randint(50, (31,))
    targets_N[[0, 7, 30]] = IGNORED
    expected, differentiated = plain(hidden_ND, weight_VD, targets_N, softcap, z_weight)
    wanted = torch.autograd.grad(3 * differentiated, [hidden_ND, weight_VD])
    found = head_loss(hidden_ND, weight_VD, targets_N, softcap=softcap, z_weight=z_weight)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad(3 * found, [hidden_ND, weight_VD])
    for one, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frozen", ["hidden", "weight"])
def test_what_is_frozen_gets_no_gradient(frozen):
    torch.manual_seed(0)
    tensors = {"hidden": torch.randn(6, 8), "weight": torch.randn(9, 8)}
    moved = next(name for name in tensors if name != frozen)
    tensors[moved].requires_grad_()
    targets_N = torch.randint(9, (6,))
    head_loss(*tensors.values(), targets_N).backward()
    found = tensors[moved].grad.clone()
    tensors[moved].grad = None
    plain(*tensors.values(), targets_N, None, 0.0)[0].backward()
    assert tensors[frozen].grad is None
    torch.testing.assert_close(found, tensors[moved].grad, rtol=1e-4, atol=1e-5)


def test_nothing_to_predict_gives_nothing_and_not_nan():
    hidden_ND = torch.randn(4, 8).requires_grad_()
    weight_VD = torch.randn(9, 8).requires_grad_()
    for targets_N in (torch.full((4,), IGNORED), torch.zeros(0, dtype=torch.long)):
        loss = head_loss(hidden_ND[: len(targets_N)], weight_VD, targets_N)
        gradients = torch.autograd.grad(loss, [hidden_ND, weight_VD])
        assert float(loss.detach()) == 0
        assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("chunk", [1, 50 * 7, 1 << 21])
def test_without_gradients_it_is_the_loss_alone(monkeypatch, softcap, chunk):
    """Of a parameter, which asks for a gradient wherever it is."""
    monkeypatch.setattr(module, "CHUNK_LOGITS", chunk)
    hidden_ND, weight_VD = torch.randn(31, 8), torch.nn.Parameter(torch.randn(50, 8))
    targets_N = torch.randint(50, (31,))
    targets_N[[0, 7, 30]] = IGNORED
    with torch.no_grad():
        expected, _ = plain(hidden_ND, weight_VD, targets_N, softcap, 0.0)
        monkeypatch.setattr(module, "_chunk_loss", None)  # no gradient is worked out
        found = head_loss(hidden_ND, weight_VD, targets_N, softcap=softcap)
    torch.testing.assert_close(found, expected)


def test_a_second_derivative_is_refused_and_not_wrong():
    hidden_ND, weight_VD = torch.randn(5, 8).requires_grad_(), torch.randn(9, 8).requires_grad_()
    loss = head_loss(hidden_ND, weight_VD, torch.randint(9, (5,)))
    (gradient,) = torch.autograd.grad(loss.square(), hidden_ND, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


# VmHWM: unlike ru_maxrss, it is not inherited from the process that starts this one.
PEAK = """
import sys, torch
from pathlib import Path
from model.head_loss import head_loss
from model.losses import next_token_loss
torch.set_num_threads(1)
def peak_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
hidden = torch.randn(2048, 32).requires_grad_()
weight = torch.randn(32_768, 32).requires_grad_()
targets = torch.randint(32_768, (2048,))
before = peak_kib()
if sys.argv[1] == "fused":
    head_loss(hidden, weight, targets).backward()
else:
    next_token_loss(hidden @ weight.T, targets)[0].backward()
print(peak_kib() - before)
"""


def test_logits_are_never_held_whole():
    def peak_mib(which: str) -> float:
        done = subprocess.run(
            [sys.executable, "-c", PEAK, which], capture_output=True, text=True, check=True
        )
        return int(done.stdout) / 1024

    logits_mib = 2048 * 32_768 * 4 / 2**20
    assert peak_mib("plain") > logits_mib
    assert peak_mib("fused") < 0.2 * logits_mib


def test_a_target_too_unlikely_for_a_float_has_its_exact_loss():
    hidden_ND = torch.tensor([[1.0], [1.0]], requires_grad=True)
    weight_VD = torch.tensor([[0.0], [500.0], [499.0]])
    targets_N = torch.tensor([0, 1])  # e^-500 is no float32
    found = head_loss(hidden_ND, weight_VD, targets_N)
    expected, _ = plain(hidden_ND, weight_VD, targets_N, None, 0.0)
    assert float(found.detach()) == pytest.approx(500.6265)
    torch.testing.assert_close(found, expected)
