"""The learning rate of a step.

In: a step, how many there are, an ``OptimConfig``. Out: a rate. Schedules are pure functions of the
step, so resuming needs no state of theirs.
"""

import math

from model.options import OptimConfig


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """The rate of update ``step``, 0 ≤ step < steps.

    Rises linearly from ``lr · warmup_from_ratio``, which would be the update before the first, and
    reaches ``lr`` at update ``warmup_steps − 1``; then falls as ``decay`` says and reaches
    ``lr · min_lr_ratio`` at the last update.
    """
    if step < config.warmup_steps:
        start = config.lr * config.warmup_from_ratio
        return start + (config.lr - start) * (step + 1) / config.warmup_steps
    after_warmup = step - config.warmup_steps + 1
    progress = after_warmup / max(1, steps - config.warmup_steps)
    if config.decay == "wsd":
        progress = _decay_progress(step, steps, progress, config)
    return config.lr * _decay_factor(min(1.0, progress), config)


def _decay_progress(step: int, steps: int, progress: float, config: OptimConfig) -> float:
    """Warm up, stay, decay (Hu et al. 2024, arXiv:2404.06395, eq. 1): 0 while the rate stays."""
    first = config.wsd_first_decay_step
    if first is None:
        return max(0.0, 1 - (1 - progress) / config.wsd_decay_ratio)
    return max(0.0, (step - first + 1) / max(1, steps - first))


def _decay_factor(progress: float, config: OptimConfig) -> float:
    """1 where decay begins, ``min_lr_ratio`` where ``progress`` is 1."""
    floor = config.min_lr_ratio
    if config.decay == "constant":
        return 1.0
    if config.decay == "cosine":  # Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
    return 1 - (1 - floor) * progress
