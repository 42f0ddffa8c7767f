"""What a run is seen by while it trains: speed, MFU, memory, waiting.

In: the batches that are trained on, step by step. Out: figures since the last look. Clocks are read
here, and nothing is done that shapes weights.
"""

import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from model.batches import TokenBatch
from model.flops import FlopsByLength, forward_flops, peak_flops, training_flops
from model.job import TrainJob
from model.language_model import LanguageModel

NOT_REPEATABLE = frozenset(
    {
        *("tokens_per_second", "mfu", "data_wait_share", "eta_seconds", "peak_memory_bytes"),
        *("path", "peak_flops_per_second"),
    }
)
"""Fields of the log that two runs of the same job differ in."""


class Meter:
    """Counts between looks; ``pause`` leaves out what is not training (evaluating, saving)."""

    def __init__(
        self, flops: FlopsByLength, seq_len: int, peak_flops_per_second: float | None
    ) -> None:
        """``flops``: of training on a token; the peak is that of all devices together."""
        self._flops_by_length, self.flops = flops, flops(seq_len)
        self.peak = peak_flops_per_second
        self._num_tokens, self._flops_done, self._waited_seconds = 0, 0.0, 0.0
        self._num_steps = 0
        self._started = self._since = time.monotonic()

    def begin(self) -> None:
        """The first step is about to be made."""
        self._started = self._since = time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the request for a batch."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._waited_seconds += time.monotonic() - started

    def trained(self, batch: TokenBatch) -> None:
        """A step's whole batch, all ranks' rows together."""
        self._num_tokens += batch.num_tokens
        self._flops_done += self.flops.head * batch.num_valid()
        self._flops_done += sum(  # attention in a short row reaches no further than the row
            count * length * self._flops_by_length(length).body
            for length, count in Counter(batch.lengths).items()
        )
        self._num_steps += 1

    def pause(self) -> None:
        """Begin the next look here."""
        self._num_tokens, self._flops_done, self._waited_seconds = 0, 0.0, 0.0
        self._since = time.monotonic()

    def look(self, steps_left: int, device: torch.device) -> dict[str, Any]:
        """Figures since the last look, None where nothing was trained since; then ``pause``."""
        seconds = time.monotonic() - self._since
        done, waited, tokens = self._flops_done, self._waited_seconds, self._num_tokens
        self.pause()
        seconds_a_step = (self._since - self._started) / max(1, self._num_steps)
        return {
            "tokens_per_second": round(tokens / seconds) if tokens else None,
            "mfu": round(done / seconds / self.peak, 4) if tokens and self.peak else None,
            "data_wait_share": round(waited / seconds, 5) if tokens else None,
            "peak_memory_bytes": peak_memory_bytes(device),
            "eta_seconds": round(seconds_a_step * steps_left, 1),
        }


def flops_of(model: LanguageModel, criterion: object) -> FlopsByLength:
    """Of training on a token; a criterion's ``reference``, as dpo's, is asked too."""
    trained = training_flops(model)
    reference = getattr(criterion, "reference", None)
    if reference is None:
        return trained
    asked = forward_flops(reference)
    return lambda length: trained(length) + asked(length)


def make_meter(
    job: TrainJob, flops: FlopsByLength, device: torch.device, num_devices: int
) -> Meter:
    """A CPU's peak is measured: with the threads that train, so they are set before."""
    peak = job.peak_tflops * 1e12 if job.peak_tflops else peak_flops(device)
    return Meter(flops, job.seq_len, peak * num_devices if peak else None)


def peak_memory_bytes(device: torch.device) -> int:
    """The most that was held at once since the process began: torch's memory on a GPU, on a CPU the
    process's resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):  # Linux; unlike getrusage's, it is not inherited from the parent
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
