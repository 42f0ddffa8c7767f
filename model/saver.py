"""Checkpoints written while training goes on.

In: the run's state at some step. Out: what ``checkpoint.py`` writes, a little later: the step waits
for a copy to host memory, a thread does the rest. One save is under way at most. What goes wrong in
the thread is raised at the next question.
"""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from model.checkpoint import write_snapshot
from model.language_model import LanguageModel
from model.optim import AnyOptimizer
from model.snapshot import Layout, take_snapshot


class Saver:
    """Saves into one folder; all ranks call the same methods in the same order."""

    def __init__(
        self,
        folder: Path,
        layout: Layout,
        in_background: bool = True,
    ) -> None:
        self.folder, self.layout, self.in_background = folder, layout, in_background
        self._thread: threading.Thread | None = None
        self._on_saved: Callable[[Path], None] = lambda path: None
        self._result: Path | Exception | None = None

    def save(
        self,
        step: int,
        model: LanguageModel,
        optimizer: AnyOptimizer,
        state: dict[str, Any],
        tensors: Mapping[str, Tensor] | None = None,
        reach_steps: int | None = None,
        on_saved: Callable[[Path], None] = lambda path: None,
    ) -> None:
        """Begin to save; waits for the save before, if that is not done. The rest is as
        ``save_checkpoint`` says; ``on_saved`` is told, from this thread, when it is there."""
        self.wait()
        snapshot = take_snapshot(
            step, model, optimizer, state, self.layout, tensors, copy=self.in_background
        )
        self._on_saved = on_saved

        def write() -> None:
            try:
                self._result = write_snapshot(self.folder, snapshot, reach_steps)
            except Exception as error:
                self._result = error

        self._thread = threading.Thread(target=write, name=f"save-step-{step}")
        self._thread.start()
        if not self.in_background:
            self.wait()

    def check(self) -> None:
        """Cheap: tell of a save that has ended, or raise what it died of."""
        if self._thread and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Come back when nothing is under way."""
        if not self._thread:
            return
        self._thread.join()
        self._thread = None
        if isinstance(self._result, Exception):
            raise self._result
        assert self._result is not None
        self._on_saved(self._result)
