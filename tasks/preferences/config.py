"""Where preference pairs come from, and how they are sampled."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PreferencesConfig(BaseModel):
    """Pairs of the model's own answers, the better over the worse by closeness to the reference.

    On-policy pairs as in Tajwar et al. 2024 (arXiv:2404.14367): what the model itself says badly is
    what it has to unlearn.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Preference pairs")

    origin: Literal["sampled", "given"] = Field(
        "sampled",
        title="Origin",
        description="sampled: judged answers of the instructed model; given: the user's files",
    )
    max_prompts: int = Field(1_500, ge=1, title="Prompts", description="At most so many are asked")
    samples_per_prompt: int = Field(4, ge=2, le=64, title="Answers a prompt")
    temperature: float = Field(0.8, gt=0, le=2, title="Temperature")
    max_new_tokens: int = Field(64, ge=1, title="Longest answer, tokens")
    min_margin: float = Field(
        4.0, ge=0, le=100, title="Least margin", description="In chrF; closer pairs are left out"
    )
    reference_share: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Reference as chosen",
        description="Share of pairs whose better answer is the reference itself",
    )
    seed: int = Field(0, ge=0, title="Seed")
