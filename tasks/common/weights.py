"""The arithmetic of a mixture: weights and token targets. Pure.

As in table 2.2 of the GPT-3 paper (Brown et al. 2020, arXiv:2005.14165): a group of N tokens with
weight w in a training run of D tokens is seen w D / N times. Groups that would be seen too often
are held at their limit, and what they give up goes to the others by weight.
"""

from collections.abc import Mapping


def raw_weights(
    sizes: Mapping[str, float],
    named: Mapping[str, float],
    default_weight: float = 1.0,
    alpha: float = 1.0,
    multiply: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Each group's weight, not normalised.

    A named group has the weight it is given. The others share ``default_weight`` times their part
    of all ``size ** alpha``: 1 is proportional to size, 0 the same for each, and between them small
    groups gain, as languages do in XLM-R (Conneau et al. 2020, arXiv:1911.02116: alpha = .3) and
    mT5 (Xue et al. 2021, arXiv:2010.11934); a temperature T is ``alpha = 1 / T``. At last each
    weight is multiplied by the group's factor in ``multiply``. An empty group weighs nothing.

    Raises:
        ValueError: a group that is named or multiplied is not there.
    """
    factors = multiply or {}
    if unknown := sorted((named.keys() | factors.keys()) - sizes.keys()):
        raise ValueError(f"no documents in the groups {unknown}; there are {sorted(sizes)}")
    powers = {group: size**alpha if size > 0 else 0 for group, size in sizes.items()}
    total = sum(powers[group] for group in sorted(powers)) or 1
    return {
        group: factors.get(group, 1) * named.get(group, default_weight * powers[group] / total)
        for group in sorted(sizes)
    }


def hand_out(
    budget: float, weights: Mapping[str, float], limits: Mapping[str, float]
) -> dict[str, float]:
    """Share ``budget`` by weight, nobody more than its limit.

    What a full group leaves goes to the others by their weights, and so on; when all are full the
    shares sum to less than the budget.
    """
    given = dict.fromkeys(sorted(weights), 0.0)
    open_groups = [group for group in given if weights[group] > 0 and limits[group] > 0]
    while open_groups:
        left = budget - sum(given[group] for group in given if group not in open_groups)
        total = sum(weights[group] for group in open_groups)
        wanted = {group: left * weights[group] / total for group in open_groups}
        full = [group for group in open_groups if wanted[group] > limits[group]]
        given |= {group: limits[group] for group in full} if full else wanted
        open_groups = [group for group in open_groups if group not in full] if full else []
    return given
