"""The training log: ``metrics.jsonl``, one JSON object a line, readable while it grows.

In: events. Out: lines. After a resume the file says what one undisturbed run would have said, plus
a line that it was resumed: lines about steps that were lost, and are made again, are gone.
"""

import json
from pathlib import Path
from typing import Any

from model.disk import telling_when_full

FILE_NAME = "metrics.jsonl"


class MetricsLog:
    """Opens anew, as a new file, keeping old lines up to ``step``; then appends."""

    def __init__(self, out_dir: str | Path, step: int) -> None:
        path = Path(out_dir) / FILE_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _lines_until(path, step) if step else []
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

    def write(self, event: str, **fields: Any) -> None:
        """One line, out of our hands when this returns.

        Raises:
            DiskFullError: there is no room for it.
        """
        line = json.dumps({"event": event, **fields}).encode() + b"\n"
        with telling_when_full("the log", self._path, len(line)):
            while line:
                line = line[self._file.write(line) :]

    def close(self) -> None:
        """No more lines."""
        self._file.close()


def _lines_until(path: Path, step: int) -> list[str]:
    if not path.is_file():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            event = json.loads(line)
        except ValueError:
            break  # the line that was being written when the process was killed
        if event.get("step", 0) <= step and event["event"] not in ("done", "stopped"):
            kept.append(line)
    return kept
