"""What happens to an update whose loss or gradient is not finite, or leaps.

In: each step's loss and gradient norm, before the update is made. Out: nothing, or a ``Trouble``
that says what to do instead. What has been seen and decided is a few numbers that go into the
checkpoint, so that a run that is stopped and resumed decides as one that was not. Doing it (leaving
out an update, going back to a checkpoint) is ``refusals.py``'s.

Where no update may be refused (non-finite: stop, leaps: ignore) the numbers stay where they are and
are looked at before anything is saved or reported. Where one may, the host reads two numbers before
each update, one wait a step. Choosing on the GPU instead, by ``torch.where`` between the old and
the new state, would copy parameters and moments at every step, and could neither count refusals
nor go back; and the log reads the same two numbers anyway, at every step unless told otherwise.
"""

import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from model.job import PretrainData, TrainJob
from model.options import GuardConfig

SMALLEST_SPREAD = 0.01  # of the mean: a window in which nothing moves makes no leap of a ripple


@dataclass(frozen=True, slots=True)
class Trouble:
    """An update that is not to be made."""

    batch: int
    """Its number; the first of a run is 0."""
    action: Literal["skip", "rollback", "stop"]
    why: str
    in_a_row: int
    """How many batches have been refused in one stretch, this one included."""

    @property
    def step(self) -> int:
        """The step that the batch would have made, as the log counts steps."""
        return self.batch + 1


class Guard:
    """Looks at every step's loss and gradient norm.

    A leap is a loss, or a norm, that exceeds the mean of the last ``window_steps`` by
    ``spike_sigmas`` of their standard deviations (as OLMo's SkipStep optimizers judge it; OLMo
    team 2024, arXiv:2501.00656). Refused values do not enter the window.
    """

    def __init__(self, config: GuardConfig, borders: Collection[int] = ()) -> None:
        """``borders``: batches from which on the data are others, so that losses may leap."""
        self.config, self._borders = config, frozenset(borders)
        self.left_out: set[int] = set()
        """Batches of which no update is made, now and when they come again."""
        self.num_rollbacks = 0
        self._refused: list[int] = []
        self._last_judged = -1
        self._losses: deque[float] = deque(maxlen=config.window_steps)
        self._norms: deque[float] = deque(maxlen=config.window_steps)
        self._unread: list[tuple[int, Tensor]] = []

    @classmethod
    def of(cls, job: TrainJob) -> "Guard":
        """A job's guard: where its mixture changes, its losses may leap."""
        phases = job.data.phases if isinstance(job.data, PretrainData) else []
        return cls(job.guard, [phase.first_step for phase in phases])

    def look(self, batch: int, loss: Tensor, norm: Tensor) -> Trouble | None:
        """Whether the update of a batch is in trouble; all ranks are told the same.

        Args:
            batch: its number.
            loss: scalar, the mean over all ranks.
            norm: scalar, of the whole gradient before it was clipped.
        """
        numbers = torch.stack([loss.double(), norm.double()])
        if not self.config.may_refuse:
            self._unread.append((batch, numbers))
            return None
        if dist.is_available() and dist.is_initialized():
            dist.broadcast(numbers, src=0)
        return self._judge(batch, *numbers.tolist())

    def not_finite(self) -> Trouble | None:
        """The first trouble among the numbers that nobody has read yet; reads them all at once."""
        unread, self._unread = self._unread, []
        if not unread:
            return None
        pairs = torch.stack([numbers for _, numbers in unread]).tolist()
        for (batch, _), (loss, norm) in zip(unread, pairs, strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                return Trouble(batch, "stop", _values(loss, norm), in_a_row=1)
        return None

    def roll_back(self, trouble: Trouble) -> tuple[int, dict[str, Any]]:
        """Decide to leave out a batch and those just before it: the first of them, and the part of
        the state that outlives going back."""
        first = max(0, trouble.batch - self.config.rollback_batches + 1)
        self.left_out |= set(range(first, trouble.batch + 1))
        self.num_rollbacks += 1
        return first, self._decided()

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return self._decided() | {
            "losses": list(self._losses),
            "norms": list(self._norms),
            "last_judged": self._last_judged,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.left_out = set(state["left_out"])
        self._refused = list(state["refused"])
        self.num_rollbacks = state["num_rollbacks"]
        self._last_judged = state["last_judged"]
        for window, name in ((self._losses, "losses"), (self._norms, "norms")):
            window.clear()
            window.extend(state[name])

    def _decided(self) -> dict[str, Any]:
        return {
            "left_out": sorted(self.left_out),
            "refused": list(self._refused),
            "num_rollbacks": self.num_rollbacks,
        }

    def _judge(self, batch: int, loss: float, norm: float) -> Trouble | None:
        # The batch at a border may be one of those left out, which nobody judges.
        if any(self._last_judged < border <= batch for border in self._borders):
            self._losses.clear()
            self._norms.clear()
        self._last_judged = batch
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return self._refuse(batch, self.config.on_nonfinite, _values(loss, norm))
        if self.config.on_spike != "ignore":
            for name, window, value in (
                ("loss", self._losses, loss),
                ("gradient norm", self._norms, norm),
            ):
                limit = self._limit(window)
                if value > limit:
                    why = f"the {name} leaps to {value:.4g}, the limit being {limit:.4g}"
                    return self._refuse(batch, self.config.on_spike, why)
        self._losses.append(loss)
        self._norms.append(norm)
        return None

    def _limit(self, window: Sequence[float]) -> float:
        """The greatest value that is no leap; half a window has to be known first."""
        if len(window) < max(2, self.config.window_steps // 2):
            return math.inf
        mean = math.fsum(window) / len(window)
        variance = math.fsum((value - mean) ** 2 for value in window) / len(window)
        spread = max(math.sqrt(variance), SMALLEST_SPREAD * abs(mean))
        return mean + self.config.spike_sigmas * spread

    def _refuse(self, batch: int, action: Literal["skip", "rollback", "stop"], why: str) -> Trouble:
        self._refused.append(batch)
        self.left_out.add(batch)
        return Trouble(batch, action, why, self._in_a_row())

    def _in_a_row(self) -> int:
        """Refused batches, from the last one back, between which no update is left standing."""
        reach = self.config.rollback_batches if self.config.may_roll_back else 1
        count = 1
        while count < len(self._refused):
            later, earlier = self._refused[-count], self._refused[-count - 1]
            if later - earlier > reach:
                break
            count += 1
        return count


def _values(loss: float, norm: float) -> str:
    return f"the loss is {loss} and its gradient's norm {norm}"
