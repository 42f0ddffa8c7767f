"""Gradients added up over replicas of a model, in buckets, while the backward pass goes on.

In: parameters, the processes that hold the same ones, and word of which backward pass is the step's
last. Out: in each ``grad`` the sum over the processes, never the mean: losses are already divided
by the global count. One message for many small gradients, once a step however many micro-batches
there are, begun as soon as a bucket's gradients are final (Li et al. 2020, arXiv:2006.15704,
section 3.2).
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET_BYTES = 25 * 2**20  # as in the paper, where larger ones no longer paid


class GradientSum:
    """Call ``begin_last`` before the last backward pass of a step, and ``finish`` after it."""

    def __init__(self, parameters: Iterable[nn.Parameter], group: dist.ProcessGroup) -> None:
        self.group = group
        self.buckets = _buckets([p for p in parameters if p.requires_grad], BUCKET_BYTES)
        self._bucket_of = {p: n for n, bucket in enumerate(self.buckets) for p in bucket}
        self._missing: list[int] = []
        self._under_way: list[tuple[dist.Work, Tensor]] = []
        for parameter in self._bucket_of:
            parameter.register_post_accumulate_grad_hook(self._on_gradient)

    def begin_last(self) -> None:
        """Gradients of the coming backward pass are final."""
        self._missing = [len(bucket) for bucket in self.buckets]

    def finish(self) -> None:
        """Leave the sums in the gradients. A process without rows adds noughts."""
        while len(self._under_way) < len(self.buckets):
            self._send_next()
        for (work, flat), bucket in zip(self._under_way, self.buckets, strict=True):
            work.wait()
            sizes = [p.numel() for p in bucket]
            for parameter, part in zip(bucket, flat.split(sizes), strict=True):
                parameter.grad = part.view_as(parameter)
        self._under_way, self._missing = [], []

    def _on_gradient(self, parameter: Tensor) -> None:
        if not self._missing:
            return  # another backward pass will add to it
        self._missing[self._bucket_of[parameter]] -= 1  # type: ignore[index]
        # One after another: every process must send the same bucket at the same time.
        while len(self._under_way) < len(self.buckets) and not self._missing[len(self._under_way)]:
            self._send_next()

    def _send_next(self) -> None:
        bucket = self.buckets[len(self._under_way)]
        flat = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket]
        )
        work = dist.all_reduce(flat, group=self.group, async_op=True)
        assert work is not None
        self._under_way.append((work, flat))


def _buckets(parameters: list[nn.Parameter], limit_bytes: int) -> list[list[nn.Parameter]]:
    """The last parameters first, since a backward pass begins with them; one type a bucket."""
    buckets: list[list[nn.Parameter]] = []
    room_bytes = 0
    for parameter in reversed(parameters):
        size_bytes = parameter.numel() * parameter.element_size()
        if not buckets or size_bytes > room_bytes or buckets[-1][0].dtype != parameter.dtype:
            buckets.append([])
            room_bytes = limit_bytes
        buckets[-1].append(parameter)
        room_bytes -= size_bytes
    return buckets
