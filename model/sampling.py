"""Which token comes next: how a distribution is cut, and what is drawn from it.

In: logits of one step and a frozen ``Sampling``. Out: probabilities, or ids. Pure: a draw is a
function of the seed, the row's number and the step, so that a row says the same beside any others.

Shape suffixes: B rows, V vocabulary.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are chosen. What is cut is cut in this order: top-k, top-p, min-p, each from the
    distribution at ``temperature``, as transformers does it."""

    temperature: float = 0.0
    """Divides the logits; 0 takes the likeliest token and cuts nothing."""
    top_k: int | None = None
    """Keep so many of the likeliest tokens, and those as likely as the last of them."""
    top_p: float | None = None
    """Keep the smallest set of likeliest tokens that holds this share (Holtzman et al. 2020,
    arXiv:1904.09751, section 3.1)."""
    min_p: float | None = None
    """Keep tokens at least this share as likely as the likeliest (Nguyen et al. 2024,
    arXiv:2407.01082, section 3)."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature must not be negative; got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1; got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be in (0, 1]; got {self.top_p}")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p must be in [0, 1]; got {self.min_p}")


GREEDY = Sampling()


def choose(logits_BV: Tensor, sampling: Sampling, draws_B: Sequence[float]) -> Tensor:
    """(B,) ids: the likeliest at temperature 0, else where each row's draw in [0, 1) falls in the
    cumulative distribution."""
    if sampling.temperature == 0:
        return logits_BV.argmax(dim=-1)
    # In float64: in float32 the running sum over a large vocabulary loses its small terms.
    cumulative_BV = distribution(logits_BV, sampling).double().cumsum(dim=-1)
    draws_B1 = torch.tensor(draws_B, dtype=torch.float64).to(logits_BV.device)[:, None]
    # right: the first token whose sum exceeds the draw, which none of probability 0 is.
    return torch.searchsorted(cumulative_BV, draws_B1 * cumulative_BV[:, -1:], right=True)[:, 0]


def distribution(logits_BV: Tensor, sampling: Sampling) -> Tensor:
    """(B, V) probabilities, float32, of what may be drawn; ``temperature`` must be positive."""
    logits_BV = logits_BV.float() / sampling.temperature
    if sampling.top_k is not None:
        top_k = min(sampling.top_k, logits_BV.shape[-1])
        kth_B1 = logits_BV.topk(top_k).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < kth_B1, -torch.inf)
    if sampling.top_p is not None:
        logits_BV = _keep_nucleus(logits_BV, sampling.top_p)
    probability_BV = logits_BV.softmax(dim=-1)
    if sampling.min_p is not None:
        floor_B1 = sampling.min_p * probability_BV.amax(dim=-1, keepdim=True)
        probability_BV = probability_BV.masked_fill(probability_BV < floor_B1, 0)
        probability_BV = probability_BV / probability_BV.sum(dim=-1, keepdim=True)
    return probability_BV


def draw(seed: int, row: int, step: int) -> float:
    """A number in [0, 1), a hash of its place: no generator to be shared or to be put back."""
    place = f"{seed}/{row}/{step}".encode()
    bits = int.from_bytes(hashlib.blake2b(place, digest_size=8).digest())
    return (bits >> 24) / 2**40  # short of 1 by more than float64's rounding of a product


def _keep_nucleus(logits_BV: Tensor, top_p: float) -> Tensor:
    """The first token always stays."""
    sorted_BV, order_BV = logits_BV.sort(dim=-1, descending=True)
    probability_BV = sorted_BV.softmax(dim=-1)
    before_BV = probability_BV.cumsum(dim=-1) - probability_BV
    sorted_BV = sorted_BV.masked_fill(before_BV >= top_p, -torch.inf)
    sorted_BV[:, 0] = logits_BV.max(dim=-1).values
    return torch.empty_like(logits_BV).scatter_(-1, order_BV, sorted_BV)
