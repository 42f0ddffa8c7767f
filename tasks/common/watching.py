"""What is looked at while a model is trained: overfitting, and samples.

In: options of a training stage, and prompts to fall back on. Out: settings of the engine's job.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

NUM_QUESTIONS = 2
FROM_NOTHING = ("",)


class WatchOptions(BaseModel):
    """What is looked at while the model is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Watch")

    early_stop_patience: int | None = Field(
        None,
        ge=1,
        title="Patience, evaluations",
        description="Stop when so many evaluations in a row brought no lower held-out loss, and "
        "keep the best model; empty: train to the end and keep the last",
    )
    early_stop_min_delta: float = Field(
        0.0,
        ge=0,
        title="Least gain, nats",
        description="What the held-out loss must fall by to count as lower",
    )
    sample_prompts: list[str] = Field(
        [],
        title="Sample prompts",
        description="What the model continues, or answers, at every evaluation; empty: a document "
        "from nothing, or in fine-tuning the first held-out questions",
    )
    sample_tokens: int = Field(
        48, ge=0, le=1024, title="Sample length, tokens", description="0: no samples"
    )

    def effective(self) -> dict[str, Any]:
        """What of it shapes a result or its samples."""
        ignored = {"early_stop_min_delta"} if self.early_stop_patience is None else set()
        if not self.sample_tokens:
            ignored |= {"sample_prompts"}
        return self.model_dump(mode="json", exclude=ignored)


def watch_settings(options: WatchOptions, prompts: Sequence[str]) -> dict[str, Any]:
    """Fields of a ``TrainJob``; ``prompts`` are taken where the options name none."""
    return {
        "early_stop_patience": options.early_stop_patience,
        "early_stop_min_delta": options.early_stop_min_delta,
        "sample_prompts": list(options.sample_prompts or prompts) if options.sample_tokens else [],
        "sample_tokens": max(1, options.sample_tokens),
    }


def first_questions(conversations: Iterable[Mapping[str, Any]], field: str) -> list[str]:
    """What the first records ask that begin with a user's message, in ``record[field]``."""
    firsts = (record[field][0] for record in conversations if record[field])
    asked = (message["content"] for message in firsts if message["role"] == "user")
    return [question for question, _ in zip(asked, range(NUM_QUESTIONS), strict=False)]
