"""What a training stage does when losses go wrong, and whether it averages weights: the form."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from model.options import GuardConfig


class RobustnessConfig(BaseModel):
    """Losses that are not finite or leap, and an average of the weights over time."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Robustness")

    on_nonfinite: Literal["stop", "skip", "rollback"] = Field(
        "stop",
        title="When a loss is not finite",
        description="skip makes no update of that batch; rollback returns to a checkpoint and goes "
        "on without it and the batches just before it",
    )
    on_spike: Literal["ignore", "stop", "skip", "rollback"] = Field(
        "ignore",
        title="When a loss or gradient leaps",
        description="What to do; the documents of batches that are left out are in the log",
    )
    spike_sigmas: float = Field(
        6.0,
        gt=0,
        title="A leap, standard deviations",
        description="Above the mean of the last steps, by loss or by gradient norm",
    )
    window_steps: int = Field(
        128, ge=2, title="Compared with the last N steps", description="Half of them come first"
    )
    rollback_batches: int = Field(
        16, ge=1, title="Batches that a rollback leaves out", description="The bad one included"
    )
    max_skips_in_a_row: int = Field(
        5, ge=1, title="Bad batches in a row", description="So many end the run with an error"
    )
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        title="Moving average of the weights",
        description="Its decay, such as 0.999; the average becomes the model. Empty: none",
    )

    def effective(self) -> dict[str, Any]:
        """What of it shapes a result: nothing where every batch is taken and nothing averaged."""
        guard: GuardConfig = self.job_fields()["guard"]
        heeded: set[str] = set()
        if guard.may_refuse:
            heeded |= {"on_nonfinite", "on_spike", "max_skips_in_a_row"}
        if self.on_spike != "ignore":
            heeded |= {"spike_sigmas", "window_steps"}
        if self.may_roll_back:
            heeded |= {"rollback_batches"}
        if self.ema_decay is not None:
            heeded |= {"ema_decay"}
        return self.model_dump(mode="json", include=heeded)

    @property
    def may_roll_back(self) -> bool:
        """Whether training may return to an earlier checkpoint."""
        return "rollback" in (self.on_nonfinite, self.on_spike)

    def job_fields(self) -> dict[str, Any]:
        """The fields of a ``TrainJob`` that this decides."""
        fields = self.model_dump()
        return {"ema_decay": fields.pop("ema_decay"), "guard": GuardConfig(**fields)}
