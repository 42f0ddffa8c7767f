"""One model on many processes: how it is laid out over the mesh, and what a step does about it.

In: a model, whole and the same on every rank, a criterion, ``Ranks``. Out: the model cut and dealt
out as the job says (data parallel, fully sharded, tensor parallel, or a mixture), its loss as one
module, and gradients that are the sums over all rows wherever they were read. The trainer asks the
same things of it with one process, where most answers are nothing.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.batches import TokenBatch
from model.distributed import Ranks
from model.gradient_sum import GradientSum
from model.language_model import LanguageModel
from model.lstm import Lstm
from model.objectives.base import Criterion
from model.pieces import Cut, held, places_of
from model.tensor_parallel import TensorGroup, TensorLayout, split_over_ranks

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule


T = TypeVar("T")


class Within(nn.Module):
    """A module to use a model in: sharded parameters are put together at a module's door, and the
    head, for one, is used outside of the model's own ``forward``."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, use: Callable[[LanguageModel], T]) -> T:
        """What ``use`` makes of the model."""
        return use(self.model)


class ParallelModel:
    """A model as its ranks share it."""

    def __init__(
        self,
        model: LanguageModel,
        criterion: Criterion,
        ranks: Ranks,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Changes ``model`` in place and takes it to ``device``; blocks compute in ``dtype``.

        Raises:
            ValueError: the model cannot be laid out over this mesh.
        """
        self.ranks, self.model, self.criterion = ranks, model, criterion
        self.num_parameters = model.num_parameters()
        self._tensor: TensorLayout | None = None
        self._sum: GradientSum | None = None
        if ranks.sizes["tensor"] > 1:
            self._tensor = split_over_ranks(model, tensor_group(ranks))
        self._held = {name: tuple(p.shape) for name, p in model.named_parameters()}
        self._within = Within(model)
        self.is_sharded = ranks.sizes["shard"] > 1
        if self.is_sharded:
            _shard(self._within, ranks, dtype)
        self.model.to(device)
        if ranks.sizes["replica"] > 1 and not self.is_sharded:
            self._sum = GradientSum(model.parameters(), ranks.group("replica"))

    def run(self, use: Callable[[LanguageModel], T]) -> T:
        """What ``use`` makes of the model; on all ranks, which may hold it in pieces."""
        used: T = self._within(use)
        return used

    def come_apart(self) -> None:
        """After a use without a backward pass: what was put together is in pieces again."""
        if self.is_sharded:
            cast("FSDPModule", self._within).reshard()

    # --- one step --------------------------------------------------------------------------------

    def sums(self, batch: TokenBatch) -> dict[str, Tensor]:
        """The criterion's, of these rows."""
        return self.run(lambda model: self.criterion.sums(model, batch))

    def micro_batches(
        self, batch: TokenBatch, rows_per_sample: int, rows: int
    ) -> list[tuple[TokenBatch, float]]:
        """Our rows of the batch, ``rows`` at a time, and how much each counts.

        Sharded parameters are put together by all ranks at once, so all must read equally many
        micro-batches: those with fewer rows read some that count nothing.
        """
        own = [(micro, 1.0) for micro in self.ranks.share(batch, rows_per_sample).split(rows)]
        if not self.is_sharded:
            return own
        samples = len(batch.lengths) // rows_per_sample
        largest = math.ceil(samples / self.ranks.data_world) * rows_per_sample
        missing = math.ceil(largest / rows) - len(own)
        return own + [(batch.rows(0, rows_per_sample), 0.0)] * missing

    def begin_backward(self, *, is_last: bool) -> None:
        """Gradients travel once a step: in its last backward pass."""
        if self.is_sharded:
            cast("FSDPModule", self._within).set_requires_gradient_sync(is_last)
        elif self._sum and is_last:
            self._sum.begin_last()

    def sum_gradients(self) -> None:
        """Leave in every gradient the sum over all ranks."""
        if self._sum:
            self._sum.finish()
        if self._tensor:
            for name, parameter in self.model.named_parameters():
                if name in self._tensor.summed and parameter.grad is not None:
                    self.ranks.add([held(parameter.grad)], "tensor")

    @torch.no_grad()
    def clip(self, max_norm: float) -> Tensor:
        """Scale the gradient down to ``max_norm``; gives back its norm before, over all ranks."""
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        if not self.is_sharded and not self._tensor:
            norm: Tensor = torch.nn.utils.clip_grad_norm_(parameters, max_norm, foreach=True)
            return norm
        gradients = [held(p.grad) for p in parameters if p.grad is not None]
        norm = self._norm()
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def _norm(self) -> Tensor:
        """Of the gradient as one vector, each of its numbers counted once."""
        dealt_out = self._tensor.cuts if self._tensor else {}
        squares = {True: [], False: []}  # type: dict[bool, list[Tensor]]
        for name, parameter in self.model.named_parameters():
            if parameter.grad is not None:
                square = torch.linalg.vector_norm(held(parameter.grad)).square()
                squares[name in dealt_out].append(square)
        own, common = (
            torch.stack(found).sum() if found else torch.zeros(()) for found in squares.values()
        )
        total = own.to(common.device)
        self.ranks.add([total], "tensor")
        total += common
        self.ranks.add([total], "shard")
        return total.sqrt()

    # --- who holds what --------------------------------------------------------------------------

    @property
    def is_whole(self) -> bool:
        """Whether this process holds all of the model."""
        return not self.is_sharded and not self._tensor

    def cuts(self) -> dict[str, Cut]:
        """For every parameter, what of it we hold, and whether it is ours to write."""
        return {name: self._cut(name) for name in self._held}

    def _cut(self, name: str) -> Cut:
        places = self.ranks.places
        is_first = not places["replica"] and not places["tensor"]
        if self._tensor and name in self._tensor.cuts:
            cut = self._tensor.cuts[name][places["tensor"]]
            is_first = not places["replica"]
        else:
            cut = Cut.nothing_cut(self._held[name])
        if self.is_sharded:
            bounds = row_bounds(self._held[name][0], self.ranks.sizes["shard"])
            cut = cut.rows(*bounds[places["shard"]])
        return replace(cut, is_ours_to_write=is_first)

    @torch.no_grad()
    def gather_into(self, whole: LanguageModel | None) -> None:
        """Fill rank 0's ``whole``, a model as this one began, one parameter after another; the
        others have none, and give what they hold."""
        for name, parameter in self.model.named_parameters():
            cut = self._cut(name)
            full = torch.zeros(cut.shape, dtype=parameter.dtype)
            if cut.is_ours_to_write:
                for region, here in cut.regions():
                    full[places_of(region)] = held(parameter)[here].cpu()
            dist.reduce(full, dst=0)
            if whole is not None:
                whole.get_parameter(name).copy_(full)

    def tensor_cuts(self) -> Mapping[str, tuple[Cut, ...]]:
        """For each parameter that is dealt out over the tensor group, what every rank of it gets,
        before sharding."""
        return self._tensor.cuts if self._tensor else {}


def tensor_group(ranks: Ranks) -> TensorGroup:
    """The ranks that share matrices with this one."""
    return TensorGroup(ranks.group("tensor"), ranks.places["tensor"], ranks.sizes["tensor"])


def row_bounds(num_rows: int, parts: int) -> list[tuple[int, int]]:
    """How rows are dealt out to shards: equally, and what is missing is missing at the end."""
    each = math.ceil(num_rows / parts)
    return [
        (min(num_rows, place * each), min(num_rows, (place + 1) * each)) for place in range(parts)
    ]


def _shard(within: Within, ranks: Ranks, dtype: torch.dtype) -> None:
    """A block at a time, and the rest together: FSDP2 (Zhao et al. 2023, arXiv:2304.11277)."""
    # Half a second to import, which one process need not pay.
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    assert ranks.mesh is not None
    if isinstance(within.model, Lstm):
        raise ValueError("parallel.data = fsdp cuts blocks up, and an lstm has none; use ddp")
    names = ("replica", "shard") if ranks.sizes["replica"] > 1 else ("shard",)
    mesh = ranks.mesh[names]
    # Blocks travel in the type that they compute in, as autocast would have them do; what is read
    # outside of the blocks (embedding, head) keeps the type in which its gradient is summed.
    as_they_are = MixedPrecisionPolicy(cast_forward_inputs=False)
    of_blocks = as_they_are
    if dtype != torch.float32:
        of_blocks = MixedPrecisionPolicy(
            param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
    for block in within.model.get_submodule("blocks").children():
        fully_shard(block, mesh=mesh, mp_policy=of_blocks)
    fully_shard(within, mesh=mesh, mp_policy=as_they_are)
    for module in within.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
