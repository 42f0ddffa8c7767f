"""Matrix products in eight bits a number (Micikevicius et al. 2022, arXiv:2209.05433), by torchao.

In: a decoder. Out: the same decoder, whose blocks multiply in float8 with a scale a tensor, set
anew at every product; weights stay as they are. Pays on GPUs that have such multipliers (Hopper and
later) together with ``compile``, which fuses the scaling. Embedding, norms and head are left alone:
the head's errors are the loss's.
"""

import importlib.util
import os

import torch
from torch import nn

MULTIPLE = 16  # the multipliers' tiles: both sides of a matrix must be multiples of this
MIN_CAPABILITY = (8, 9)


def use_float8(model: nn.Module, *, emulate: bool = False) -> int:
    """Exchange the blocks' linear layers in place; gives back how many.

    ``emulate`` rounds to eight bits and multiplies in the usual type: slow, on any device.

    Raises:
        ValueError: torchao is not installed, the GPU has no such multipliers, or no layer fits.
    """
    if importlib.util.find_spec("torchao") is None:
        raise ValueError("precision = fp8 needs torchao: pip install 'bloomery[fp8]'")
    if not emulate and not _has_multipliers():
        raise ValueError(
            'precision = fp8 needs a GPU of compute capability 8.9 or later; use "bf16"'
        )
    os.environ.setdefault("TORCHAO_FORCE_SKIP_LOADING_SO_FILES", "1")  # none is needed for this
    from torchao.float8 import Float8LinearConfig, convert_to_float8_training

    num_changed = 0

    def fits(module: nn.Module, name: str) -> bool:
        nonlocal num_changed
        if type(module) is not nn.Linear or not module.weight.requires_grad:
            return False
        if module.in_features % MULTIPLE or module.out_features % MULTIPLE:
            return False
        num_changed += 1
        return True

    blocks = getattr(model, "blocks", None)
    if blocks is not None:
        convert_to_float8_training(
            blocks, module_filter_fn=fits, config=Float8LinearConfig(emulate=emulate)
        )
    if not num_changed:
        raise ValueError(
            f"precision = fp8 finds no matrix in blocks whose sides are multiples of {MULTIPLE}; "
            'use "bf16"'
        )
    return num_changed


def _has_multipliers() -> bool:
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= MIN_CAPABILITY
