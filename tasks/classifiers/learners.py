"""Examples in, a model's file out: each learner in a clean process, so that equal examples give
equal bytes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tasks.classifiers.config import LearningConfig
from tasks.classifiers.sample import Example
from tasks.common.fasttext_lines import training_line
from tasks.common.fasttext_model import FastTextSettings, train_fasttext

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SUFFIX = {"windows": ".npz", "fasttext": ".bin"}


def train(
    examples: Sequence[Example], labels: Sequence[str], model_file: Path, config: LearningConfig
) -> None:
    """Train a classifier of ``labels``."""
    if config.learner == "windows":
        index = {label: number for number, label in enumerate(labels)}
        targets = [float(index[example.label]) for example in examples]
        _train_windows(examples, targets, len(labels), model_file, config)
        return
    lines = model_file.with_suffix(".txt")
    lines.write_text("".join(training_line(e.label, e.text) for e in examples), encoding="utf-8")
    settings = FastTextSettings(
        config.dimensions, config.buckets, config.epochs, config.learning_rate
    )
    train_fasttext(lines, model_file, settings)
    lines.unlink()


def train_points(examples: Sequence[Example], model_file: Path, config: LearningConfig) -> None:
    """Train a regression; the labels are points. Always by windows: fastText has no regression."""
    targets = [float(example.label) for example in examples]
    _train_windows(examples, targets, 1, model_file, config)


def _train_windows(
    examples: Sequence[Example],
    targets: list[float],
    num_labels: int,
    model_file: Path,
    config: LearningConfig,
) -> None:
    job = model_file.with_suffix(".json")
    settings = {"max_windows": config.max_windows, "inverse_penalty": config.inverse_penalty}
    texts = [example.text for example in examples]
    values = {"texts": texts, "targets": targets, "num_labels": num_labels, "settings": settings}
    job.write_text(json.dumps(values), encoding="utf-8")
    partial = model_file.with_suffix(".partial.npz")
    done = subprocess.run(
        [sys.executable, "-m", "tasks.classifiers.train_windows", str(job), str(partial)],
        env={
            **os.environ,
            **ONE_THREAD,
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        },
        capture_output=True,
        text=True,
    )
    job.unlink()
    if done.returncode:
        raise RuntimeError(f"{model_file.name} was not trained: {done.stderr.strip()[-1000:]}")
    partial.replace(model_file)
