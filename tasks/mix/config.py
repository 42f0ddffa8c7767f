"""What a user may say about the mixture."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class MixWeight(BaseModel):
    """The weight of one group in the mixture."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Mixture weight")

    group: str = Field(title="Group", min_length=1, description="Name of a source or subject")
    weight: float = Field(
        title="Weight", gt=0, description="Share of the training tokens, relative to the others'"
    )


class MixConfig(BaseModel):
    """How much of each group a model sees in training; by default as much as there is of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Mix")

    group_by: Literal["source", "domain"] = Field(
        "source", title="Group by", description="What makes a group"
    )
    weights: list[MixWeight] = Field(
        default_factory=list, title="Weights", description="Groups whose weight is not their size"
    )
    default_weight: float = Field(
        1.0,
        title="Weight of the others",
        gt=0,
        description="Of all groups not named: the weight of each is this times its share of bytes",
    )
    token_budget: int = Field(
        10_000_000, title="Token budget", ge=1, description="Training tokens the mixture is for"
    )
    max_epochs: float = Field(
        4.0,
        title="Most epochs",
        gt=0,
        description="Times a group may be seen; what is over goes to the other groups",
    )
    bytes_per_token: float = Field(
        4.0, title="Bytes a token", gt=0, description="Estimate; the tokenizer will know better"
    )
    validation_share: float = Field(
        0.02, title="Held out", ge=0, lt=1, description="Share of each group's documents"
    )
    max_bytes_per_group: int | None = Field(
        None, title="Largest group", ge=1, description="Bytes of text; a random rest is set aside"
    )
    shard_bytes: int = Field(
        200_000_000, title="Shard", ge=1_000, description="Bytes of text a training shard"
    )
    seed: int = Field(1, title="Seed", ge=0, description="Of the order of documents")

    @field_validator("weights")
    @classmethod
    def _each_group_once(cls, weights: list[MixWeight]) -> list[MixWeight]:
        names = [weight.group for weight in weights]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"groups {twice} are named twice; give each one weight")
        return weights
