"""The run by steps: which mixture and which learning rate when. Pure.

In: a configuration and the mixture's phases. Out: where the rate begins to fall, and a table.
"""

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from model.options import OptimConfig
from model.schedule import learning_rate
from tasks.pretrain.config import NEAR_SHARE, PretrainConfig


class Phase(NamedTuple):
    """A mixture and the step, from 0, that is the first to be drawn from it."""

    first_step: int
    weights: dict[str, float]
    name: str = "main"


def first_decay_step(
    config: PretrainConfig, phases: Sequence[Phase], log: logging.Logger
) -> int | None:
    """The step with which a wsd schedule begins to fall; None leaves it to the engine's default.

    It is the first one of the mixture's later phases, so that annealing on the best documents and
    annealing of the rate are one (Hu et al. 2024, arXiv:2404.06395, section 5). A ``decay_share``
    chooses another step; where that is the beginning of no phase, it is said.

    Raises:
        ValueError: it is in the warm-up.
    """
    if config.decay != "wsd":
        return None
    starts = {phase.first_step: phase.name for phase in phases[1:]}
    if config.decay_share is not None:
        first = _near_a_phase(config, config.decay_share, starts, log)
    elif starts:
        first = min(starts)
    else:
        return None
    if first < config.warmup_steps:
        raise ValueError(
            f"the learning rate would begin to fall at step {first}, before the warm-up ends at "
            f"{config.warmup_steps}: lower train.warmup_steps, or the share of the later phases"
        )
    return first


def _near_a_phase(
    config: PretrainConfig, share: float, starts: Mapping[int, str], log: logging.Logger
) -> int:
    first = config.steps - max(1, round(share * config.steps))
    nearest = min(starts, key=lambda step: abs(step - first), default=first)
    if abs(nearest - first) <= NEAR_SHARE * config.steps:
        return nearest
    log.warning(
        "the learning rate falls from step %d on, but the mixture changes at %s: leave "
        "train.decay_share empty to anneal both together",
        first,
        ", ".join(f"step {step} ({name})" for step, name in starts.items()),
    )
    return first


def schedule_markdown(
    steps: int, tokens_a_step: int, phases: Sequence[Phase], optim: OptimConfig
) -> str:
    """A table of the run: in each row one mixture, and a rate that rises, stays or falls."""
    marks = {phase.first_step for phase in phases} | {0, min(optim.warmup_steps, steps), steps}
    if optim.decay == "wsd":
        marks |= {step for step in range(steps) if _begins_to_fall(step, steps, optim)}
    lines = ["| steps | tokens | learning rate | mixture |", "|---|---:|---|---|"]
    for first, stop in itertools.pairwise(sorted(marks)):
        phase = [phase for phase in phases if phase.first_step <= first][-1]
        shares = ", ".join(f"{name} {share:.1%}" for name, share in _largest(phase.weights))
        rates = [learning_rate(step, steps, optim) for step in (first, stop - 1)]
        lines.append(
            f"| {first:,} to {stop - 1:,} | {(stop - first) * tokens_a_step:,} "
            f"| {rates[0]:.3g} → {rates[1]:.3g} | {phase.name}: {shares} |"
        )
    return "\n".join(lines)


def _begins_to_fall(step: int, steps: int, optim: OptimConfig) -> bool:
    """Whether it is the first step after the stable ones."""
    here, before = (learning_rate(at, steps, optim) for at in (step, step - 1))
    return step > optim.warmup_steps and here < before == optim.lr


def _largest(weights: Mapping[str, float], most: int = 4) -> list[tuple[str, float]]:
    total = sum(weights.values())
    ordered = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return [(name, weight / total) for name, weight in ordered[:most]]
