"""What the final report shows."""

from pydantic import BaseModel, ConfigDict, Field


class ReportConfig(BaseModel):
    """How much of each thing to show."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Report")

    num_dropped_samples: int = Field(
        12, ge=0, le=200, title="Dropped documents shown", description="Spread over the reasons"
    )
    num_answer_samples: int = Field(
        8, ge=0, le=200, title="Answers shown", description="Before and after each training"
    )
