"""The head and its cross-entropy in one, chunk by chunk: the logits of a batch are never held.

In: hidden states, the head's matrix, targets. Out: the summed loss. Gradients are computed on the
way, with the same three products that autograd would do, so nothing is done twice. A chunk's logits
stay in a processor's cache, which on a CPU is worth more than the memory; and each sweep over them
counts, for in small models most of the time is spent here.

Shape suffixes: N positions, M positions of one chunk, D width, V vocabulary.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.losses import IGNORED

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
    # Asked here: what a Function is told of a parameter's gradient is so without gradients too.
    if not (torch.is_grad_enabled() and (hidden_ND.requires_grad or weight_VD.requires_grad)):
        return _loss_alone(hidden_ND, weight_VD, targets_N, softcap, compiled)
    total: Tensor = _HeadLoss.apply(hidden_ND, weight_VD, targets_N, softcap, z_weight, compiled)
    return total


@torch.no_grad()
def _loss_alone(
    hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, softcap: float | None, compiled: bool
) -> Tensor:
    chunk_nll = _compiled(_chunk_nll) if compiled else _chunk_nll
    total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
    typed_VD = weight_VD.to(hidden_ND.dtype)
    chunks, room = _chunks(hidden_ND, len(weight_VD), compiled)
    for here in chunks:
        logits_MV, shares_MV = _logits(hidden_ND[here], typed_VD, room)
        total += chunk_nll(logits_MV, shares_MV, targets_N[here], softcap)
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
        chunk_loss = _compiled(_chunk_loss) if compiled else _chunk_loss
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        typed_VD = weight_VD.to(hidden_ND.dtype)
        grad_ND = torch.empty_like(hidden_ND) if needs_hidden else None
        grad_VD = torch.zeros_like(weight_VD) if needs_weight else None
        is_asked_N1 = (targets_N != IGNORED)[:, None]
        chunks, room = _chunks(hidden_ND, len(weight_VD), compiled)
        for here in chunks:
            hidden_MD, is_asked_M1 = hidden_ND[here], is_asked_N1[here]
            logits_MV, shares_MV = _logits(hidden_MD, typed_VD, room)
            loss, grad_MV = chunk_loss(logits_MV, shares_MV, targets_N[here], softcap, z_weight)
            total += loss
            grad_MV = grad_MV.to(hidden_ND.dtype)
            # What is not asked for is made nought here, where it is D wide and not V wide.
            if grad_ND is not None:
                torch.mm(grad_MV, typed_VD, out=grad_ND[here]).mul_(is_asked_M1)
            asked_MD = hidden_MD * is_asked_M1
            if grad_VD is not None and grad_VD.dtype == grad_MV.dtype:
                grad_VD.addmm_(grad_MV.T, asked_MD)
            elif grad_VD is not None:
                grad_VD += grad_MV.T @ asked_MD
        ctx.save_for_backward(grad_ND, grad_VD)
        return total

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        # In place: they are used once, and large.
        grad_ND, grad_VD = (
            None if saved is None else saved.mul_(gradients[0]) for saved in ctx.saved_tensors
        )
        return grad_ND, grad_VD, None, None, None, None


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)


def _chunks(
    hidden_ND: Tensor, vocab_size: int, compiled: bool
) -> tuple[list[slice], Tensor | None]:
    """The positions of each chunk, and room for what is made of one."""
    num_positions = len(hidden_ND)
    size = max(1, (GPU_CHUNK_LOGITS if hidden_ND.is_cuda else CHUNK_LOGITS) // vocab_size)
    room = None
    if hidden_ND.device.type == "cpu" and not compiled:
        room = torch.empty(2, min(size, num_positions), vocab_size)
    return [slice(start, start + size) for start in range(0, num_positions, size)], room


def _logits(
    hidden_MD: Tensor, weight_VD: Tensor, room: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Logits, and where to put the shares of their softmax; in ``room`` (2, ≥ M, V), if there is
    any, because fresh memory costs a processor more than what is written to it."""
    if room is None:
        return (hidden_MD @ weight_VD.T).float(), None
    logits_MV, shares_MV = room[:, : len(hidden_MD)]
    if hidden_MD.dtype == logits_MV.dtype:
        return torch.mm(hidden_MD, weight_VD.T, out=logits_MV), shares_MV
    return logits_MV.copy_(hidden_MD @ weight_VD.T), shares_MV


def _chunk_loss(
    logits_MV: Tensor,
    shares_MV: Tensor | None,
    targets_M: Tensor,
    softcap: float | None,
    z_weight: float,
) -> tuple[Tensor, Tensor]:
    """Summed loss of a chunk, and its gradient by the logits, also of targets that are not asked
    for: written to ``shares_MV``, or over the logits."""
    if softcap is not None:
        logits_MV = logits_MV.div_(softcap).tanh_().mul_(softcap)
    slope_MV = None if softcap is None else 1 - (logits_MV / softcap).square()
    is_asked_M = targets_M != IGNORED
    safe_M1 = torch.where(is_asked_M, targets_M, 0)[:, None]
    logit_M = logits_MV.gather(1, safe_M1)[:, 0]
    if shares_MV is None:
        log_z_M = logits_MV.logsumexp(dim=-1)
        grad_MV = logits_MV.sub_(log_z_M[:, None]).exp_()
    else:
        grad_MV = torch.softmax(logits_MV, dim=-1, out=shares_MV)
        log_z_M = _log_z(logits_MV, logit_M, grad_MV.gather(1, safe_M1)[:, 0])
    loss = torch.where(is_asked_M, log_z_M - logit_M, 0.0).sum()
    if z_weight:
        grad_MV.mul_(1 + 2 * z_weight * log_z_M[:, None])
    grad_MV.scatter_add_(1, safe_M1, grad_MV.new_full((1, 1), -1.0).expand_as(safe_M1))
    return loss, grad_MV if slope_MV is None else grad_MV.mul_(slope_MV)


def _chunk_nll(
    logits_MV: Tensor, shares_MV: Tensor | None, targets_M: Tensor, softcap: float | None
) -> Tensor:
    """Summed loss of a chunk: the same bits as ``_chunk_loss``'s."""
    if softcap is not None:
        logits_MV = logits_MV.div_(softcap).tanh_().mul_(softcap)
    is_asked_M = targets_M != IGNORED
    safe_M1 = torch.where(is_asked_M, targets_M, 0)[:, None]
    logit_M = logits_MV.gather(1, safe_M1)[:, 0]
    if shares_MV is None:
        log_z_M = logits_MV.logsumexp(dim=-1)
    else:  # written to memory that is there already, this is faster than logsumexp
        torch.softmax(logits_MV, dim=-1, out=shares_MV)
        log_z_M = _log_z(logits_MV, logit_M, shares_MV.gather(1, safe_M1)[:, 0])
    return torch.where(is_asked_M, log_z_M - logit_M, 0.0).sum()


def _log_z(logits_MV: Tensor, logit_M: Tensor, share_M: Tensor) -> Tensor:
    """log Σ exp(logits): read off the softmax's share of one logit, which saves two sweeps, unless
    that share is too small to tell."""
    log_z_M = logit_M - share_M.log()
    is_lost_M = share_M < SMALLEST_SHARE
    if bool(is_lost_M.any()):
        log_z_M[is_lost_M] = logits_MV[is_lost_M].logsumexp(dim=-1)
    return log_z_M
