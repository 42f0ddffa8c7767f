"""fastText, with its traps closed: trained in a clean process, asked without numpy's help."""

import os
import subprocess
import sys
from pathlib import Path

import fasttext

from tasks.classify.config import ClassifyConfig
from tasks.classify.features import features, label_of
from tasks.classify.train_fasttext import PERTURB


def train(training_file: Path, model_file: Path, config: ClassifyConfig) -> None:
    """Train a classifier; the same lines give the same file, bit for bit."""
    partial = model_file.with_suffix(".partial")
    command = [sys.executable, "-m", "tasks.classify.train_fasttext"]
    command += [str(training_file), str(partial)]
    command += ["--dimensions", str(config.dimensions), "--buckets", str(config.buckets)]
    command += ["--epochs", str(config.epochs), "--learning-rate", str(config.learning_rate)]
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


class Classifier:
    """A trained model: text in, probability of each label out."""

    def __init__(self, model_file: Path) -> None:
        fasttext.FastText.eprint = lambda *_args, **_kwargs: None  # it warns of its own signature
        self._model = fasttext.load_model(str(model_file))

    def probabilities(self, text: str) -> dict[str, float]:
        """Every label's probability, the most likely first; empty for a text without known words.

        ``model.predict`` of one text fails with numpy 2; this is what it calls.
        """
        answer = self._model.f.predict(features(text) + "\n", -1, 0.0, "strict")
        return {label_of(token): min(1.0, float(p)) for p, token in answer}
