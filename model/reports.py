"""What a run says of its beginning and of its steps.

In: a trainer. Out: lines of its log. Losses are read here, which a GPU is waited for.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from model.trainer import Trainer


def start(trainer: "Trainer") -> None:
    """What is to be done, of what, with what."""
    trainer.log(
        "start",
        step=trainer.step,
        steps=trainer.job.steps,
        objective=trainer.job.objective,
        num_parameters=trainer.parallel.num_parameters,
        device=str(trainer.device),
        threads=torch.get_num_threads(),
        processes=trainer.ranks.world,
        records_too_long=trainer.num_too_long,
        training_flops_per_token=trainer.meter.flops.of(1, 1),
        peak_flops_per_second=trainer.meter.peak,
    )


def step(trainer: "Trainer", lr: float, means: dict[str, Tensor], grad_norm: Tensor) -> None:
    """The step that has been made, and how fast."""
    trainer.log(
        "step",
        step=trainer.step,
        steps=trainer.job.steps,
        lr=lr,
        grad_norm=float(grad_norm),
        **{name: float(value) for name, value in means.items()},
        tokens=sum(trainer.loader.tokens().values()),
        **trainer.meter.look(trainer.job.steps - trainer.step, trainer.device),
        **trainer.compute.recompiles(),
    )
