"""The head and its cross-entropy in one, chunk by chunk: the logits of a batch are never held.

In: hidden states, the head's matrix, targets. Out: the summed loss. Gradients are computed on the
way, with the same three products that autograd would do, so nothing is done twice. A chunk's logits
stay in a processor's cache, which on a CPU is worth more than the memory.

Shape suffixes: N positions, M positions of one chunk, D width, V vocabulary.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from model.objectives import IGNORED

CHUNK_LOGITS = 1 << 21  # numbers in one chunk's logits: 8 MB in float32
SMALLEST_SHARE = 1e-30  # of a softmax in float32, below which its logarithm is not exact
GPU_CHUNK_LOGITS = 1 << 27  # where launches and sweeps over the gradient cost more than memory


def head_loss(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    targets_N: Tensor,
    *,
    softcap: float | None = None,
    z_weight: float = 0.0,
) -> Tensor:
    """Summed −log p(target) in nats over the targets that are not ``IGNORED``.

    Args:
        hidden_ND: float32, or bfloat16 under autocast; products are done in its type.
        weight_VD: the head's matrix; its gradient is summed in its own type.
        softcap: logits become c · tanh(logits / c) first.
        z_weight: adds this times log²Z a target to what is differentiated, not to what is given
            back (z-loss, Chowdhery et al. 2022, arXiv:2204.02311, section 5): logits stay small.
    """
    if torch.is_autocast_enabled(hidden_ND.device.type):
        hidden_ND = hidden_ND.to(torch.get_autocast_dtype(hidden_ND.device.type))
    total: Tensor = _HeadLoss.apply(hidden_ND, weight_VD, targets_N, softcap, z_weight)
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
    ) -> Tensor:
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        typed_VD = weight_VD.to(hidden_ND.dtype)
        grad_ND = torch.empty_like(hidden_ND) if needs_hidden else None
        grad_VD = torch.zeros_like(weight_VD) if needs_weight else None
        is_asked_N1 = (targets_N != IGNORED)[:, None]
        for here, logits_MV, shares_MV in _chunks(len(targets_N), weight_VD, hidden_ND.is_cuda):
            hidden_MD, is_asked_M1 = hidden_ND[here], is_asked_N1[here]
            _product(hidden_MD, typed_VD.T, logits_MV)
            total += _chunk_loss(logits_MV, shares_MV, targets_N[here], softcap, z_weight)
            grad_MV = shares_MV.to(hidden_ND.dtype)
            # What is not asked for is nought here, where it is D wide, and not there, V wide.
            if grad_ND is not None:
                torch.mm(grad_MV, typed_VD, out=grad_ND[here]).mul_(is_asked_M1)
            if grad_VD is None:
                continue
            asked_MD = hidden_MD * is_asked_M1
            if grad_VD.dtype == grad_MV.dtype:
                grad_VD.addmm_(grad_MV.T, asked_MD)
            else:
                grad_VD += grad_MV.T @ asked_MD
        ctx.save_for_backward(grad_ND, grad_VD)
        return total

    @staticmethod
    def backward(
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        # In place: they are used once, and the embedding's gradient is added to the second.
        grad_ND, grad_VD = (
            None if saved is None else saved.mul_(gradients[0]) for saved in ctx.saved_tensors
        )
        return grad_ND, grad_VD, None, None, None


def _chunks(
    num_positions: int, weight_VD: Tensor, is_cuda: bool
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Which positions, and room for their logits and for the shares of a softmax.

    The room is the same each time: fresh memory costs a processor more than what is written to it.
    """
    size = max(1, (GPU_CHUNK_LOGITS if is_cuda else CHUNK_LOGITS) // len(weight_VD))
    shape = (min(size, num_positions), len(weight_VD))
    logits_MV = torch.empty(shape, dtype=torch.float32, device=weight_VD.device)
    shares_MV = torch.empty_like(logits_MV)
    for start in range(0, num_positions, size):
        stop = min(start + size, num_positions)
        yield slice(start, stop), logits_MV[: stop - start], shares_MV[: stop - start]


def _product(x: Tensor, y: Tensor, out: Tensor) -> None:
    if x.dtype == out.dtype:
        torch.mm(x, y, out=out)
    else:
        out.copy_(x @ y)


def _chunk_loss(
    logits_MV: Tensor,
    shares_MV: Tensor,
    targets_M: Tensor,
    softcap: float | None,
    z_weight: float,
) -> Tensor:
    """Summed loss of a chunk; its gradient by the logits is left in ``shares_MV``, also of targets
    that are not asked for. ``logits_MV`` is used up."""
    if softcap is not None:
        logits_MV.div_(softcap).tanh_().mul_(softcap)
    torch.softmax(logits_MV, dim=-1, out=shares_MV)
    is_asked_M = targets_M != IGNORED
    safe_M1 = torch.where(is_asked_M, targets_M, 0)[:, None]
    logit_M = logits_MV.gather(1, safe_M1)[:, 0]
    log_z_M = _log_z(logits_MV, logit_M, shares_MV.gather(1, safe_M1)[:, 0])
    loss = torch.where(is_asked_M, log_z_M - logit_M, 0.0).sum()
    if z_weight:
        shares_MV.mul_(1 + 2 * z_weight * log_z_M[:, None])
    shares_MV.scatter_add_(1, safe_M1, shares_MV.new_full((1, 1), -1.0).expand_as(safe_M1))
    if softcap is not None:
        shares_MV.mul_(logits_MV.div_(softcap).square_().neg_().add_(1.0))
    return loss


def _log_z(logits_MV: Tensor, logit_M: Tensor, share_M: Tensor) -> Tensor:
    """log Σ exp(logits): read off the softmax's share of one logit, which saves reading V of them
    twice more, unless that share is too small to tell."""
    if logits_MV.is_cuda:  # where asking whether any is too small would wait for the device
        return logits_MV.logsumexp(dim=-1)
    log_z_M = logit_M - share_M.log()
    is_lost_M = share_M < SMALLEST_SHARE
    if bool(is_lost_M.any()):
        log_z_M[is_lost_M] = logits_MV[is_lost_M].logsumexp(dim=-1)
    return log_z_M
