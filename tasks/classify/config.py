"""What a user may say about classification."""

from pydantic import BaseModel, ConfigDict, Field


class ClassifyConfig(BaseModel):
    """How subjects and quality are learned from the documents themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Classify")

    domain: bool = Field(
        True,
        title="Subjects",
        description="Learn subjects from sources that have one, name the others'",
    )
    quality_reference_sources: list[str] = Field(
        default_factory=list,
        title="Reference sources",
        description="Sources whose prose is what good looks like; none: no quality scores",
    )
    min_quality_score: float = Field(
        0.0,
        title="Least quality score",
        ge=0,
        le=1,
        description="Probability; prose of other sources below it is set aside",
    )
    drop_lowest_share: float = Field(
        0.0,
        title="Worst share",
        ge=0,
        lt=1,
        description="Share of the other sources' prose, the worst scored, that is set aside",
    )
    max_training_documents: int = Field(
        50_000, title="Most training documents", ge=10, description="Documents a class"
    )
    dimensions: int = Field(16, title="Vector width", ge=2, le=300, description="Of fastText")
    buckets: int = Field(
        100_000, title="Word-pair buckets", ge=1_000, le=2_000_000, description="Of fastText"
    )
    epochs: int = Field(
        10, title="Epochs", ge=1, le=100, description="Passes over the training set"
    )
    learning_rate: float = Field(0.5, title="Learning rate", gt=0, le=5, description="Of fastText")
