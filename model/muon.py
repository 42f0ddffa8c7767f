"""Muon: momentum whose every update is made orthogonal (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon), scaled as Liu et al. 2025 (arXiv:2502.16982) do.

In: matrices and their gradients. Out: the matrices, moved. Embeddings, heads and vectors are left
to AdamW. torch's own Muon computes in bfloat16, which a CPU does many times slower than float32,
and one matrix at a time; here equal shapes go together.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

# Five rounds of this polynomial bring singular values from anywhere in (0, 1] to about 0.7 … 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NUM_ROUNDS = 5
EPS = 1e-7
RMS_OF_ADAMW = 0.2  # an AdamW update's usual root mean square, as a share of its learning rate


class Matrices(Protocol):
    """Where whole matrices are: Muon's update needs them, and a rank may hold only parts."""

    def kind(self, parameter: Tensor) -> Hashable:
        """Equal for those that can be worked on together."""
        ...

    def shape(self, parameter: Tensor) -> tuple[int, ...]:
        """Of the whole matrix."""
        ...

    def held(self, tensor: Tensor) -> Tensor:
        """The part that this process holds."""
        ...

    def orthogonal(
        self,
        parameters: Sequence[Tensor],
        parts: list[Tensor],
        make: Callable[[Tensor], Tensor],
    ) -> list[Tensor]:
        """The parts of what ``make`` makes of the whole matrices, all of one kind, in a stack."""
        ...


class WholeMatrices:
    """Everything is here."""

    def kind(self, parameter: Tensor) -> Hashable:
        """Their shape."""
        return parameter.shape

    def shape(self, parameter: Tensor) -> tuple[int, ...]:
        """As it is."""
        return tuple(parameter.shape)

    def held(self, tensor: Tensor) -> Tensor:
        """All of it."""
        return tensor

    def orthogonal(
        self,
        parameters: Sequence[Tensor],
        parts: list[Tensor],
        make: Callable[[Tensor], Tensor],
    ) -> list[Tensor]:
        """All in one go."""
        return list(make(torch.stack(parts)).unbind())


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal; decoupled weight decay.

    An update has the root mean square of AdamW's, 0.2 times the learning rate, whatever the
    matrix's shape, so both can share one rate (Liu et al., eq. 4).
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        matrices: Matrices | None = None,
    ) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.matrices = matrices or WholeMatrices()
        self.orthogonal: Callable[[Tensor], Tensor] = orthogonal

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            by_kind: dict[Hashable, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_kind[self.matrices.kind(parameter)].append(parameter)
            for parameters in by_kind.values():
                self._move(parameters, group)

    def _move(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        held = self.matrices.held
        gradients = [held(p.grad) for p in parameters if p.grad is not None]
        buffers = [self._buffer(p) for p in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        looked_ahead = torch._foreach_lerp(gradients, buffers, momentum)
        directions = self.matrices.orthogonal(parameters, list(looked_ahead), self.orthogonal)
        scale = RMS_OF_ADAMW * max(self.matrices.shape(parameters[0])) ** 0.5
        weights = [held(p) for p in parameters]
        torch._foreach_mul_(weights, 1 - lr * group["weight_decay"])
        torch._foreach_add_(weights, directions, alpha=-lr * scale)

    def _buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(self.matrices.held(parameter))
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest matrices, (…, R, C), whose singular values are all about one: U Vᵀ of U S Vᵀ.

    By Newton-Schulz iteration; in bfloat16 on a GPU, where that suffices, else in float32.
    """
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=EPS)
    # Gram matrices square what rounding leaves of small singular values: not for bfloat16.
    is_wide = x.shape[-1] > 1.5 * x.shape[-2]
    x = _by_gram_matrix(x) if is_wide and x.dtype == torch.float32 else _step_by_step(x)
    return (x.mT if is_tall else x).to(matrices.dtype)


def _step_by_step(x: Tensor) -> Tensor:
    a, b, c = COEFFICIENTS
    for _ in range(NUM_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def _by_gram_matrix(x: Tensor) -> Tensor:
    """The same polynomials, of X Xᵀ alone: every round multiplies by a symmetric matrix that
    commutes with the last, so the wide matrix is touched twice and not ten times."""
    a, b, c = COEFFICIENTS
    gram, product = x @ x.mT, None
    for number in range(NUM_ROUNDS):
        factor = torch.add(b * gram, gram @ gram, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor if product is None else product @ factor
        if number < NUM_ROUNDS - 1:
            gram = factor @ gram @ factor
    assert product is not None
    return product @ x


class Together:
    """Several optimizers over different parameters, used and saved as one."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        """One update by each."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """As one optimizer's, its parameters numbered through."""
        state: dict[int, Any] = {}
        for start, part in zip(self._starts(), self.parts, strict=True):
            for index, entry in part.state_dict()["state"].items():
                state[start + index] = entry
        return {"state": state}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Put back what ``state_dict`` gave."""
        for start, part in zip(self._starts(), self.parts, strict=True):
            stop = start + _num_parameters(part)
            own = {i - start: entry for i, entry in saved["state"].items() if start <= i < stop}
            part.load_state_dict(part.state_dict() | {"state": own})

    def _starts(self) -> list[int]:
        starts = [0]
        for part in self.parts[:-1]:
            starts.append(starts[-1] + _num_parameters(part))
        return starts


def _num_parameters(optimizer: torch.optim.Optimizer) -> int:
    return sum(len(group["params"]) for group in optimizer.param_groups)
