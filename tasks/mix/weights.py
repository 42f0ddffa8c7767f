"""The arithmetic of a mixture: weights, token targets, epochs. Pure.

As in table 2.2 of the GPT-3 paper (Brown et al. 2020, arXiv:2005.14165): a group of N tokens with
weight w in a training run of D tokens is seen w D / N times. Groups that would be seen too often
are held at their limit, and what they give up goes to the others by weight.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One group's part of a training run."""

    group: str
    weight: float  # share of the run's tokens; the shares of all groups sum to 1
    target_tokens: float
    epochs: float


def raw_weights(
    num_bytes: Mapping[str, int], named: Mapping[str, float], default_weight: float
) -> dict[str, float]:
    """Each group's weight, not normalised: as named, else by its share of all bytes."""
    if unknown := sorted(named.keys() - num_bytes.keys()):
        raise ValueError(f"no documents in the groups {unknown}; there are {sorted(num_bytes)}")
    total = max(1, sum(num_bytes.values()))
    return {
        group: named.get(group, default_weight * size / total)
        for group, size in sorted(num_bytes.items())
    }


def shares(
    tokens: Mapping[str, float],
    weights: Mapping[str, float],
    *,
    token_budget: float,
    max_epochs: float,
) -> list[Share]:
    """Hand out the budget by weight, no group more than ``max_epochs`` times its tokens.

    When all groups are at their limit the targets sum to less than the budget.
    """
    limits = {group: max_epochs * size for group, size in tokens.items()}
    targets = dict.fromkeys(tokens, 0.0)
    open_groups = {group for group in tokens if limits[group] > 0 and weights[group] > 0}
    while open_groups:
        left = token_budget - sum(targets[group] for group in tokens if group not in open_groups)
        total_weight = sum(weights[group] for group in sorted(open_groups))
        for group in open_groups:
            targets[group] = left * weights[group] / total_weight
        full = {group for group in open_groups if targets[group] > limits[group]}
        if not full:
            break
        for group in full:
            targets[group] = limits[group]
        open_groups -= full
    spent = sum(targets.values()) or 1.0
    return [
        Share(
            group=group,
            weight=targets[group] / spent,
            target_tokens=targets[group],
            epochs=targets[group] / tokens[group] if tokens[group] else 0.0,
        )
        for group in sorted(tokens)
    ]
