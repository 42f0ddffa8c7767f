"""What a user may say about the mixture."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tasks.common.mix_table import MixRules, Step

ALL_GROUPS = "*"


class QualityCutoff(BaseModel):
    """Which documents of a group are good enough, by the score that classify gave them."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Quality cut-off")

    group: str = Field(
        title="Group", min_length=1, description="A group's name, or * for all that are not named"
    )
    min_score: float | None = Field(
        None, title="Least score", ge=0, le=1, description="Lower ones are set aside"
    )
    keep_share: float = Field(
        1.0, title="Best share", gt=0, le=1, description="Of the group's documents"
    )

    @property
    def selects(self) -> bool:
        """Whether documents need a quality score to pass."""
        return self.min_score is not None or self.keep_share < 1


class MixConfig(MixRules):
    """How much of each group a model sees in training; by default as much as there is of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Mix")

    group_by: Literal["source", "domain", "language"] = Field(
        "source", title="Group by", description="What makes a group"
    )
    cutoffs: list[QualityCutoff] = Field(
        default_factory=list, title="Quality cut-offs", description="Group by group"
    )
    rehydrate: list[Step] = Field(
        default_factory=list,
        title="Rehydrate",
        description="How often a document counts that had so many copies before deduplication; "
        "FineWeb-2: from 2 twice, 3 three times, 5 five, 100 eight, 1000 once; empty: once",
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
        200_000_000,
        title="Shard",
        ge=1_000,
        le=1_000_000_000,
        description="Bytes of text a training shard; a worker needs about five times as much "
        "memory; 1 GB suits a corpus of terabytes",
    )
    seed: int = Field(1, title="Seed", ge=0, description="Of the order of documents")

    @field_validator("cutoffs")
    @classmethod
    def _one_cutoff_a_group(cls, cutoffs: list[QualityCutoff]) -> list[QualityCutoff]:
        names = [cutoff.group for cutoff in cutoffs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"groups {twice} have two cut-offs; give each one")
        return cutoffs
