"""Muon where no rank holds whole matrices, or all hold the same: each rank works on some of them.

In: the parts of matrices that this rank holds. Out: the same parts of the matrices made orthogonal.
Of k equal matrices each of n ranks takes k/n: with sharding that is as much as its own share of
them all, and the work is shared too (Liu et al. 2025, arXiv:2502.16982, section 2.3).
"""

import math
from collections.abc import Callable, Hashable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from model.parallel import ParallelModel, row_bounds
from model.pieces import Cut, held, places_of


class SharedMatrices:
    """``muon.Matrices`` over the mesh of a model."""

    def __init__(self, parallel: ParallelModel) -> None:
        self.ranks = parallel.ranks
        self._is_sharded = parallel.is_sharded
        cuts = parallel.tensor_cuts()
        named = dict(parallel.model.named_parameters())
        self._dealt_out: dict[Tensor, tuple[Cut, ...]] = {
            named[name]: parts for name, parts in cuts.items()
        }
        """For parameters shared in the tensor group, what every rank of it holds."""

    def kind(self, parameter: Tensor) -> Hashable:
        """Shape, and how the tensor group shares it."""
        return tuple(parameter.shape), self._dealt_out.get(parameter)

    def shape(self, parameter: Tensor) -> tuple[int, ...]:
        """Of the whole matrix."""
        parts = self._dealt_out.get(parameter)
        return parts[0].shape if parts else tuple(parameter.shape)

    def held(self, tensor: Tensor) -> Tensor:
        """The rank's own part, as a plain tensor."""
        return held(tensor)

    def orthogonal(
        self,
        parameters: Sequence[Tensor],
        parts: list[Tensor],
        make: Callable[[Tensor], Tensor],
    ) -> list[Tensor]:
        """The same parts of what ``make`` makes of whole matrices."""
        dealt_out = self._dealt_out.get(parameters[0])
        if self._is_sharded:
            return self._of_shards(parts, len(parameters[0]), dealt_out, make)
        return self._of_replicas(parts, dealt_out, make)

    def _of_replicas(
        self,
        parts: list[Tensor],
        dealt_out: tuple[Cut, ...] | None,
        make: Callable[[Tensor], Tensor],
    ) -> list[Tensor]:
        """Every replica has all of them: each works on some and tells the others."""
        num_ranks, rank = self.ranks.sizes["replica"], self.ranks.places["replica"]
        if num_ranks == 1:
            return list(self._within_group(torch.stack(parts), dealt_out, make).unbind())
        each = math.ceil(len(parts) / num_ranks)
        own = torch.stack(parts)[rank * each : (rank + 1) * each]
        done = parts[0].new_zeros(each, *parts[0].shape)
        done[: len(own)] = self._within_group(own, dealt_out, make)
        everyones = done.new_empty(num_ranks * each, *parts[0].shape)
        dist.all_gather_into_tensor(everyones, done, group=self.ranks.group("replica"))
        return list(everyones[: len(parts)].unbind())

    def _of_shards(
        self,
        parts: list[Tensor],
        num_rows: int,
        dealt_out: tuple[Cut, ...] | None,
        make: Callable[[Tensor], Tensor],
    ) -> list[Tensor]:
        """Each rank gives rows of all matrices for some whole ones, and gives those back."""
        num_ranks, rank = self.ranks.sizes["shard"], self.ranks.places["shard"]
        group = self.ranks.group("shard")
        each = math.ceil(len(parts) / num_ranks)
        owned = [
            max(0, min(len(parts), (place + 1) * each) - place * each) for place in range(num_ranks)
        ]
        rows = [stop - start for start, stop in row_bounds(num_rows, num_ranks)]
        ours = torch.stack(parts)  # matrices, own rows, columns
        width = ours.shape[2]
        sent = [count * rows[rank] * width for count in owned]
        received = [owned[rank] * count * width for count in rows]
        arrived = ours.new_empty(sum(received))
        dist.all_to_all_single(arrived, ours.flatten(), received, sent, group=group)
        blocks = zip(arrived.split(received), rows, strict=True)
        whole = torch.cat([b.view(owned[rank], count, width) for b, count in blocks], dim=1)
        done = self._within_group(whole, dealt_out, make)
        leaving = torch.cat([block.flatten() for block in done.split(rows, dim=1)])
        back = torch.empty_like(ours)
        dist.all_to_all_single(back.view(-1), leaving, sent, received, group=group)
        return list(back.unbind())

    def _within_group(
        self,
        ours: Tensor,
        dealt_out: tuple[Cut, ...] | None,
        make: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """``make`` of matrices of which each rank of the tensor group holds a part."""
        if not len(ours):
            return ours  # so it is for all in the group
        if dealt_out is None:
            return make(ours)
        parts = ours.new_empty(len(dealt_out) * len(ours), *ours.shape[1:])
        group = self.ranks.group("tensor")
        dist.all_gather_into_tensor(parts, ours.contiguous(), group=group)
        whole = ours.new_empty(len(ours), *dealt_out[0].shape)
        for cut, part in zip(dealt_out, parts.chunk(len(dealt_out)), strict=True):
            for region, here in cut.regions():
                whole[(slice(None), *places_of(region))] = part[(slice(None), *here)]
        done = make(whole)
        own = torch.empty_like(ours)
        for region, here in dealt_out[self.ranks.places["tensor"]].regions():
            own[(slice(None), *here)] = done[(slice(None), *places_of(region))]
        return own
