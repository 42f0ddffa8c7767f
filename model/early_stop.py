"""The watch for overfitting: stop when held-out loss no longer falls, and keep the best model.

In: the figures of evaluations, in their order. Out: whether to stop, and the best model in
``out_dir/best/step-…``, which becomes the job's result. What the watch remembers is plain and goes
into checkpoints, so that a run that was interrupted stops where an undisturbed one does.
"""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model.disk import room_for

Export = Callable[[Path], object]
"""Writes the model, as it is now, to a folder."""


class EarlyStop:
    """Off without ``patience``: it is never over, and the last model is the result."""

    def __init__(self, out_dir: str | Path, patience: int | None, min_delta: float) -> None:
        self.folder, self.patience, self.min_delta = Path(out_dir) / "best", patience, min_delta
        self.best: dict[str, Any] = {}
        """Figures of the best evaluation, its step among them; empty before the first."""
        self.num_without_gain = 0
        """Evaluations since the best one."""

    @property
    def is_over(self) -> bool:
        """Whether so many evaluations in a row brought no gain."""
        return self.patience is not None and self.num_without_gain >= self.patience

    @property
    def keeps_last(self) -> bool:
        """Whether the result is the model as it is in the end, no best one being kept."""
        return self.patience is None or not self.best

    def look(self, step: int, figures: Mapping[str, Any], export: Export) -> None:
        """Take in one more evaluation, and keep the model where there is a gain: a held-out
        loss lower than the best by more than ``min_delta``."""
        if self.patience is None:
            return
        to_beat = _loss(self.best) - self.min_delta if self.best else math.inf
        if not _loss(figures) < to_beat:  # nor is a NaN a gain
            self.num_without_gain += 1
            return
        self.best, self.num_without_gain = {"step": step, **figures}, 0
        export(self._of(step))

    def finish(self, final: Path, export: Export) -> dict[str, Any]:
        """Leave the result in ``final``, whole or not at all; the figures that are its own."""
        if self.keeps_last:
            export(final)
            return {}
        best = self._of(self.best["step"])
        if not best.is_dir():
            raise ValueError(
                f"{best}, the best model of this run, is gone: start afresh in another out_dir, or "
                "set early_stop_patience to null to take the last model"
            )
        partial = final.with_name(f".{final.name}.part")
        shutil.rmtree(partial, ignore_errors=True)
        num_bytes = sum(path.stat().st_size for path in best.rglob("*") if path.is_file())
        try:
            with room_for("the finished model", final, num_bytes):
                shutil.copytree(best, partial)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)
        figures = {name: value for name, value in self.best.items() if name != "step"}
        return {"best_step": self.best["step"], "stopped_early": self.is_over, **figures}

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {"best": self.best, "num_without_gain": self.num_without_gain}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        self.best = dict(state.get("best", {}))
        self.num_without_gain = int(state.get("num_without_gain", 0))

    def saved(self, checkpoints: Path) -> None:
        """A checkpoint was written: best models that none of those in the folder speaks of can go.
        Older ones may be gone back to, where the newest is damaged or a batch was bad."""
        if not self.folder.is_dir():
            return
        states = [json.loads(path.read_text()) for path in checkpoints.glob("step-*/trainer.json")]
        bests = [self.best, *(state.get("early_stop", {}).get("best", {}) for state in states)]
        kept = {self._of(best["step"]) for best in bests if best}
        for folder in self.folder.glob("step-*"):
            if folder not in kept:
                shutil.rmtree(folder)

    def _of(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"


def _loss(figures: Mapping[str, Any]) -> float:
    """Of the model that is kept: the averaged one where there is one."""
    return float(figures.get("val_ema_loss", figures["val_loss"]))
