"""An exponential moving average of the weights, which is often a better model than the last ones
(Polyak & Juditsky 1992; Tarvainen & Valpola 2017, arXiv:1703.01780).

In: a model after each update. Out: averages of its trained parameters in float32, which can stand
in for them while the model is evaluated or exported.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from model.pieces import held


class MovingAverage:
    """Averages of the parameters that are trained; frozen ones are what they are.

    The n-th update (from 1) moves an average by 1 − min(decay, (1 + n) / (10 + n)) of the way to
    the parameter: a short run would otherwise be averaged with its random beginning, of which
    0.999 keeps more than a third for a thousand updates. The ramp is TensorFlow's
    (ExponentialMovingAverage, ``num_updates``).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._averages = {n: _own(p).float().clone() for n, p in self._parameters.items()}
        self.decay = decay
        self.num_updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are now."""
        self.num_updates += 1
        n = self.num_updates
        share = 1 - min(self.decay, (1 + n) / (10 + n))
        now = [_own(p).float() for p in self._parameters.values()]
        torch._foreach_lerp_(list(self._averages.values()), now, share)

    @contextmanager
    @torch.no_grad()
    def in_place(self) -> Iterator[None]:
        """The model has the averages for weights within this block, and its own bits after it."""
        own = {name: _own(p).clone() for name, p in self._parameters.items()}
        self._fill(self._averages)
        try:
            yield
        finally:
            self._fill(own)

    def measured(self, evaluate: Callable[[], dict[str, float]]) -> dict[str, float]:
        """What ``evaluate`` says of the averages: ``val_…`` becomes ``val_ema_…``."""
        with self.in_place():
            return {n.replace("val_", "val_ema_", 1): v for n, v in evaluate().items()}

    def tensors(self) -> dict[str, Tensor]:
        """The averages, by parameter."""
        return self._averages

    def load(self, tensors: Mapping[str, Tensor], num_updates: int) -> None:
        """Put back what ``tensors`` and ``num_updates`` were."""
        for name, average in self._averages.items():
            average.copy_(tensors[name])
        self.num_updates = num_updates

    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            _own(parameter).copy_(values[name])


def _own(parameter: Tensor) -> Tensor:
    """What this rank holds of it."""
    return held(parameter.detach())
