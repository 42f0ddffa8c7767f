"""The training stages' common ground: run a job in its own process and keep what it makes.

In: a context and a job. Out: ``model.safetensors``, ``config.json``, ``tokenizer.json``, and of
the run ``job.json``, ``metrics.jsonl``, ``training.png``, a summary and ``tensorboard/``. What
resuming needs stays in a dot-folder of the workspace, so that a later attempt at the same artifact
goes on from the last checkpoint.
"""

import dataclasses
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from model.disk import room_for
from model.job import TrainJob
from model.process import run_job
from tasks.common.stage import SUMMARY_NAME, Outcome, StageContext
from tasks.common.training_log import TrainingLog, summary_markdown

TRAIN_FOLDER = ".train"
SECONDS_BETWEEN_LINES = 10.0
METRICS_NAME, JOB_NAME = "metrics.jsonl", "job.json"
TENSORBOARD_FOLDER, BEST_FOLDER = "tensorboard", "best"
PLOT_NAME = "training.png"
ASIDE_FOLDER = ".aside"
CHECKSUMS_NAME = "checksums.json"  # as ``model.checkpoint`` has it, which imports torch
# Of the closing event: what the weights are worth. Speeds are the manifest's, in seconds.
NOT_METRICS = {"event", "path"}


def train(context: StageContext, job: TrainJob) -> Outcome:
    """Run ``job`` in the workspace of ``context``; returns its closing figures as metrics.

    Raises:
        TrainingStopped: the run was cancelled; a checkpoint is kept for the next attempt.
        RuntimeError: the trainer failed; the message holds the end of its log.
    """
    folder = context.path / TRAIN_FOLDER
    folder.mkdir(exist_ok=True)
    job = _on_machine(job, folder, context)
    job_path = folder / JOB_NAME
    job_path.write_text(json.dumps(job.to_json_dict(), indent=1))
    listener = _Listener(context)
    run_job(
        job_path,
        on_event=listener,
        should_stop=context.should_stop,
        num_processes=context.machine.num_training_processes,
        max_restarts=context.machine.training.max_restarts,
    )
    made = [path for name in ("final", TENSORBOARD_FOLDER) for path in (folder / name).rglob("*")]
    made += [folder / name for name in (METRICS_NAME, JOB_NAME)]
    with room_for("the trained model's artifact", context.path, sum(map(_num_bytes, made))):
        shutil.copytree(folder / "final", context.path, dirs_exist_ok=True)
        for name in (METRICS_NAME, JOB_NAME):
            shutil.copyfile(folder / name, context.path / name)
        shutil.copytree(folder / TENSORBOARD_FOLDER, context.path / TENSORBOARD_FOLDER)
    log = TrainingLog.read(context.path / METRICS_NAME)
    _tell(context, log)
    done = log.of_kept(listener.done)
    return Outcome(metrics={k: v for k, v in done.items() if k not in NOT_METRICS})


def _on_machine(job: TrainJob, folder: Path, context: StageContext) -> TrainJob:
    """The job as it is done here."""
    training = context.machine.training
    prompts = job.sample_prompts
    if prompts and training.tensor > 1:
        context.log.warning("no samples: no process has the whole model (tensor parallel)")
        prompts = []
    return dataclasses.replace(
        job,
        out_dir=str(folder),
        device=context.machine.device,
        sample_prompts=prompts,
        **training.job_fields(),
    )


def _num_bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _tell(context: StageContext, log: TrainingLog) -> None:
    """Leave the run as a plot and a summary, after what the stage said of its plan: its report
    shows both."""
    from tasks.common.training_plots import training_png  # matplotlib takes a second to import

    (context.path / PLOT_NAME).write_bytes(training_png(log))
    summary = context.path / SUMMARY_NAME
    before = summary.read_text(encoding="utf-8") + "\n" if summary.exists() else ""
    summary.write_text(before + summary_markdown(log), encoding="utf-8")


class _Listener:
    """Turns the trainer's events into log lines a person wants to read, and commits checkpoints."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._next_line = 0.0
        self.done: dict[str, Any] = {}

    def __call__(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "step" if time.monotonic() >= self._next_line:
                self._next_line = time.monotonic() + SECONDS_BETWEEN_LINES
                self._context.log.info("%s", _step_line(event))
            case "eval":
                self._context.log.info("%s", _eval_line(event))
            case "early_stop":
                self._context.log.info(
                    "step %d: the held-out loss no longer falls; step %s was best, and is kept",
                    event["step"],
                    event["best_step"],
                )
            case "skipped":
                self._context.log.warning("%s", _skipped_line(event))
            case "rolled_back":
                self._context.log.warning(
                    "step %d: %s; going back to step %d",
                    event["from_step"],
                    event["why"],
                    event["step"],
                )
            case "damaged_checkpoint":
                self._context.log.warning(
                    "%s is damaged (%s); going on from step %d",
                    event["path"],
                    event["damage"],
                    event["step"],
                )
            case "resumed":
                self._context.log.info("resumed at step %d", event["step"])
            case "checkpoint":
                self._commit(Path(event["path"]))
            case "done":
                self.done = event

    def _commit(self, checkpoint: Path) -> None:
        """Commit a checkpoint from links of our own: the trainer soon deletes the old ones."""
        aside = self._context.path / ASIDE_FOLDER
        shutil.rmtree(aside, ignore_errors=True)
        names = _put_aside(self._context.path, checkpoint, aside)
        if names is None:
            self._context.log.warning("%s was deleted before its commit", checkpoint.name)
            return
        self._context.workspace.commit("checkpoint", {"path": checkpoint.name}, names, aside)
        shutil.rmtree(aside)


def _put_aside(workspace: Path, checkpoint: Path, aside: Path) -> list[str] | None:
    """Keep a checkpoint and the log as they are now; their names, None if it is no longer whole."""
    kept = aside / checkpoint.relative_to(workspace)
    try:
        shutil.copytree(checkpoint, kept, copy_function=_link)
        for best in (workspace / TRAIN_FOLDER / BEST_FOLDER).glob("step-*"):
            shutil.copytree(best, aside / best.relative_to(workspace), copy_function=_link)
    except OSError:
        if _is_whole(checkpoint):
            raise
    if not _is_whole(kept):
        return None
    log = f"{TRAIN_FOLDER}/{METRICS_NAME}"
    shutil.copyfile(workspace / log, aside / log)  # not a link: the trainer appends to it
    return [p.relative_to(aside).as_posix() for p in sorted(aside.rglob("*")) if p.is_file()]


def _is_whole(checkpoint: Path) -> bool:
    """Whether every file is there that its list names; the trainer may have begun to delete it."""
    try:
        names = json.loads((checkpoint / CHECKSUMS_NAME).read_text())
    except FileNotFoundError:
        return False
    return all((checkpoint / name).exists() for name in names)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _step_line(event: dict[str, Any]) -> str:
    extra = "".join(f", {k} {event[k]:.3f}" for k in ("accuracy", "margin") if k in event)
    speed = event["tokens_per_second"]
    return (
        f"step {event['step']}/{event['steps']}: loss {event['loss']:.3f}{extra}, "
        f"lr {event['lr']:.2e}, {f'{speed:,} tokens/s, ' if speed else ''}"
        f"{event['eta_seconds']:.0f} s to go"
    )


def _skipped_line(event: dict[str, Any]) -> str:
    num_documents = sum(map(len, event["documents"].values()))
    return (
        f"step {event['step']}: no update is made of this batch ({event['why']}); "
        f"{num_documents} documents: bloomery lineage ARTIFACT --skipped lists them"
    )


def _eval_line(event: dict[str, Any]) -> str:
    values = [
        f"{name} {value:.4f}"
        for name, value in event.items()
        if name.startswith("val_") and isinstance(value, float)
    ]
    return f"step {event['step']}: " + ", ".join(values)
