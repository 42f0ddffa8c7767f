"""The head and its cross-entropy in one, chunk by chunk: the logits of a batch are never held.

In: hidden states, the head's matrix, targets. Out: the summed loss. Gradients are computed on the
way, with the same three products that autograd would do, so nothing is done twice. A chunk's logits
stay in a processor's cache, which on a CPU is worth more than the memory.

Shape suffixes: N positions, M positions of one chunk, D width, V vocabulary.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from model.losses import IGNORED

CHUNK_LOGITS = 1 << 21  # numbers in one chunk's logits: 8 MB in float32
GPU_CHUNK_LOGITS = 1 << 27  # where launches and sweeps over the gradient cost more than memory


def head_loss(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    *,
    softcap: float | None = None,
    z_weight: float = 0.0,
    compiled: bool = False,
) -> Tensor:
    """Summed −log p(target) in nats over the targets that are not ``IGNORED``.

    Args:
        hidden_ND: float32, or bfloat16 under autocast; products are done in its type.
        weight_VD: the head's matrix; its gradient is summed in its own type.
        softcap: logits become c · tanh(logits / c) first.
        z_weight: adds this times log²Z a target to what is differentiated, not to what is given
            back (z-loss, Chowdhery et al. 2022, arXiv:2204.02311, section 5): logits stay small.
        compiled: what is elementwise is compiled, once for chunks of all sizes.
    """
    if torch.is_autocast_enabled(hidden_ND.device.type):
        hidden_ND = hidden_ND.to(torch.get_autocast_dtype(hidden_ND.device.type))
    total: Tensor = _HeadLoss.apply(hidden_ND, weight_VD, targets_N, softcap, z_weight, compiled)
    return total


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        targets_N: Tensor,
        softcap: float | None,
        z_weight: float,
        compiled: bool,
    ) -> Tensor:
        chunk_loss = _compiled_chunk_loss() if compiled else _chunk_loss
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        typed_VD = weight_VD.to(hidden_ND.dtype)
        grad_ND = torch.empty_like(hidden_ND) if needs_hidden else None
        grad_VD = torch.zeros_like(weight_VD) if needs_weight else None
        chunk_logits = GPU_CHUNK_LOGITS if hidden_ND.is_cuda else CHUNK_LOGITS
        size = max(1, chunk_logits // len(weight_VD))
        for start in range(0, len(targets_N), size):
            here = slice(start, start + size)
            hidden_MD = hidden_ND[here]
            logits_MV = (hidden_MD @ typed_VD.T).float()
            needs_grad = needs_hidden or needs_weight
            loss, grad_MV = chunk_loss(logits_MV, targets_N[here], softcap, z_weight, needs_grad)
            total += loss
            if grad_MV is None:
                continue
            grad_MV = grad_MV.to(hidden_ND.dtype)
            if grad_ND is not None:
                torch.mm(grad_MV, typed_VD, out=grad_ND[here])
            if grad_VD is not None and grad_VD.dtype == grad_MV.dtype:
                grad_VD.addmm_(grad_MV.T, hidden_MD)
            elif grad_VD is not None:
                grad_VD += grad_MV.T @ hidden_MD
        ctx.save_for_backward(grad_ND, grad_VD)
        return total

    @staticmethod
    def backward(
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        grad_ND, grad_VD = (
            None if saved is None else saved * gradients[0].to(saved.dtype)
            for saved in ctx.saved_tensors
        )
        return grad_ND, grad_VD, None, None, None, None


@functools.cache
def _compiled_chunk_loss() -> Callable[..., tuple[Tensor, Tensor | None]]:
    return torch.compile(_chunk_loss, dynamic=True)


def _chunk_loss(
    logits_MV: Tensor,
    targets_M: Tensor,
    softcap: float | None,
    z_weight: float,
    needs_grad: bool,
) -> tuple[Tensor, Tensor | None]:
    """Summed loss of a chunk, and its gradient by the logits, written over them."""
    if softcap is not None:
        logits_MV = logits_MV.div_(softcap).tanh_().mul_(softcap)
    is_asked_M = targets_M != IGNORED
    safe_M1 = torch.where(is_asked_M, targets_M, 0)[:, None]
    log_z_M = logits_MV.logsumexp(dim=-1)
    nll_M = log_z_M - logits_MV.gather(1, safe_M1)[:, 0]
    loss = torch.where(is_asked_M, nll_M, 0.0).sum()
    if not needs_grad:
        return loss, None
    slope_MV = 1.0 if softcap is None else 1 - (logits_MV / softcap).square()
    grad_MV = logits_MV.sub_(log_z_M[:, None]).exp_()
    if z_weight:
        grad_MV.mul_(1 + 2 * z_weight * log_z_M[:, None])
    grad_MV.scatter_add_(1, safe_M1, grad_MV.new_full((1, 1), -1.0).expand_as(safe_M1))
    grad_MV.mul_(is_asked_M[:, None])
    return loss, grad_MV if softcap is None else grad_MV.mul_(slope_MV)
