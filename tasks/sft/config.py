"""What supervised fine-tuning is."""

from pydantic import BaseModel, ConfigDict, Field

from tasks.common.finetune import FinetuneParams
from tasks.common.robustness import RobustnessConfig
from tasks.common.watching import WatchOptions


class SftConfig(BaseModel):
    """Training on what the assistant says in conversations, and on nothing else."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Supervised fine-tuning")

    steps: int = Field(400, ge=1, title="Steps", description="Optimizer steps")
    batch_size: int = Field(32, ge=1, title="Batch size", description="Conversations in one step")
    micro_batch_size: int | None = Field(None, ge=1, title="Micro-batch size")
    max_tokens: int = Field(
        256, ge=8, title="Longest conversation, tokens", description="Longer ones are left out"
    )
    lr: float = Field(5e-4, gt=0, le=1, title="Learning rate")
    warmup_steps: int = Field(20, ge=0, title="Warm-up steps")
    weight_decay: float = Field(0.0, ge=0, title="Weight decay")
    finetune: FinetuneParams = FinetuneParams()
    eval_every_steps: int = Field(100, ge=1, title="Evaluate every N steps")
    eval_batches: int = Field(10, ge=1, title="Batches an evaluation")
    watch: WatchOptions = WatchOptions()
    seed: int = Field(0, ge=0, title="Seed")
    robustness: RobustnessConfig = Field(default_factory=RobustnessConfig)
