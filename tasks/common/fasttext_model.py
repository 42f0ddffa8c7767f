"""fastText, with its traps closed: trained in a clean process, asked without numpy's help."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import fasttext
import numpy as np

from tasks.common.fasttext_lines import label_token
from tasks.common.train_fasttext import PERTURB


class FastTextSettings(NamedTuple):
    """What fastText is trained with."""

    dimensions: int
    buckets: int
    epochs: int
    learning_rate: float


def train_fasttext(training_file: Path, model_file: Path, settings: FastTextSettings) -> None:
    """Train a classifier; the same lines give the same file, bit for bit."""
    partial = model_file.with_suffix(".partial")
    command = [sys.executable, "-m", "tasks.common.train_fasttext"]
    command += [str(training_file), str(partial)]
    command += ["--dimensions", str(settings.dimensions), "--buckets", str(settings.buckets)]
    command += ["--epochs", str(settings.epochs), "--learning-rate", str(settings.learning_rate)]
    done = subprocess.run(
        command,
        env={
            **os.environ,
            "GLIBC_TUNABLES": PERTURB,
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        },
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"fastText could not be trained: {done.stderr.strip()[-1000:]}")
    partial.replace(model_file)


class FastText:
    """A trained model: lines of features in, probability of each label out."""

    def __init__(self, model_file: Path) -> None:
        fasttext.FastText.eprint = lambda *_args, **_kwargs: None  # it warns of its own signature
        self._model = fasttext.load_model(str(model_file))

    def probabilities(self, lines: list[str], labels: list[str]) -> np.ndarray:
        """(lines, labels); a row of zeros for a line without known words.

        ``model.predict`` of one text fails with numpy 2; this is what it calls.
        """
        column = {label_token(label): index for index, label in enumerate(labels)}
        found = np.zeros((len(lines), len(labels)))
        for row, line in enumerate(lines):
            for probability, token in self._model.f.predict(line + "\n", -1, 0.0, "strict"):
                found[row, column[token]] = min(1.0, probability)
        return found
