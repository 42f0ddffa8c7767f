"""What a pretraining run is."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from model.architectures import PRESETS
from model.options import has_own_optimizer
from tasks.common import training_form as form
from tasks.common.robustness import RobustnessConfig
from tasks.common.watching import WatchOptions

NEAR_SHARE = 0.01  # of the steps: a decay that begins so near a phase begins with it
MODELS = [name for name, own in PRESETS.items() if own.get("architecture") != "encoder"]
"""The shapes that learn to foretell the next token."""


def _is_known(name: str) -> str:
    if name not in MODELS:
        raise ValueError(f"there is no model {name!r}; known: {', '.join(MODELS)}")
    return name


class OptimizerOptions(BaseModel):
    """How weights move. The learning rate and its schedule are beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Optimizer")

    kind: Literal["adamw", "muon", "as-tuned"] = Field(
        "adamw",
        title="Kind",
        description="muon: for the matrices inside the model, AdamW for the rest. as-tuned: what "
        "the modern-* models were tuned with, learning rate, decay, weight decay and betas "
        "included; those fields are not read then",
    )
    beta1: float = Field(0.9, ge=0, lt=1, title="Beta 1", description="AdamW's momentum")
    beta2: float = Field(0.95, ge=0, lt=1, title="Beta 2", description="AdamW's, of squares")
    eps: float = Field(1e-8, gt=0, le=1e-3, title="Epsilon", description="AdamW's")
    clip_norm: float = Field(
        1.0, gt=0, title="Largest gradient norm", description="Longer gradients are shortened"
    )
    muon_momentum: float = Field(
        0.95, ge=0, lt=1, title="Muon's momentum", description="Of the steps before, in each one"
    )
    adamw_lr_ratio: float = Field(
        1.0,
        gt=0,
        le=100,
        title="AdamW's learning rate beside Muon",
        description="As a share of the learning rate",
    )
    width_base: int | None = Field(
        None,
        ge=1,
        title="Width the rate was tuned at",
        description="Of a narrower model; weights begin and move so that its best learning rate "
        "holds (µP); empty: the rate is taken as it is",
    )

    def effective(self) -> dict[str, Any]:
        """What of it is heeded."""
        muon_only = {"muon_momentum", "adamw_lr_ratio"}
        ignored = {
            "adamw": muon_only,
            "muon": set(),
            "as-tuned": muon_only | {"beta1", "beta2", "eps"},
        }[self.kind]
        return self.model_dump(mode="json", exclude=ignored)


class LossOptions(BaseModel):
    """What is made small."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Loss")

    document_mask: bool = Field(
        True,
        title="Documents apart",
        description="Documents packed into one row do not see each other",
    )
    z_loss: float = Field(
        0.0, ge=0, le=1, title="Z-loss", description="1e-4 is usual where logits grow; 0: none"
    )


class StartOptions(BaseModel):
    """A model to train on from; with none, training begins from nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Start from a model")

    checkpoint: str = Field(
        "",
        title="Artifact",
        pattern=r"^((pretrain|sft|dpo)/[0-9a-f]+)?$",
        description="A model of the store, such as pretrain/0123456789abcdef; its tokenizer is "
        "used, and its shape in place of Model",
    )
    folder: str = Field(
        "",
        title="Folder",
        description="Or a checkpoint of your own, such as `bloomery import-hf` writes",
    )
    warmup_from: float | None = Field(
        None,
        ge=0,
        le=1,
        title="Warm-up begins at",
        description="Share of the peak rate; empty: the final learning rate, which is where the "
        "model's own training ended",
    )
    positions: Literal["as-trained", "yarn", "linear", "llama3", "theta"] = Field(
        "as-trained",
        title="Longer context",
        description="How rotary positions are stretched where the sequence length exceeds the "
        "model's context",
    )
    rope_theta: float | None = Field(
        None,
        gt=0,
        title="New base of positions",
        description="With theta; empty: as much larger as the longer context needs",
    )

    @property
    def is_given(self) -> bool:
        """Whether there is a model to train on from."""
        return bool(self.checkpoint or self.folder)

    @model_validator(mode="after")
    def _one_model(self) -> "StartOptions":
        if self.checkpoint and self.folder:
            raise ValueError("give start.checkpoint or start.folder, not both")
        if self.rope_theta is not None and self.positions != "theta":
            raise ValueError("rope_theta goes with positions = theta")
        if not self.is_given and (self.positions != "as-trained" or self.warmup_from is not None):
            name = "positions" if self.positions != "as-trained" else "warmup_from"
            raise ValueError(
                f"start.{name} is of a model to train on: name one in start.checkpoint or "
                f"start.folder, or leave {name} out"
            )
        return self


class PretrainConfig(BaseModel):
    """Next-token training on a mixture of token shards, from nothing or from a model."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Pretraining")

    model: Annotated[str, AfterValidator(_is_known)] = Field(
        "llama-demo",
        title="Model",
        description="A named shape; see model/architectures.py. modern-* and lstm-* cannot be "
        "exported to transformers",
        json_schema_extra={"enum": MODELS},  # type: ignore[dict-item]
    )
    steps: int = Field(1_000, ge=1, title="Steps", description="Optimizer steps")
    batch_size: int = Field(16, ge=1, title="Batch size", description="Sequences in one step")
    micro_batch_size: int | None = Field(
        None, ge=1, title="Micro-batch size", description=form.MICRO_BATCH_TEXT
    )
    seq_len: int = Field(
        256,
        ge=8,
        title="Sequence length, tokens",
        description="Of the texts in training; it becomes the model's context",
    )
    lr: float = Field(2e-3, gt=0, le=1, title="Learning rate", description="The peak")
    min_lr_ratio: float = Field(
        0.1, ge=0, le=1, title="Final learning rate", description="As a share of the peak"
    )
    warmup_steps: int = Field(100, ge=0, title="Warm-up steps", description=form.WARMUP_TEXT)
    decay: Literal["cosine", "linear", "wsd", "constant"] = Field(
        "cosine", title="Decay", description="wsd: stays at the peak, and falls at the end"
    )
    decay_share: float | None = Field(
        None,
        gt=0,
        le=1,
        title="Share of decay",
        description="wsd: of the steps, at the end, in which the rate falls; empty: the "
        "mixture's later phases, or a fifth where it has none",
    )
    weight_decay: float = Field(0.1, ge=0, title="Weight decay", description=form.WEIGHT_DECAY_TEXT)
    optimizer: OptimizerOptions = OptimizerOptions()
    loss: LossOptions = LossOptions()
    start: StartOptions = StartOptions()
    eval_every_steps: int = Field(
        200, ge=1, title="Evaluate every N steps", description=form.EVAL_EVERY_TEXT
    )
    eval_batches: int = Field(
        20, ge=1, title="Batches an evaluation", description=form.EVAL_BATCHES_TEXT
    )
    watch: WatchOptions = WatchOptions()
    seed: int = Field(0, ge=0, title="Seed", description=form.SEED_TEXT)
    robustness: RobustnessConfig = RobustnessConfig()
    precision: form.Precision = Field(
        "auto", title=form.PRECISION_TITLE, description=form.PRECISION_TEXT
    )

    @property
    def train_tokens(self) -> int:
        """Tokens the run is trained on."""
        return self.steps * self.batch_size * self.seq_len

    @property
    def is_lstm(self) -> bool:
        """Whether an LSTM is trained, from nothing."""
        own = PRESETS[self.model].get("architecture") == "lstm"
        return own and not self.start.is_given

    @property
    def latest_decay_step(self) -> int:
        """With which a rate with a ``decay_share`` begins to fall, at the latest."""
        own = self.steps - max(1, round((self.decay_share or 0) * self.steps))
        return own + round(NEAR_SHARE * self.steps)

    @model_validator(mode="after")
    def _settings_go_together(self) -> "PretrainConfig":
        form.check_training(self)
        if self.optimizer.width_base is not None:
            if self.start.is_given:
                raise ValueError(
                    "optimizer.width_base shapes a model that begins from nothing; one to train on "
                    "has its own: leave it empty"
                )
            if self.is_lstm:
                raise ValueError("optimizer.width_base is for transformers; leave it empty")
        if self.optimizer.kind == "as-tuned":
            if self.start.is_given or not has_own_optimizer(self.model):
                raise ValueError(
                    "optimizer.kind = as-tuned goes with a modern-* model that is trained from "
                    f"nothing, not with {self.model}: choose adamw or muon"
                )
            if self.decay == "wsd":
                raise ValueError("optimizer.kind = as-tuned has a decay of its own: not wsd")
        if self.decay_share is not None and self.decay != "wsd":
            raise ValueError(f"decay_share goes with decay = wsd, not with {self.decay}")
        if self.decay_share is not None and self.latest_decay_step < self.warmup_steps:
            raise ValueError(
                f"decay_share = {self.decay_share:g} begins in the warm-up of {self.warmup_steps} "
                "steps: lower it, or warmup_steps"
            )
        return self
