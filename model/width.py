"""Width transfer: a learning rate tuned on a narrow model holds on a wide one.

In: a model whose configuration has ``width_base``. Out: how its weights begin, and at which share
of the learning rate each moves. This is µP (Yang et al. 2022, arXiv:2203.03466, table 8) for
models that are widened by heads and feed-forward in proportion, a head's own width staying. With
m = width / width_base, and numbers in a vector of hidden size not growing with m:

    embeddings, head       begin as ever, move at the rate
    matrices in blocks     begin smaller by √m, move at 1/m of the rate under AdamW
    logits                 are smaller by m

The last is the final norm's gain, which begins at 1/m and moves at 1/m of the rate: under Adam the
same as a constant factor, and neither the model's forward pass nor its file knows of any of this.
Muon's update of a matrix has a root mean square that width does not change, but full rank where
Adam's is low: its spectral norm grows by √m and not by m (Yang et al. 2023, arXiv:2310.17813), so
matrices move at 1/√m of its rate.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from model.architectures import AnyModelConfig, ModelConfig

POWER = {"adamw": 1.0, "muon": 0.5}

Groups = list[dict[str, Any]]


def times_wider(config: AnyModelConfig) -> float:
    """m: how many times wider than the model whose rates are used; 1 where none is named."""
    if not isinstance(config, ModelConfig) or config.width_base is None:
        return 1.0
    return config.width / config.width_base


def initial_std(std: float, is_in_block: bool, config: AnyModelConfig) -> float:
    """The spread of a matrix's first weights, from that at the base width."""
    return std / math.sqrt(times_wider(config)) if is_in_block else std


def by_width(groups: Groups, model: nn.Module, optimizer: str = "adamw") -> Groups:
    """The parameter groups split so that each has one ``lr_ratio``, in the order of the ratios.

    Weight decay is a share of the rate in AdamW; it is divided by the ratio, so that weights decay
    as fast as at the base width (Wang & Aitchison 2024, arXiv:2405.13698). Groups of a model
    without a base width come back as they are.
    """
    m = times_wider(model.config)  # type: ignore[arg-type]
    if m == 1 or getattr(model, "finetune", None):
        return groups
    slow = {id(p): m ** -POWER[optimizer] for p in _matrices_in_blocks(model)}
    slow |= {id(p): 1 / m for p in model.norm.parameters()}  # type: ignore[union-attr]
    split: Groups = []
    for group in groups:
        ratios = sorted({slow.get(id(p), 1.0) for p in group["params"]}, reverse=True)
        for ratio in ratios:
            own = [p for p in group["params"] if slow.get(id(p), 1.0) == ratio]
            decay = group["weight_decay"] / ratio
            split.append(group | {"params": own, "lr_ratio": ratio, "weight_decay": decay})
    return split


def _matrices_in_blocks(model: nn.Module) -> Sequence[Tensor]:
    blocks: nn.Module = model.blocks  # type: ignore[assignment]
    return [m.weight for m in blocks.modules() if isinstance(m, nn.Linear)]
