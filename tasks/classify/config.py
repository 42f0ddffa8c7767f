"""What a user may do with scores."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ClassifyConfig(BaseModel):
    """Which documents their scores set aside; by default none."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Classify")

    min_quality_score: float = Field(
        0.0,
        title="Least quality score",
        ge=0,
        le=1,
        description="0 to 1, points divided by 5; prose of other than the reference sources "
        "below it is set aside",
    )
    drop_lowest_share: float = Field(
        0.0,
        title="Worst share",
        ge=0,
        lt=1,
        description="Share of the other sources' prose, the worst scored, that is set aside",
    )
    worst_share_of: Literal["all", "language", "domain", "source"] = Field(
        "all",
        title="Worst share of",
        description="Of all together, or of each language, subject or source apart",
    )
    pareto_alpha: float | None = Field(
        None,
        title="Pareto alpha",
        gt=0,
        description="GPT-3's keep: a score goes with its own chance, high ones more often; 9 there",
    )
    max_toxicity_score: float | None = Field(
        None, title="Highest toxicity score", ge=0, le=1, description="0 to 1; what is above it is"
    )
    toxicity_action: Literal["tag", "drop"] = Field(
        "tag", title="What is above it", description="tag: marked as toxic; drop: set aside"
    )
