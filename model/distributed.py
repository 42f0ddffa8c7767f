"""Several processes, one step: every rank reads the same batch, takes its rows, adds gradients.

In: the variables that torchrun sets. Out: a ``Ranks`` that does nothing when there is one process.
Gradients are summed, never averaged: losses are already divided by the global count.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from model.batches import TokenBatch


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among its peers."""

    rank: int = 0
    world: int = 1

    @classmethod
    def join(cls, device: torch.device) -> "Ranks":
        """Meet the other processes, where torchrun has started any."""
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world == 1:
            return cls()
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(rank=dist.get_rank(), world=world)

    def leave(self) -> None:
        """Say goodbye, so that nobody waits."""
        if self.world > 1:
            dist.destroy_process_group()

    def share(self, batch: TokenBatch, rows_per_sample: int) -> TokenBatch:
        """This rank's rows of the batch; pairs stay together. May be empty."""
        samples = len(batch.lengths) // rows_per_sample
        bounds = [samples * r // self.world * rows_per_sample for r in (self.rank, self.rank + 1)]
        return batch if self.world == 1 else batch.rows(*bounds)

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the ranks."""
        if self.world > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def anyone(self, flag: bool, device: torch.device) -> bool:
        """Whether any rank says so: all must stop at the same step, or some wait for ever."""
        if self.world == 1:
            return flag
        votes = torch.tensor(float(flag), device=device)
        dist.all_reduce(votes)
        return bool(votes.item() > 0)
