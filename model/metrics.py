"""The training log: ``metrics.jsonl``, one JSON object a line, readable while it grows, and the
same numbers in ``tensorboard/``.

In: events. Out: lines and curves. After a resume the file says what one undisturbed run would have
said, plus a line that it was resumed: lines about steps that were lost, and are made again, are
gone.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from model.disk import telling_when_full
from model.event_files import EventFile

FILE_NAME = "metrics.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
_EVALUATION = ("eval", "samples", "early_stop")
_NO_CURVES = {"steps", "eta_seconds"}


class MetricsLog:
    """Opens anew, as a new file, keeping old lines up to ``step``; then appends."""

    def __init__(self, out_dir: str | Path, step: int, evaluates_again: bool = False) -> None:
        """``evaluates_again``: what was said of that step's evaluation is about to be said anew."""
        path = Path(out_dir) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _lines_until(path, step, evaluates_again) if step else []
        if step:
            kept.append(json.dumps({"event": "resumed", "step": step}) + "\n")
        self._path = path
        content = "".join(kept).encode()
        partial = path.with_name(f".{FILE_NAME}.part")
        try:
            with telling_when_full("the log", path, len(content)):
                partial.write_bytes(content)
            partial.replace(path)  # a reader tells by the new inode that the log has begun
        finally:
            partial.unlink(missing_ok=True)
        # Unbuffered: what a full disk has refused must not be tried again when the file is closed.
        self._file = path.open("ab", buffering=0)
        with telling_when_full("the curves", path.parent / TENSORBOARD_FOLDER, len(content)):
            self._curves = EventFile(path.parent / TENSORBOARD_FOLDER, step)
            if not self._curves.goes_on:  # on a machine that has the log alone
                for kept_line in kept:
                    self._draw(json.loads(kept_line))

    def write(self, event: str, **fields: Any) -> None:
        """One line, out of our hands when this returns.

        Raises:
            DiskFullError: there is no room for it.
        """
        line = json.dumps({"event": event, **fields}).encode() + b"\n"
        with telling_when_full("the log", self._path, len(line)):
            while line:
                line = line[self._file.write(line) :]
            self._draw({"event": event, **fields})

    def close(self) -> None:
        """No more lines."""
        self._file.close()
        self._curves.close()

    def _draw(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "step" | "eval":
                self._curves.scalars(event["step"], dict(curve_points(event)))
            case "rolled_back":
                self._curves.void_after(event["step"])
            case "samples":
                for number, sample in enumerate(event["samples"]):
                    self._curves.text(event["step"], f"samples/{number}", sample_markdown(sample))


def curve_points(event: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of an event by the names of their curves: ``train/loss``, ``val/loss``,
    ``epochs/web``."""
    for name, value in event.items():
        if isinstance(value, dict):
            yield from ((f"{name}/{key}", float(number)) for key, number in value.items())
        elif isinstance(value, int | float) and name not in {"step", *_NO_CURVES}:
            folder = "val" if name.startswith("val_") else "train"
            yield f"{folder}/{name.removeprefix('val_')}", float(value)


def sample_markdown(sample: Mapping[str, str]) -> str:
    """A sample as quotes: what was given, and both continuations."""
    said = [("prompt", sample["prompt"] or "(nothing)")]
    said += [(way, sample[way]) for way in ("greedy", "sampled")]
    return "\n\n".join(f"{way}:\n\n" + _quoted(text) for way, text in said)


def _quoted(text: str) -> str:
    """Indented by four: code, in which nothing is a sign of Markdown's."""
    return "\n".join(f"    {line}" for line in text.splitlines() or [""])


def _lines_until(path: Path, step: int, evaluates_again: bool) -> list[str]:
    if not path.is_file():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            event = json.loads(line)
        except ValueError:
            break  # the line that was being written when the process was killed
        name, of_step = event["event"], event.get("step", 0)
        is_said_anew = evaluates_again and of_step == step and name in _EVALUATION
        if of_step <= step and name not in ("done", "stopped") and not is_said_anew:
            kept.append(line)
    return kept
