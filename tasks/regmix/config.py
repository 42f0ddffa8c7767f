"""What a search for mixture weights is."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RegmixConfig(BaseModel):
    """Weights from tiny proxy runs and a regression (RegMix, Liu et al. 2024, arXiv:2407.01492).

    The paper trains 512 proxies of 1 M parameters on 1 B tokens each; the defaults here are for two
    cores and a handful of groups.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Mixture search")

    targets: list[str] = Field(
        default_factory=list,
        title="Target groups",
        description="Whose mean held-out loss is to be lowest; empty: all groups alike",
    )
    num_runs: int = Field(
        48, ge=10, title="Proxy runs", description="About ten a group, better more than fewer"
    )
    model: Literal["llama-tiny", "llama-demo"] = Field(
        "llama-tiny", title="Proxy model", description="A named shape; see model/architectures.py"
    )
    steps: int = Field(
        600,
        ge=1,
        title="Steps of a run",
        description="Too few leave all runs near the frequencies of words, whatever the mixture",
    )
    batch_size: int = Field(8, ge=1, title="Batch size", description="Sequences in one step")
    seq_len: int = Field(128, ge=8, title="Sequence length, tokens")
    lr: float = Field(5e-3, gt=0, le=1, title="Learning rate", description="The peak")
    eval_tokens: int = Field(
        16_384, ge=256, title="Held-out tokens", description="Of each group, measured after a run"
    )
    min_strength: float = Field(
        0.5,
        gt=0,
        title="Least strength",
        description="Mixtures are Dirichlet draws around the shares of tokens: parameters are "
        "shares x groups x strength, and the strength is drawn too; low ones give extremes",
    )
    max_strength: float = Field(5.0, gt=0, title="Greatest strength")
    alpha: float = Field(
        0.5,
        ge=0,
        le=1,
        title="Exponent of size",
        description="Of the shares that draws are made around: 1 shares of tokens, 0 uniform",
    )
    regression: Literal["best", "linear", "quadratic", "lightgbm"] = Field(
        "best", title="Regression", description="best: the one that ranks held-out runs better"
    )
    num_folds: int = Field(
        6, ge=2, title="Folds", description="Each run is predicted from runs of other folds"
    )
    num_simulated: int = Field(
        100_000, ge=100, title="Simulated mixtures", description="Whose loss is predicted"
    )
    num_top: int = Field(
        100, ge=1, title="Best simulated", description="Of which the mean is the mixture found"
    )
    seed: int = Field(0, ge=0, title="Seed")

    @model_validator(mode="after")
    def _strengths_are_a_range(self) -> "RegmixConfig":
        if self.min_strength > self.max_strength:
            raise ValueError(
                f"min_strength {self.min_strength:g} is above max_strength {self.max_strength:g}; "
                "lower the one or raise the other"
            )
        return self
