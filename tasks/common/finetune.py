"""The settings of fine-tuning a few parameters beside a frozen model, for the stages that do it."""

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from model.options import FinetuneConfig
from tasks.common.training_form import training_identity

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class FinetuneParams(BaseModel):
    """All parameters, or few: LoRA (arXiv:2106.09685) and its kin train about a hundredth."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="What is trained")

    method: Literal["none", "lora", "qlora", "bitfit", "adapter", "prefix"] = Field(
        "none",
        title="Method",
        description=(
            "none: every parameter. lora; qlora: lora beside a model kept in four bits; bitfit: "
            "biases alone. These give an ordinary checkpoint. adapter and prefix stay beside the "
            "model: it can be evaluated, but not trained on. Few parameters want a learning rate "
            "about ten times higher"
        ),
    )
    rank: int = Field(
        8, ge=1, le=1024, title="Rank", description="lora: of the two factors; adapter: its width"
    )
    alpha: float = Field(
        16.0, gt=0, le=4096, title="Alpha", description="lora: changes are multiplied by alpha/rank"
    )
    dropout: float = Field(
        0.0, ge=0, lt=1, title="Dropout", description="lora: share of its inputs that are left out"
    )
    targets: list[Projection] = Field(
        list(get_args(Projection)),
        min_length=1,
        title="Projections",
        description="lora: the matrices that get one, in transformers' names",
    )
    prefix_tokens: int = Field(
        16, ge=1, le=1024, title="Prefix, tokens", description="prefix: learned positions"
    )

    def as_job(self) -> FinetuneConfig | None:
        """As the engine has it."""
        if self.method == "none":
            return None
        return FinetuneConfig(
            method="lora" if self.method == "qlora" else self.method,
            base="nf4" if self.method == "qlora" else "full",
            rank=self.rank,
            alpha=self.alpha,
            dropout=self.dropout,
            targets=tuple(self.targets),
            prefix_tokens=self.prefix_tokens,
        )

    @property
    def can_be_trained_on(self) -> bool:
        """Whether what comes out is a checkpoint that training takes."""
        return self.method not in ("adapter", "prefix")


def identity(config: Any) -> dict[str, Any]:
    """What shapes the result of a stage whose configuration has a ``finetune``: nothing of that
    where every parameter is trained."""
    values = training_identity(config)
    del values["finetune"]
    settings = config.finetune.as_job()
    return values | ({"finetune": settings.to_json_dict()} if settings else {})
