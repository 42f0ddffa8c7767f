"""Carrying out what the guard says: an update that is not made, a way back, an end.

In: a trainer between a batch and its update, and a ``Trouble``. Out: the trainer a step further, or
at an earlier checkpoint; or a FloatingPointError. What is trouble is ``guard.py``'s to say.

A run with refusals is still a function of its job: batches are left out by number, whatever the
checkpoint that a rollback found, and what follows a batch that is left out is the same whether or
not it was looked at first.
"""

from typing import TYPE_CHECKING, NoReturn

import torch

from model.batches import TokenBatch, mix
from model.checkpoint import forget_checkpoints, latest_checkpoint
from model.guard import Trouble

if TYPE_CHECKING:
    from model.trainer import Trainer


def refuse(trainer: "Trainer", batch: TokenBatch, trouble: Trouble) -> bool:
    """Do what the guard says about a batch; whether the run is a step further.

    Raises:
        FloatingPointError: it says to stop, or has refused too many batches in a row.
    """
    if trouble.action == "stop":
        stop(trainer, trouble)
    if trouble.action == "skip":
        leave_out(trainer, batch, trouble.why)
    else:
        _roll_back(trainer, batch, trouble)
    if trouble.in_a_row >= trainer.job.guard.max_skips_in_a_row:
        if trouble.action == "skip":
            trainer.save()
        stop(trainer, trouble)
    return trouble.action == "skip"


def leave_out(trainer: "Trainer", batch: TokenBatch, why: str) -> None:
    """Count a batch of which no update is made."""
    trainer.optimizer.zero_grad(set_to_none=True)
    # What dropout draws next must not depend on whether this batch has drawn any.
    seed = mix(trainer.job.seed, trainer.step) >> 1  # seeds are signed
    torch.manual_seed(seed ^ trainer.ranks.data_rank)
    trainer.step += 1
    documents = trainer.loader.documents(batch)
    trainer.log("skipped", step=trainer.step, why=why, documents=documents)


def stop(trainer: "Trainer", trouble: Trouble) -> NoReturn:
    """End the run, naming the checkpoint to trust."""
    trainer.saver.wait()
    in_a_row = f", after {trouble.in_a_row} refused in a row" * (trouble.in_a_row > 1)
    raise FloatingPointError(
        f"at step {trouble.step} {trouble.why}; training stops{in_a_row}. Lower optim.lr or "
        "optim.clip_norm, or look at the data. Last good checkpoint: "
        f"{latest_checkpoint(trainer.checkpoints)}"
    )


def _roll_back(trainer: "Trainer", batch: TokenBatch, trouble: Trouble) -> None:
    """Go on from the newest checkpoint before the batches that are left out."""
    trainer.optimizer.zero_grad(set_to_none=True)
    first, decided = trainer.guard.roll_back(trouble)
    trainer.saver.wait()
    path = trainer.newest_checkpoint(first) or trainer.newest_checkpoint()
    if path is None:  # not even of step 0: somebody has deleted them
        stop(trainer, trouble)
    trainer.resume(path)
    trainer.guard.load_state_dict(trainer.guard.state_dict() | decided)
    with trainer.ranks.together():
        if trainer.ranks.rank == 0:
            forget_checkpoints(trainer.checkpoints, trainer.step)
    trainer.meter.pause()
    trainer.log(
        "rolled_back",
        step=trainer.step,
        from_step=trouble.step,
        why=trouble.why,
        documents=trainer.loader.documents(batch),
    )
