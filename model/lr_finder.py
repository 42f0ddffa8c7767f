"""Which learning rate: ``python -m model.lr_finder job.json [--sweep 1e-3 2e-3 …]``.

In: a training job. Out: a table, and in ``--output`` its numbers as JSON and a plot. The job's own
``out_dir`` is neither read nor written: every try trains in a folder that is gone afterwards.

Without ``--sweep`` a range test (Smith 2017, arXiv:1506.01186, section 3.3): one short run whose
rate rises exponentially until the loss does. It costs one run and tells the order of magnitude.
With it, short runs of the same job, one a rate, each with a whole schedule: dearer, and to be
believed.
"""

import argparse
import dataclasses
import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.job import PretrainData, TrainJob
from model.launch import read_job
from model.optim import set_learning_rate
from model.options import OptimConfig
from model.schedule import learning_rate
from model.trainer import Trainer

SMOOTHING = 0.9
"""Of the losses' exponential mean: each point is about the mean of ten."""
GIVES_UP_AT = 1.5
"""A range test ends where the smoothed loss is so many times the lowest."""
SAFETY = 10.0
"""The suggestion is the rate of the lowest smoothed loss divided by this: the loss falls on for a
while after the rate has become too high to be kept."""
_TAIL_SHARE = 0.1  # of a run's last training losses, where nothing is held out

Point = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeTest:
    """A loss for each rate tried."""

    points: list[Point]
    """``lr``, ``loss``, ``smoothed_loss``."""
    suggestion: float
    is_bounded: bool
    """Whether the loss rose again, by a quarter of its fall or beyond all bounds. If not, no rate
    tried was too high, and the suggestion may be too low."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A run for each rate."""

    runs: list[dict[str, float | None]]
    """``lr`` and ``loss``, in the order of rates; no loss where the run diverged."""
    measured: str
    """Of which loss: "held out", or "training" where the job holds nothing out."""
    best: float

    @property
    def is_at_edge(self) -> bool:
        """Whether the best rate is the lowest or highest tried: a better one may lie beyond."""
        return self.best in (self.runs[0]["lr"], self.runs[-1]["lr"])


def range_test(
    job: TrainJob, *, min_lr: float = 1e-6, max_lr: float = 1.0, num_steps: int = 100
) -> RangeTest:
    """Train on the job's batches while the rate rises from ``min_lr`` to ``max_lr``.

    Raises:
        ValueError: the rates are in no order, or the loss never fell.
    """
    if not 0 < min_lr < max_lr:
        raise ValueError(f"min_lr must be positive and below max_lr; got {min_lr} and {max_lr}")
    if num_steps < 10:
        raise ValueError(f"a range test needs 10 steps or more; got {num_steps}")
    points: list[Point] = []
    is_bounded = False
    mean, lowest = 0.0, math.inf
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(_short(job, folder, num_steps))
        try:
            for step in range(num_steps):
                lr = min_lr * (max_lr / min_lr) ** (step / (num_steps - 1))
                loss = _step(trainer, lr)
                mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
                smoothed = mean / (1 - SMOOTHING ** (step + 1))  # the mean began at nought
                if not smoothed <= GIVES_UP_AT * lowest:  # nor is a NaN
                    is_bounded = True
                    break
                points.append({"lr": lr, "loss": loss, "smoothed_loss": smoothed})
                lowest = min(lowest, smoothed)
        finally:
            trainer.close()
    if not points:
        raise ValueError(
            f"the loss is not finite at the first step, lr = {min_lr}: look at the data"
        )
    best = min(points, key=lambda point: point["smoothed_loss"])
    if best is points[0]:
        raise ValueError(
            f"the loss only rises from min_lr = {min_lr} on: lower min_lr, or look at the data"
        )
    fall, rise = (abs(points[end]["smoothed_loss"] - best["smoothed_loss"]) for end in (0, -1))
    return RangeTest(
        points=points,
        suggestion=best["lr"] / SAFETY,
        is_bounded=is_bounded or rise > fall / 4,
    )


def sweep(
    job: TrainJob,
    rates: Sequence[float],
    *,
    num_steps: int = 100,
    on_run: Callable[[dict[str, float | None]], None] = lambda run: None,
) -> Sweep:
    """Train the job for ``num_steps`` steps with each rate: the same weights at first, the same
    batches, a schedule of that length.

    Raises:
        ValueError: fewer than two rates, or all diverged.
    """
    rates = sorted(set(rates))
    if len(rates) < 2:
        raise ValueError(f"a sweep compares two rates or more; got {rates}")
    runs, measured = [], "training"
    for rate in rates:
        own = dataclasses.replace(job, optim=dataclasses.replace(job.optim, lr=rate))
        with tempfile.TemporaryDirectory() as folder:
            loss, measured = _run(_short(own, folder, num_steps))
        runs.append({"lr": rate, "loss": loss})
        on_run(runs[-1])
    whole = [(run["loss"], run["lr"]) for run in runs if run["loss"] is not None]
    if not whole:
        raise ValueError(f"training diverged with every rate of {rates}: try lower ones")
    best = min(whole)[1]
    assert best is not None
    return Sweep(runs=runs, measured=measured, best=best)


def _short(job: TrainJob, folder: str, num_steps: int) -> TrainJob:
    """The job in another folder, for as many steps, silent.

    Raises:
        ValueError: it is a branch of another run, whose rate is not its own to choose.
    """
    if job.branch_from is not None:
        raise ValueError(
            f"branch_from = {job.branch_from}: a branch has the learning rate of the run that it "
            "goes on from; look for the rate of that run"
        )
    return dataclasses.replace(
        job,
        data=_begun(job.data, num_steps) if isinstance(job.data, PretrainData) else job.data,
        optim=_short_schedule(job, num_steps),
        out_dir=folder,
        steps=num_steps,
        eval_every_steps=num_steps,
        log_every_steps=1,
        checkpoint_every_steps=None,
        checkpoint_every_seconds=None,
        early_stop_patience=None,
        sample_prompts=[],
        heartbeat_path=None,
    )


def _begun(data: PretrainData, num_steps: int) -> PretrainData:
    """Without the mixtures that so few steps do not reach."""
    phases = [phase for phase in data.phases if phase.first_step < num_steps]
    drawn_from = set(data.weights).union(*(phase.weights for phase in phases))
    groups = {name: shards for name, shards in data.groups.items() if name in drawn_from}
    return dataclasses.replace(data, groups=groups, phases=phases)


def _short_schedule(job: TrainJob, num_steps: int) -> OptimConfig:
    """A warm-up of a tenth at most, and a decay that has as large a share as in the job."""
    optim, first = job.optim, job.optim.wsd_first_decay_step
    ratio = optim.wsd_decay_ratio
    if optim.decay == "wsd" and first is not None:
        ratio = (job.steps - first) / (job.steps - optim.warmup_steps)
    return dataclasses.replace(
        optim,
        warmup_steps=min(optim.warmup_steps, num_steps // 10),
        wsd_first_decay_step=None,
        wsd_decay_ratio=ratio,
    )


def _step(trainer: Trainer, lr: float) -> float:
    """One step at that rate; the loss before it."""
    means, _ = trainer.accumulate(trainer.loader.next_batch())
    set_learning_rate(trainer.optimizer, lr)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)
    return float(means["loss"])


def _run(job: TrainJob) -> tuple[float | None, str]:
    """A run's loss at its end, None if it diverged, and which loss it is."""
    trainer = Trainer(job)
    losses = []
    try:
        for step in range(job.steps):
            losses.append(_step(trainer, learning_rate(step, job.steps, job.optim)))
            if not math.isfinite(losses[-1]):
                return None, "held out" if trainer.val_loader else "training"
        found = trainer.evaluate()
    finally:
        trainer.close()
    tail = losses[-max(1, round(_TAIL_SHARE * len(losses))) :]
    loss = found.get("val_loss", sum(tail) / len(tail))
    return loss if math.isfinite(loss) else None, "held out" if found else "training"


# --- command line ------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Print what was found, and leave it in a folder."""
    arguments = _parser().parse_args(argv)
    try:
        job = read_job(arguments.job)
        job = dataclasses.replace(job, device=arguments.device or job.device)
        output = _output(arguments, job)
        found = _find(arguments, job)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    numbers = output / "lr_finder.json"
    numbers.write_text(json.dumps(dataclasses.asdict(found), indent=1) + "\n", encoding="utf-8")
    print(f"numbers: {numbers}")
    if plot := draw(found, output / "lr_finder.svg"):
        print(f"plot: {plot}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.lr_finder", description="Find a learning rate for a job."
    )
    parser.add_argument("job", type=Path, help="the job, as TrainJob.to_json_dict writes it")
    parser.add_argument("--sweep", type=float, nargs="+", metavar="LR", help="rates to compare")
    parser.add_argument("--steps", type=int, default=100, help="of the range test, of each run")
    parser.add_argument("--min-lr", type=float, default=1e-6)
    parser.add_argument("--max-lr", type=float, default=1.0)
    parser.add_argument("--output", type=Path, default=Path("lr-finder"), help="a folder")
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N; the job's")
    return parser


def _output(arguments: argparse.Namespace, job: TrainJob) -> Path:
    output, own = arguments.output.resolve(), Path(job.out_dir).resolve()
    if output == own or own in output.parents:
        raise ValueError(f"--output {output} is in the job's own out_dir: give another folder")
    try:
        output.mkdir(parents=True, exist_ok=True)  # before the test: it may take hours
    except OSError as error:
        raise ValueError(f"--output {output} cannot be a folder: {error.strerror}") from error
    return output


def _find(arguments: argparse.Namespace, job: TrainJob) -> RangeTest | Sweep:
    if arguments.sweep is None:
        rates = {"min_lr": arguments.min_lr, "max_lr": arguments.max_lr}
        tested = range_test(job, num_steps=arguments.steps, **rates)
        for point in tested.points[:: max(1, len(tested.points) // 20)]:
            print(f"{point['lr']:10.2e}  {point['smoothed_loss']:8.4f}")
        told = "" if tested.is_bounded else " or more: no rate tried was too high"
        print(f"suggestion: {tested.suggestion:.1e}{told}")
        return tested
    compared = sweep(job, arguments.sweep, num_steps=arguments.steps, on_run=_print_run)
    edge = "; it is the last of those tried, a better one may lie beyond"
    print(f"best: {compared.best:.1e} ({compared.measured} loss)" + edge * compared.is_at_edge)
    return compared


def _print_run(run: dict[str, float | None]) -> None:
    loss = "diverged" if run["loss"] is None else f"{run['loss']:8.4f}"
    print(f"{run['lr']:10.2e}  {loss}", flush=True)


def draw(found: RangeTest | Sweep, path: Path) -> Path | None:
    """Loss by rate, as SVG; None where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes: Any = figure.subplots()
    if isinstance(found, RangeTest):
        rates = [point["lr"] for point in found.points]
        axes.plot(rates, [point["loss"] for point in found.points], color="#9aa5ab", lw=0.8)
        axes.plot(rates, [point["smoothed_loss"] for point in found.points], color="#2f4b5c")
        axes.axvline(found.suggestion, color="#d9622b", ls="--", lw=1)
    else:
        whole = [run for run in found.runs if run["loss"] is not None]
        axes.plot(*zip(*((r["lr"], r["loss"]) for r in whole), strict=True), "o-", color="#2f4b5c")
        axes.axvline(found.best, color="#d9622b", ls="--", lw=1)
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss, nats")
    figure.savefig(path, metadata={"Date": None})
    return path


if __name__ == "__main__":
    sys.exit(main())
