"""RMSNorm, SwiGLU's gate and the rotation of RoPE, each in as few sweeps as a processor can do it.

In: activations. Out: what the formula says, and gradients that are written where they will stay.
On a CPU such steps cost what they move through memory: autograd's own backward of the same formulas
makes two to five times as many sweeps, most of them over fresh memory. A compiler, a GPU or
bfloat16 is given the plain formula instead.

Shape suffixes: D the normalised width, F feed-forward width, E head width.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def _is_by_hand(x: Tensor, *others: Tensor) -> bool:
    is_plain = type(x) is Tensor and not torch.compiler.is_compiling()  # nor spread over ranks
    are_float32 = all(tensor.dtype == torch.float32 for tensor in (x, *others))
    return is_plain and x.device.type == "cpu" and are_float32


def _no_narrower(parameter: Tensor, x: Tensor) -> Tensor:
    """As it is read beside ``x``: shards travel in bfloat16, which float32 does not go with."""
    return parameter.to(torch.promote_types(parameter.dtype, x.dtype))


class RmsNorm(nn.RMSNorm):
    """x / √(mean(x²) + ε) · gain (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4)."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) to (…, D)."""
        if not _is_by_hand(x, self.weight):
            return F.rms_norm(x, self.normalized_shape, _no_narrower(self.weight, x), self.eps)
        y: Tensor = _RmsNorm.apply(x, self.weight, self.eps)
        return y


class LayerNorm(nn.LayerNorm):
    """(x − mean(x)) / √(var(x) + ε) · gain + bias (Ba et al. 2016, arXiv:1607.06450)."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, D) to (…, D)."""
        gain_D = _no_narrower(self.weight, x)
        bias_D = None if self.bias is None else _no_narrower(self.bias, x)
        return F.layer_norm(x, self.normalized_shape, gain_D, bias_D, self.eps)


def silu_gate(gate_up: Tensor) -> Tensor:
    """silu(gate) · up, (…, 2F) to (…, F): the gate is the first half."""
    if not _is_by_hand(gate_up):
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up
    y: Tensor = _SiluGate.apply(gate_up)
    return y


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair by its angle (Su et al. 2021, arXiv:2104.09864, eq. 34), half-split.

    ``x`` is (B, T, H, E); ``cos`` and ``sin`` are (T, 1, E) or (B, T, 1, E), both halves of E the
    same. Pair i is (x[i], x[i + E/2]), as in transformers; the paper's interleaved pairs are a
    permutation of the same weights.
    """
    if _is_by_hand(x):
        y: Tensor = _Rotate.apply(x, cos, sin)
        return y
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return torch.addcmul(x * cos, turned, sin).to(x.dtype)


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain_D: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, gain_D, scale)
        return (x * scale).mul_(gain_D)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, gain_D, scale = ctx.saved_tensors
        normed = x * scale
        product = grad * normed
        grad_gain_D = product.flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, grad_gain_D, None
        # scale · (grad · gain − normed · mean(grad · gain · normed))
        mean = (product @ gain_D).div_(-x.shape[-1]).unsqueeze(-1)
        grad_x = torch.addcmul(normed.mul_(mean), grad, gain_D, out=product).mul_(scale)
        return grad_x, grad_gain_D, None


class _SiluGate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        grad_gate_up = torch.empty_like(gate_up)
        grad_gate, grad_up = grad_gate_up.chunk(2, dim=-1)
        # silu(gate) is made again: cheaper than to have kept it.
        torch.ops.aten.silu.out(gate, out=grad_up).mul_(grad)
        torch.mul(grad, up, out=grad_gate)
        torch.ops.aten.silu_backward.grad_input(grad_gate, gate, grad_input=grad_gate)
        return grad_gate_up


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grad, cos, sin, -1), None, None  # back by the same angle


def _turned(x: Tensor, cos: Tensor, sin: Tensor, direction: int) -> Tensor:
    y = torch.mul(x, cos)
    (first, second), half_sin = x.chunk(2, dim=-1), sin.chunk(2, dim=-1)[0]
    y_first, y_second = y.chunk(2, dim=-1)
    y_first.addcmul_(second, half_sin, value=-direction)
    y_second.addcmul_(first, half_sin, value=direction)
    return y
