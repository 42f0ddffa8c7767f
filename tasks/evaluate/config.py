"""What is measured of a model."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class NeedleOptions(BaseModel):
    """Facts hidden in long texts and asked for: does the model use all of its context?"""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Needles in a haystack")

    lengths: list[Annotated[int, Field(ge=1)]] = Field(
        default_factory=list,
        title="Lengths, tokens",
        description="Of the texts, each at most the model's context; empty: not asked",
    )
    depths: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        default=[0.0, 0.25, 0.5, 0.75, 1.0],
        min_length=1,
        title="Depths",
        description="Where the fact stands: 0 at the beginning of the text, 1 at its end",
    )
    questions: int = Field(
        10, ge=1, title="Questions", description="At each length and depth; they take a pass each"
    )


class EvaluateConfig(BaseModel):
    """Perplexity, multiple choice by likelihood, and free answers to held-out questions."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Evaluation")

    normalisation: Literal["sum", "bytes", "pmi"] = Field(
        "pmi",
        title="Multiple-choice score",
        description="Log-likelihood: summed, a byte, or less that of the answer unasked (PMI)",
    )
    max_questions: int = Field(
        600, ge=1, title="Multiple-choice questions", description="At most so many are asked"
    )
    max_answers: int = Field(
        200, ge=1, title="Free answers", description="Questions answered for the comparison"
    )
    max_new_tokens: int = Field(
        96, ge=1, title="Longest answer, tokens", description="Where a free answer is cut off"
    )
    temperature: float = Field(
        0.0, ge=0, le=2, title="Temperature", description="0 takes the likeliest token"
    )
    max_validation_tokens: int = Field(
        200_000,
        ge=1,
        title="Validation tokens",
        description="Of held-out text that bits per byte are measured on, at most; each group's "
        "part is as large as in all of it",
    )
    needle: NeedleOptions = NeedleOptions()
    seed: int = Field(
        0, ge=0, title="Seed", description="Of sampled answers and of the facts that are hidden"
    )

    def effective(self) -> dict[str, Any]:
        """What of it shapes the measurements: needles only where they are asked for."""
        ignored = set() if self.needle.lengths else {"needle"}
        return self.model_dump(mode="json", exclude=ignored)
