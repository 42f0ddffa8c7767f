"""What a pretraining run is."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PretrainConfig(BaseModel):
    """Next-token training from nothing on a mixture of token shards."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Pretraining")

    model: Literal[
        "llama-demo",
        "llama-small",
        "llama-base",
        "modern-demo",
        "modern-small",
        "modern-base",
        "gpt2-demo",
        "gpt2-base",
        "lstm-demo",
        "lstm-small",
    ] = Field("llama-demo", title="Model", description="A named shape; see model/architectures.py")
    steps: int = Field(1_000, ge=1, title="Steps", description="Optimizer steps")
    batch_size: int = Field(16, ge=1, title="Batch size", description="Sequences in one step")
    micro_batch_size: int | None = Field(
        None, ge=1, title="Micro-batch size", description="Sequences in memory; empty: whole batch"
    )
    seq_len: int = Field(256, ge=8, title="Sequence length, tokens")
    lr: float = Field(2e-3, gt=0, le=1, title="Learning rate", description="The peak")
    min_lr_ratio: float = Field(
        0.1, ge=0, le=1, title="Final learning rate", description="As a share of the peak"
    )
    warmup_steps: int = Field(100, ge=0, title="Warm-up steps")
    decay: Literal["cosine", "linear", "wsd", "constant"] = Field("cosine", title="Decay")
    weight_decay: float = Field(0.1, ge=0, title="Weight decay")
    eval_every_steps: int = Field(200, ge=1, title="Evaluate every N steps")
    eval_batches: int = Field(20, ge=1, title="Batches an evaluation")
    seed: int = Field(0, ge=0, title="Seed")

    @property
    def train_tokens(self) -> int:
        """Tokens the run is trained on."""
        return self.steps * self.batch_size * self.seq_len
