"""What supervised fine-tuning is."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.common import training_form as form
from tasks.common.finetune import FinetuneParams
from tasks.common.robustness import RobustnessConfig
from tasks.common.watching import WatchOptions


class SftConfig(BaseModel):
    """Training on what the assistant says in conversations, and on nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Supervised fine-tuning")

    steps: int = Field(400, ge=1, title="Steps", description="Optimizer steps")
    batch_size: int = Field(32, ge=1, title="Batch size", description="Conversations in one step")
    micro_batch_size: int | None = Field(
        None, ge=1, title="Micro-batch size", description=form.MICRO_BATCH_TEXT
    )
    max_tokens: int = Field(
        256, ge=8, title="Longest conversation, tokens", description="Longer ones are left out"
    )
    lr: float = Field(5e-4, gt=0, le=1, title="Learning rate", description="The peak")
    warmup_steps: int = Field(20, ge=0, title="Warm-up steps", description=form.WARMUP_TEXT)
    weight_decay: float = Field(0.0, ge=0, title="Weight decay", description=form.WEIGHT_DECAY_TEXT)
    finetune: FinetuneParams = FinetuneParams()
    eval_every_steps: int = Field(
        100, ge=1, title="Evaluate every N steps", description=form.EVAL_EVERY_TEXT
    )
    eval_batches: int = Field(
        10, ge=1, title="Batches an evaluation", description=form.EVAL_BATCHES_TEXT
    )
    watch: WatchOptions = WatchOptions()
    seed: int = Field(0, ge=0, title="Seed", description=form.SEED_TEXT)
    robustness: RobustnessConfig = RobustnessConfig()
    precision: form.Precision = Field(
        "auto", title=form.PRECISION_TITLE, description=form.PRECISION_TEXT
    )

    @model_validator(mode="after")
    def _settings_go_together(self) -> Self:
        form.check_training(self)
        return self
