"""Batches made ahead of time, so that training does not wait for them.

In: a loader. Out: the same batches in the same order, and a ``state_dict`` that is always that of
the batches taken, whatever has been made beyond: resuming neither skips nor repeats one.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch

from model.batches import Loader, TokenBatch

GPU_DEPTH = 2


def made_ahead(loader: Loader, depth: int | None, device: torch.device) -> Loader:
    """The loader, with a thread before it where that helps; ``depth`` as ``TrainJob`` has it."""
    if depth is None:
        depth = 0 if device.type == "cpu" else GPU_DEPTH
    return Prefetch(loader, depth) if depth else loader


class _Made(NamedTuple):
    """A batch, and what the loader said of itself right after making it."""

    batch: TokenBatch
    state: dict[str, Any]
    epochs: dict[str, float]
    tokens: dict[str, int]


class Prefetch:
    """A loader in front of a loader: one thread keeps ``depth`` batches ready.

    The thread starts with the first batch; ``close`` ends it. What goes wrong in it is raised where
    the batch is asked for.
    """

    def __init__(self, loader: Loader, depth: int) -> None:
        assert depth >= 1
        self.loader, self.depth = loader, depth
        self.rows_per_sample = loader.rows_per_sample
        self._ahead: deque[Future[_Made]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._remember()

    def next_batch(self) -> TokenBatch:
        """The next batch of the stream."""
        while len(self._ahead) <= self.depth:
            self._ahead.append(self._thread.submit(self._make))
        batch, self._state, self._epochs, self._tokens = self._ahead.popleft().result()
        return batch

    def sweep(self, max_batches: int | None = None) -> Iterator[TokenBatch]:
        """As the loader's."""
        return self.loader.sweep(max_batches)

    def documents(self, batch: TokenBatch) -> Mapping[str, Sequence[int] | Sequence[str]]:
        """As the loader's."""
        return self.loader.documents(batch)

    def epochs(self) -> dict[str, float]:
        """Of the batches taken."""
        return self._epochs

    def tokens(self) -> dict[str, int]:
        """Of the batches taken."""
        return self._tokens

    def state_dict(self) -> dict[str, Any]:
        """Of the batches taken."""
        return self._state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Forget what was made ahead, and go on where ``state`` was taken."""
        self._forget()
        self.loader.load_state_dict(state)
        self._remember()

    def close(self) -> None:
        """Nothing is made any more."""
        self._forget()
        self._thread.shutdown()

    def _make(self) -> _Made:
        batch = self.loader.next_batch()
        return _Made(batch, self.loader.state_dict(), self.loader.epochs(), self.loader.tokens())

    def _forget(self) -> None:
        while self._ahead:
            future = self._ahead.popleft()
            if not future.cancel():
                future.exception()  # waits for the one that is being made

    def _remember(self) -> None:
        self._state = self.loader.state_dict()
        self._epochs, self._tokens = self.loader.epochs(), self.loader.tokens()
