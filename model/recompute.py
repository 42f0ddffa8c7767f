"""Activation checkpointing: less is remembered of the forward pass, and made again for backward.

In: how much. Out: a way to run one block of a model. The same arithmetic in the same order:
gradients keep their bits on a CPU.

full: only what enters a block is kept; a third more arithmetic (Chen et al. 2016,
arXiv:1604.06174).
selective: also what matrices and attention give, which is most of the work and about half of the
memory; norms, activations and rotations are made again, which costs a GPU little.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from model.language_model import RunBlock, run_block

_KEPT = (
    *("aten.mm", "aten.addmm", "aten.bmm", "aten._scaled_mm"),
    *("aten._scaled_dot_product_flash_attention", "aten._scaled_dot_product_cudnn_attention"),
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "torch_attn._varlen_attn",
)


def block_runner(how: str) -> RunBlock:
    """``none``, ``selective`` or ``full``, as the module says."""
    if how == "none":
        return run_block
    return _run_full if how == "full" else _run_selective


def _run_full(block: Callable[..., Any], *args: Any) -> Any:
    return checkpoint(block, *args, use_reentrant=False)


def _run_selective(block: Callable[..., Any], *args: Any) -> Any:
    return checkpoint(block, *args, use_reentrant=False, context_fn=_selective_contexts)


def _selective_contexts() -> Any:
    return create_selective_checkpoint_contexts(_policy)


def _policy(ctx: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if op in _kept_ops() else CheckpointPolicy.PREFER_RECOMPUTE


@functools.cache
def _kept_ops() -> frozenset[Any]:
    """Those of ``_KEPT`` that this build of torch has, in all their overloads; and flex."""
    found = {getattr(torch.ops.higher_order, "flex_attention", None)}
    for path in _KEPT:
        namespace, name = path.split(".")
        packet = getattr(getattr(torch.ops, namespace), name, None)
        if packet is not None:
            found |= {getattr(packet, overload) for overload in packet.overloads()}
    return frozenset(found)
