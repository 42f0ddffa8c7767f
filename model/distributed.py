"""Several processes, one job: who this process is among them, and what they say to each other.

In: the variables that torchrun sets, a ``ParallelConfig``. Out: a ``Ranks`` that does nothing when
there is one process. The processes stand in a mesh of replicas × shards × tensor: those of one
tensor group read the same rows, all others rows of their own. How the model is laid out over the
mesh is ``parallel.py``'s.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from model.batches import TokenBatch
from model.options import ParallelConfig

DIMENSIONS = ("replica", "shard", "tensor")


class PeerFailedError(RuntimeError):
    """Another rank could not do its part, and its own error says why."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among its peers."""

    rank: int = 0
    world: int = 1
    mesh: DeviceMesh | None = None
    saving: dist.ProcessGroup | None = None
    """All of us, for what a thread says while the main thread trains."""
    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DIMENSIONS, 1))
    places: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DIMENSIONS, 0))
    """Our coordinates in the mesh."""

    @classmethod
    def join(cls, device: torch.device, config: ParallelConfig) -> "Ranks":
        """Meet the other processes, where torchrun has started any.

        Raises:
            ValueError: the configuration does not fit the number of processes.
        """
        world = int(os.environ.get("WORLD_SIZE", "1"))
        sizes = mesh_sizes(world, config)
        if world == 1:
            return cls()
        # gloo too where there are GPUs: counts and votes that the host waits for need no GPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        mesh = init_device_mesh(device.type, tuple(sizes.values()), mesh_dim_names=DIMENSIONS)
        return cls(
            rank=dist.get_rank(),
            world=world,
            mesh=mesh,
            saving=dist.new_group(backend="gloo"),
            sizes=sizes,
            places={name: mesh.get_local_rank(name) for name in DIMENSIONS},
        )

    def leave(self) -> None:
        """Say goodbye, so that nobody waits."""
        if self.world > 1:
            dist.destroy_process_group()

    @property
    def data_world(self) -> int:
        """In how many parts a batch is read."""
        return self.sizes["replica"] * self.sizes["shard"]

    @property
    def data_rank(self) -> int:
        """Which of the parts is ours."""
        return self.places["replica"] * self.sizes["shard"] + self.places["shard"]

    def group(self, dimension: str) -> dist.ProcessGroup:
        """The processes that differ from us in this coordinate alone."""
        assert self.mesh is not None
        return self.mesh.get_group(dimension)

    def share(self, batch: TokenBatch, rows_per_sample: int) -> TokenBatch:
        """Our rows of the batch; pairs stay together. May be empty."""
        samples = len(batch.lengths) // rows_per_sample
        parts, part = self.data_world, self.data_rank
        bounds = [samples * place // parts * rows_per_sample for place in (part, part + 1)]
        return batch if parts == 1 else batch.rows(*bounds)

    def add(self, tensors: Iterable[Tensor], *dimensions: str) -> None:
        """Replace each tensor by its sum over those dimensions of the mesh."""
        summed = [name for name in dimensions if self.sizes[name] > 1]
        for tensor in tensors if summed else ():
            for name in summed:
                dist.all_reduce(tensor, group=self.group(name))

    def anyone(self, *flags: bool, group: dist.ProcessGroup | None = None) -> list[bool]:
        """Whether any rank says so, of each question: what one does all must do at the same step,
        or some wait for ever."""
        if self.world == 1:
            return list(flags)
        votes = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(votes, dist.ReduceOp.MAX, group=group)
        return [vote > 0 for vote in votes.tolist()]

    def told_by_first(self, number: int) -> int:
        """What rank 0 says; so that all see the same where each could see its own."""
        if self.world == 1:
            return number
        told = torch.tensor(number)
        dist.broadcast(told, src=0)
        return int(told)

    @contextmanager
    def together(self, group: dist.ProcessGroup | None = None) -> Iterator[None]:
        """Nobody leaves this block before all have come to its end; all fail where one does."""
        error: Exception | None = None
        try:
            yield
        except Exception as caught:
            error = caught
        if any(self.anyone(error is not None, group=group)):
            raise error or PeerFailedError("another process could not do its part; see its error")

    def saving_together(self) -> AbstractContextManager[None]:
        """The same, for the thread that saves."""
        return self.together(self.saving)


def mesh_sizes(world: int, config: ParallelConfig) -> dict[str, int]:
    """How many processes stand along each dimension of the mesh.

    Raises:
        ValueError: they cannot be dealt out so.
    """
    if world % (config.tensor * config.replicas):
        raise ValueError(
            f"parallel: {world} processes cannot stand in groups of tensor = {config.tensor} times "
            f"replicas = {config.replicas}; start a multiple of {config.tensor * config.replicas}"
        )
    data = world // config.tensor
    replicas = data if config.data == "ddp" else config.replicas
    return {"replica": replicas, "shard": data // replicas, "tensor": config.tensor}
