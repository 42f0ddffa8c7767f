"""The optimizer and its learning-rate schedule.

In: a model, an ``OptimConfig``, a step number. Out: AdamW or Muon, with parameter groups; a rate.
Schedules are pure functions of the step, so resuming needs no state of theirs.
"""

import math
from typing import Any

import torch
from torch import nn

from model.job import OptimConfig
from model.muon import Matrices, Muon, Together


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """The rate of update ``step``, 0 ≤ step < steps.

    Rises linearly and reaches ``lr`` at update ``warmup_steps − 1``; then falls as ``decay`` says
    and reaches ``lr · min_lr_ratio`` at the last update.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    after_warmup = step - config.warmup_steps + 1
    progress = after_warmup / max(1, steps - config.warmup_steps)
    return config.lr * _decay_factor(min(1.0, progress), config)


def _decay_factor(progress: float, config: OptimConfig) -> float:
    """1 where decay begins, ``min_lr_ratio`` where ``progress`` is 1."""
    floor = config.min_lr_ratio
    if config.decay == "constant":
        return 1.0
    if config.decay == "cosine":  # Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
    if config.decay == "wsd":  # warmup, stable, decay: Hu et al. 2024, arXiv:2404.06395, eq. 1
        progress = max(0.0, 1 - (1 - progress) / config.wsd_decay_ratio)
    return 1 - (1 - floor) * progress


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
        return _adamw(parameter_groups(model, config.weight_decay), config)
    matrices, vectors = parameter_groups(model, config.weight_decay)
    outer = {id(p) for module in model.modules() for p in _of_vocabulary(module, model)}
    inner = [p for p in matrices["params"] if id(p) not in outer and p.ndim == 2]
    others = [p for p in matrices["params"] if id(p) in outer or p.ndim != 2]
    if not inner:
        raise ValueError("muon needs matrices between embedding and head; use kind = adamw")
    muon = Muon(
        [{"params": inner}],
        lr=config.lr,
        momentum=config.muon_momentum,
        weight_decay=config.weight_decay,
        matrices=shared,
    )
    rest = _adamw([matrices | {"params": others}, vectors], config)
    for group in rest.param_groups:
        group["lr_ratio"] = config.adamw_lr_ratio
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
