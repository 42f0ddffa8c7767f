"""What a training job leaves to be chosen: the optimizer, processes, what is trained of a model.

In: keyword arguments, or a part of a job file. Out: frozen, validated dataclasses. How they go
together is ``job.py``'s. Imports no torch.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

from model.architectures import preset_named
from model.config import JsonConfig, require


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig(JsonConfig):
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) or Muon, and the rate's schedule."""

    kind: Literal["adamw", "muon"] = "adamw"
    """muon: for the matrices inside the model; embeddings, head and vectors stay AdamW's."""
    lr: float = 1e-3
    adamw_lr_ratio: float = 1.0
    """muon: the learning rate of what stays AdamW's, as a share of ``lr``."""
    muon_momentum: float = 0.95
    min_lr_ratio: float = 0.1
    """The last step's learning rate, as a share of ``lr``."""
    warmup_steps: int = 100
    warmup_from_ratio: float = 0.0
    """What the rate rises from, as a share of ``lr``: where a model is trained on, the rate that
    its training ended with (re-warming: Ibrahim et al. 2024, arXiv:2403.08763)."""
    decay: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    wsd_decay_ratio: float = 0.2
    """With ``decay="wsd"``: the share of the steps after the warm-up in which the rate falls."""
    wsd_first_decay_step: int | None = None
    """The same said as the first step (from 0) of a lower rate, to the step; takes precedence."""
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        require(0 < self.lr < math.inf, "lr must be positive and finite", self.lr)
        require(0 <= self.min_lr_ratio <= 1, "min_lr_ratio must be in [0, 1]", self.min_lr_ratio)
        require(self.warmup_steps >= 0, "warmup_steps must not be negative", self.warmup_steps)
        require(
            0 <= self.warmup_from_ratio <= 1, "warmup_from_ratio: [0, 1]", self.warmup_from_ratio
        )
        first = self.wsd_first_decay_step
        require(
            first is None or first >= self.warmup_steps,
            f"wsd_first_decay_step must not be before the warm-up's end, {self.warmup_steps}",
            first,
        )
        require(0 < self.wsd_decay_ratio <= 1, "wsd_decay_ratio: (0, 1]", self.wsd_decay_ratio)
        require(self.weight_decay >= 0, "weight_decay must not be negative", self.weight_decay)
        require(self.adamw_lr_ratio > 0, "adamw_lr_ratio must be positive", self.adamw_lr_ratio)
        require(0 <= self.muon_momentum < 1, "muon_momentum: [0, 1)", self.muon_momentum)
        require(all(0 <= b < 1 for b in self.betas), "betas must be in [0, 1)", self.betas)
        require(self.eps > 0, "eps must be positive", self.eps)
        require(self.clip_norm > 0, "clip_norm must be positive", self.clip_norm)

    @classmethod
    def from_json_dict(cls, data: dict[str, Any]) -> Self:
        """As the base class; with a model's ``preset``, what it was tuned with is the default."""
        if isinstance(data, dict) and "preset" in data:
            preset_named(data["preset"])
            others = {name: value for name, value in data.items() if name != "preset"}
            data = optim_preset(data["preset"]).to_json_dict() | others
        return super(OptimConfig, cls).from_json_dict(data)


_MODERN: dict[str, Any] = {
    "kind": "muon",
    "lr": 1e-2,
    "adamw_lr_ratio": 4.0,
    "muon_momentum": 0.9,
    "min_lr_ratio": 0.0,
    "decay": "linear",
    "betas": (0.8, 0.95),
    "weight_decay": 0.0,
}


def has_own_optimizer(model: str) -> bool:
    """Whether a model preset was tuned together with an optimizer."""
    return model.startswith("modern-")


def optim_preset(model: str) -> OptimConfig:
    """The optimizer that a model preset was tuned with; the default where it was with none."""
    return OptimConfig(**_MODERN) if has_own_optimizer(model) else OptimConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelConfig(JsonConfig):
    """How several processes share one training job; with one process it says nothing.

    The processes are ``replicas`` × shards × ``tensor``. It shapes no weights but by rounding: a
    run may go on with other numbers than it was begun with.
    """

    data: Literal["ddp", "fsdp"] = "ddp"
    """ddp: the model whole on every rank, gradients summed. fsdp: parameters, gradients and moments
    cut across the ranks, put together a block at a time (Zhao et al. 2023, arXiv:2304.11277)."""
    replicas: int = 1
    """fsdp: how many groups of ranks hold the model; 1 cuts it across all of them."""
    tensor: int = 1
    """Ranks that share every matrix of the blocks, heads and feed-forward units dealt out among
    them (Shoeybi et al. 2019, arXiv:1909.08053, section 3)."""

    def __post_init__(self) -> None:
        require(self.tensor >= 1, "tensor must be at least 1", self.tensor)
        require(self.replicas >= 1, "replicas must be at least 1", self.replicas)
        require(
            self.data == "fsdp" or self.replicas == 1,
            "replicas goes with data = fsdp; with ddp every rank is one",
            self.replicas,
        )


PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig(JsonConfig):
    """Training a few parameters beside a frozen model: what ``adapters.py`` adds."""

    method: Literal["lora", "bitfit", "adapter", "prefix"] = "lora"
    base: Literal["full", "nf4"] = "full"
    """nf4: the frozen matrices in four bits (QLoRA, Dettmers et al. 2023, arXiv:2305.14314)."""
    rank: int = 8
    """Of LoRA's matrices; the bottleneck's width of adapters."""
    alpha: float = 16.0
    """LoRA's change is multiplied by alpha / rank."""
    dropout: float = 0.0
    targets: tuple[str, ...] = PROJECTIONS
    """LoRA: the projections that get one, in transformers' names."""
    prefix_tokens: int = 16
    """Prefix tuning: learned positions before every text."""

    def __post_init__(self) -> None:
        require(self.rank >= 1, "rank must be at least 1", self.rank)
        require(self.alpha > 0, "alpha must be positive", self.alpha)
        require(0 <= self.dropout < 1, "dropout must be in [0, 1)", self.dropout)
        require(self.prefix_tokens >= 1, "prefix_tokens must be at least 1", self.prefix_tokens)
        if self.base == "nf4":
            require(self.method == "lora", "base = nf4 goes with method = lora", self.method)
        unknown = sorted(set(self.targets) - set(PROJECTIONS))
        require(not unknown, f"targets must be among {', '.join(PROJECTIONS)}", unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextConfig(JsonConfig):
    """A longer context for the model to start from; ``context.py`` says how."""

    max_seq_len: int
    """What the context becomes, in tokens."""
    method: Literal["none", "theta", "linear", "yarn", "llama3"] = "yarn"
    rope_theta: float | None = None
    """theta: the new base; None for one as much larger as the context needs."""

    def __post_init__(self) -> None:
        require(self.max_seq_len >= 1, "max_seq_len must be at least 1", self.max_seq_len)
        require(
            self.rope_theta is None or (self.method == "theta" and self.rope_theta > 0),
            "rope_theta is positive, and goes with method = theta",
            self.rope_theta,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig(JsonConfig):
    """What to do when a loss or gradient is not finite, or leaps; ``guard.py`` does it.

    skip: no update is made of the batch, and nothing else changes. rollback: go back to a
    checkpoint and on without the batch and the ones just before it (Chowdhery et al. 2022,
    arXiv:2204.02311, section 5.1). stop: end the run with an error.
    """

    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    on_spike: Literal["ignore", "stop", "skip", "rollback"] = "ignore"
    spike_sigmas: float = 6.0
    """A leap is so many standard deviations above the mean of the window, by loss or by norm."""
    window_steps: int = 128
    """Steps that leaps are measured against; none is seen before half of them are known."""
    rollback_batches: int = 16
    """Left out by a rollback, the batch in trouble included: what is wrong with a model often
    began before it showed."""
    max_skips_in_a_row: int = 5
    """After so many refused batches, with no update left standing between them, the run ends."""

    def __post_init__(self) -> None:
        require(self.spike_sigmas > 0, "spike_sigmas must be positive", self.spike_sigmas)
        require(self.window_steps >= 2, "window_steps must be at least 2", self.window_steps)
        for name in ("rollback_batches", "max_skips_in_a_row"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))

    @property
    def may_refuse(self) -> bool:
        """Whether an update may have to be held back, so that its numbers are read before it."""
        return self.on_nonfinite != "stop" or self.on_spike != "ignore"

    @property
    def may_roll_back(self) -> bool:
        """Whether a checkpoint to go back to must be kept."""
        return "rollback" in (self.on_nonfinite, self.on_spike)
