"""How two models' answers are compared."""

from pydantic import BaseModel, ConfigDict, Field


class CompareConfig(BaseModel):
    """A win is an answer closer to the reference by chrF (Popović 2015), as sacrebleu counts it."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Comparison")

    tie_margin: float = Field(
        0.5, ge=0, le=100, title="Tie margin", description="Closer than this in chrF is a draw"
    )
