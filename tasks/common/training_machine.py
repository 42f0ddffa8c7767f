"""How a machine trains: what no result depends on but by rounding, and so enters no fingerprint.

In: a form. Out: fields of the engine's job and of its start.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.options import ParallelConfig


class TrainingMachine(BaseModel):
    """How processes share a training, how it saves memory and time, and what it survives."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Training")

    max_restarts: int = Field(
        0,
        ge=0,
        title="Restarts",
        description="When a process dies, all begin again at the last checkpoint, so many times",
    )
    data: Literal["ddp", "fsdp"] = Field(
        "ddp",
        title="Processes hold",
        description="ddp: the model whole; fsdp: a part of it each, for models that fit no card",
    )
    replicas: int = Field(
        1, ge=1, title="Replicas", description="fsdp: groups of processes that hold a model each"
    )
    tensor: int = Field(
        1,
        ge=1,
        title="Tensor parallel",
        description="Processes that share every matrix; no samples are written then",
    )
    compile: bool = Field(
        False, title="Compile", description="Takes minutes at first, and trains faster on a GPU"
    )
    compile_scope: Literal["model", "blocks"] = Field(
        "model",
        title="Compiled as one",
        description="With Compile; blocks: in a fraction of the time, and runs a little slower",
    )
    activation_checkpointing: Literal["none", "selective", "full"] = Field(
        "none",
        title="Made again for backward",
        description="What of a forward pass is not kept, to save memory for time",
    )
    attention: Literal["auto", "sdpa", "flex", "varlen"] = Field(
        "auto", title="Attention kernel", description="auto: the fastest that this machine has"
    )
    checkpoint_every_seconds: float | None = Field(
        120.0, gt=0, title="Checkpoint every N seconds", description="Empty: only at the end"
    )
    threads: int | None = Field(
        None, ge=1, title="Threads", description="Of a CPU's arithmetic; empty: measured"
    )

    def job_fields(self) -> dict[str, Any]:
        """Fields of a ``TrainJob``."""
        fields = self.model_dump(exclude={"max_restarts", "data", "replicas", "tensor"})
        return fields | {"parallel": self._parallel()}

    def check_model(self, shape: dict[str, Any], *, is_finetuned: bool) -> None:
        """See that a model of ``shape``, a configuration of the engine's, can be trained so.

        Raises:
            ValueError: it cannot.
        """
        is_lstm = shape.get("architecture") == "lstm"
        for name, plain in (("data", "ddp"), ("tensor", 1), ("activation_checkpointing", "none")):
            if is_lstm and getattr(self, name) != plain:
                raise ValueError(
                    f"machine.training.{name}={getattr(self, name)} works on a transformer's "
                    f"blocks, and the model is an LSTM: use {plain}"
                )
        if self.tensor > 1 and is_finetuned:
            raise ValueError(
                f"machine.training.tensor={self.tensor} does not go with finetune; use data=fsdp"
            )
        for name in ("n_heads", "n_kv_heads", "mlp_width"):
            if shape.get(name, 0) % self.tensor:
                raise ValueError(
                    f"machine.training.tensor={self.tensor} must divide the model's {name}, "
                    f"{shape[name]}"
                )

    @model_validator(mode="after")
    def _settings_go_together(self) -> Self:
        self._parallel()
        if self.compile_scope != "model" and not self.compile:
            raise ValueError("compile_scope goes with compile=true")
        return self

    def _parallel(self) -> ParallelConfig:
        return ParallelConfig(data=self.data, replicas=self.replicas, tensor=self.tensor)
