"""Several endings of one training: each goes on from a checkpoint of it by another schedule.

In: the state of a checkpoint, a job that names it as ``branch_from``. Out: the state as if the
checkpoint were of that job. So one stable run of a wsd schedule gives the models of many budgets,
each for the price of its decay (Hägele et al. 2024, arXiv:2405.18392).
"""

from typing import Any

from model.job import PretrainData, TrainJob

ENDING = ("decay", "min_lr_ratio", "wsd_decay_ratio", "wsd_first_decay_step")
"""What of the optimizer's settings a branch may choose anew: nothing that shaped the past."""


def branched(state: dict[str, Any], job: TrainJob) -> dict[str, Any]:
    """The trainer's state with the job's ending, and sources that only the ending draws from."""
    optim = state["job"]["optim"] | {name: getattr(job.optim, name) for name in ENDING}
    assert isinstance(job.data, PretrainData)  # TrainJob sees to it
    unseen = dict.fromkeys(job.data.groups, 0)
    return state | {
        "job": state["job"] | {"optim": optim},
        "loader": {name: unseen | counts for name, counts in state["loader"].items()},
        "last_eval": {},
        "early_stop": {},
        "owes_evaluation": False,
    }
