"""What the forms of the training stages have in common: rules, and what enters an identity.

In: the configuration of pretrain, sft or dpo. Out: a ValueError for settings that cannot go
together, or the values that shape the result.
"""

from typing import Any, Literal

Precision = Literal["auto", "fp32", "bf16", "fp8"]
PRECISION_TITLE = "Precision"
PRECISION_TEXT = (
    "Of matrix products; weights are kept in 32 bits. auto: bf16 on a GPU, fp32 on a CPU. fp8: the "
    "blocks' products, on cards that have it, the rest as bf16"
)
MICRO_BATCH_TEXT = "Examples in memory at once; empty: the whole batch"
WARMUP_TEXT = "In which the rate rises to its peak"
WEIGHT_DECAY_TEXT = "What matrices lose in a step, as a share times the learning rate"
EVAL_EVERY_TEXT = "How often the held-out loss is measured; samples are written then too"
EVAL_BATCHES_TEXT = "Held-out batches that are read each time, always the same ones"
SEED_TEXT = "Of all that is random: another seed is another run of the same settings"


def check_training(config: Any) -> None:
    """Refuse what the engine would refuse once all that comes before has been made.

    Raises:
        ValueError: two settings that cannot go together.
    """
    if config.warmup_steps >= config.steps:
        raise ValueError(
            f"warmup_steps = {config.warmup_steps} is not below steps = {config.steps}, so that "
            "the learning rate would never reach its peak: lower warmup_steps, or raise steps"
        )
    if config.watch.early_stop_patience is not None and config.robustness.may_roll_back:
        raise ValueError(
            "watch.early_stop_patience does not go with a rollback, which may return to before "
            "the best model: set robustness.on_nonfinite or on_spike to skip, or leave "
            "early_stop_patience empty"
        )


def training_identity(config: Any) -> dict[str, Any]:
    """The values of a training stage's form that shape its result, off settings left out."""
    groups = {"robustness", "watch", "precision"}
    values: dict[str, Any] = config.model_dump(mode="json", exclude=groups)
    values["watch"] = config.watch.effective()
    if heeded := config.robustness.effective():
        values["robustness"] = heeded
    if config.precision != "auto":
        values["precision"] = config.precision
    return values
