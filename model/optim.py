"""The optimizer.

In: a model and an ``OptimConfig``. Out: AdamW or Muon, with parameter groups. The learning rate of
a step is ``schedule.py``'s.
"""

from typing import Any

import torch
from torch import nn

from model.muon import Matrices, Muon, Together
from model.options import OptimConfig
from model.width import by_width

AnyOptimizer = torch.optim.Optimizer | Together


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; norm gains and biases do not: pulling them to zero regularises nothing."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def make_optimizer(
    model: nn.Module, config: OptimConfig, shared: Matrices | None = None
) -> AnyOptimizer:
    """AdamW in one fused kernel, on a CPU as on a GPU; or Muon for the matrices inside the model,
    and AdamW for embeddings, head and vectors. ``shared``: where whole matrices are, if not
    here."""
    if config.kind == "adamw":
        return _adamw(by_width(parameter_groups(model, config.weight_decay), model), config)
    matrices, vectors = parameter_groups(model, config.weight_decay)
    outer = {id(p) for module in model.modules() for p in _of_vocabulary(module, model)}
    inner = [p for p in matrices["params"] if id(p) not in outer and p.ndim == 2]
    others = [p for p in matrices["params"] if id(p) in outer or p.ndim != 2]
    if not inner:
        raise ValueError("muon needs matrices between embedding and head; use kind = adamw")
    muon = Muon(
        by_width([matrices | {"params": inner}], model, "muon"),
        lr=config.lr,
        momentum=config.muon_momentum,
        weight_decay=config.weight_decay,
        matrices=shared,
    )
    rest = _adamw(by_width([matrices | {"params": others}, vectors], model), config)
    for group in rest.param_groups:
        group["lr_ratio"] = config.adamw_lr_ratio * group.get("lr_ratio", 1.0)
    return Together(muon, rest)


def set_learning_rate(optimizer: AnyOptimizer, lr: float) -> None:
    """Give every group the rate of the coming update."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_ratio", 1.0)


def _adamw(groups: list[dict[str, Any]], config: OptimConfig) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


def _of_vocabulary(module: nn.Module, model: nn.Module) -> list[nn.Parameter]:
    """Matrices with a row a token or a position: most of their rows have no gradient in a step."""
    is_head = module is getattr(model, "to_logits", None)
    return list(module.parameters()) if isinstance(module, nn.Embedding) or is_head else []
