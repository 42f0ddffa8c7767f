"""Losses: what training makes smaller. Pure functions of tensors; no model, no files.

Everything comes back as a sum beside the number of things summed, never as a mean: micro-batches
hold unequal numbers of valid tokens, and the mean of their means is not the mean.

Shape suffixes: B rows, T positions, V vocabulary, N any selection of positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100  # the target that F.cross_entropy leaves out


def next_token_loss(
    logits: Tensor, targets: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Summed −log p(target) in nats over the True positions of ``mask``, and how many those are.

    ``logits`` (…, V); ``targets`` and ``mask`` (…), None = all valid. With no valid position the
    loss is 0 with zero gradients, where a mean would be NaN.
    """
    if mask is None:
        num_valid = torch.tensor(targets.numel(), device=targets.device)
    else:
        num_valid = mask.sum()
        targets = targets.masked_fill(~mask, IGNORED)
    flat_NV = logits.flatten(0, -2).float()
    total = F.cross_entropy(flat_NV, targets.flatten(), ignore_index=IGNORED, reduction="sum")
    return total, num_valid


def token_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """log p(target) for each position: ``logits`` (…, V), ``targets`` (…), out (…), float32."""
    flat_N = F.cross_entropy(logits.flatten(0, -2).float(), targets.flatten(), reduction="none")
    return -flat_N.view(targets.shape)


def dpo_loss(
    policy_chosen_logps_B: Tensor,
    policy_rejected_logps_B: Tensor,
    ref_chosen_logps_B: Tensor,
    ref_rejected_logps_B: Tensor,
    beta: float,
) -> tuple[Tensor, Tensor]:
    """Loss and reward margin of each pair (Rafailov et al. 2023, arXiv:2305.18290).

    All inputs are (B,) summed log-probabilities of whole answers. The implicit reward of an answer
    is β log π(y|x)/π_ref(y|x) (eq. 5, without the part that cancels), the margin is that of the
    chosen minus that of the rejected, and the loss is −log σ(margin) (eq. 7).
    """
    chosen_B = policy_chosen_logps_B - ref_chosen_logps_B
    rejected_B = policy_rejected_logps_B - ref_rejected_logps_B
    margins_B = beta * (chosen_B - rejected_B)
    return -F.logsigmoid(margins_B), margins_B


def chosen_nll(policy_chosen_logps_B: Tensor, num_tokens_B: Tensor) -> Tensor:
    """(B,) the chosen answer's NLL a token: the term that keeps its probability from sinking along
    with the rejected one's (Pang et al. 2024, arXiv:2404.19733, eq. 1)."""
    return -policy_chosen_logps_B / num_tokens_B.clamp(min=1)
