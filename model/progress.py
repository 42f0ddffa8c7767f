"""What a person who waits for a run reads: a line now and then, and how it ended.

In: the events of the training log. Out: lines to ``logging``, which ``launch.py`` shows on stderr.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Of one run."""

    def __init__(self) -> None:
        self._next_line = 0.0
        self._loss: float | None = None

    def tell(self, event: str, fields: Mapping[str, Any]) -> None:
        """Say what there is to say of an event."""
        if event == "step":
            self._loss = fields["loss"]
            if time.monotonic() >= self._next_line:
                self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
                log.info("%s", _step_line(fields))
        elif event == "done":
            log.info("%s", self._last_line(fields))

    def _last_line(self, fields: Mapping[str, Any]) -> str:
        name, loss = "held-out loss", fields.get("val_loss")
        if loss is None:
            name, loss = "training loss", self._loss
        told = "" if loss is None else f", {name} {loss:.4f}"
        return f"finished at step {fields['step']}{told}: {fields['path']}"


def _step_line(fields: Mapping[str, Any]) -> str:
    speed = fields["tokens_per_second"]
    told = f"{speed:,.0f} tokens/s, " if speed else ""
    return (
        f"step {fields['step']}/{fields['steps']}: loss {fields['loss']:.3f}, "
        f"lr {fields['lr']:.2e}, {told}{fields['eta_seconds']:.0f} s to go"
    )
