"""The training loop: one for every objective.

In: a ``TrainJob``. Out: in ``out_dir``, ``metrics.jsonl`` as it goes, ``checkpoints/`` to resume
from, and at the end the model in ``final/``. Everything that shapes the weights is a function of
the job and the step, so that a run killed at any moment and started again ends with the same bits
(on a CPU with the same number of threads). Clocks decide only when to save and what to log.

Signals, processes and exit codes are ``launch.py``'s.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from model import evaluation, reports
from model.batches import TokenBatch
from model.branch import branched
from model.chat import load_tokenizer
from model.checkpoint import (
    check_whole,
    checkpoint_path,
    export_model,
    latest_checkpoint,
    load_checkpoint,
    newest_whole,
    read_state,
    step_of,
)
from model.compute import Compute
from model.devices import pick_device
from model.distributed import PeerFailedError, Ranks
from model.early_stop import EarlyStop
from model.guard import Guard
from model.job import TrainJob
from model.language_model import LanguageModel
from model.metrics import MetricsLog
from model.moving_average import MovingAverage
from model.objectives.base import add_into, objective_named
from model.observe import flops_of, make_meter
from model.optim import make_optimizer, set_learning_rate
from model.parallel import ParallelModel
from model.prefetch import Prefetch, made_ahead
from model.progress import Progress
from model.refusals import leave_out, refuse, stop
from model.samples import write_samples
from model.saver import Saver
from model.schedule import learning_rate
from model.shared_matrices import SharedMatrices
from model.snapshot import Layout
from model.start import check_fit, check_same_job, check_shards, initial_model, what_shapes_weights

log = logging.getLogger(__name__)

Outcome = Literal["done", "stopped"]


def train(job: TrainJob, should_stop: Callable[[], bool] = lambda: False) -> Outcome:
    """Run the job from its newest checkpoint, or from the beginning, to its end or until
    ``should_stop()``, which is asked after every step."""
    trainer = Trainer(job)
    try:
        return trainer.run(should_stop)
    finally:
        trainer.close()


class Trainer:
    """A job in progress."""

    def __init__(self, job: TrainJob) -> None:
        self.job = job
        self.device = pick_device(job.device)
        torch.manual_seed(job.seed)
        self.ranks = Ranks.join(self.device, job.parallel)
        self.tokenizer_path = Path(job.tokenizer or f"{job.init_from}/tokenizer.json")
        self.tokenizer = tokenizer = load_tokenizer(self.tokenizer_path)
        objective = objective_named(job.objective)
        self.model = initial_model(job)
        self._what_shapes_weights = what_shapes_weights(job)  # once: it reads what weights began as
        check_fit(job, self.model, tokenizer)
        self.compute = Compute(job, self.device)
        self.compute.prepare(self.model)
        self.loader, self.val_loader = objective.make_loaders(job, tokenizer)
        check_shards(self.model, self.loader, self.val_loader)
        self.num_too_long = getattr(self.loader, "num_too_long", 0)
        self.loader = made_ahead(self.loader, job.prefetch_batches, self.device)
        self.criterion = objective.make_criterion(job, tokenizer, self.device)
        flops = flops_of(self.model, self.criterion)
        self.parallel = ParallelModel(
            self.model, self.criterion, self.ranks, self.device, self.compute.dtype
        )
        self.layout = Layout(self.ranks, self.parallel.cuts() if self.ranks.world > 1 else {})
        matrices = SharedMatrices(self.parallel) if self.ranks.world > 1 else None
        self.optimizer = make_optimizer(self.model, job.optim, matrices)
        self.compute.prepare_optimizer(self.optimizer)
        self.byte_lengths_V = evaluation.byte_lengths(job, tokenizer, self.device)
        self.checkpoints = Path(job.out_dir) / "checkpoints"
        self.saver = Saver(self.checkpoints, self.layout, job.checkpoint_in_background)
        self.step = 0
        self.is_resumed, self._owes_evaluation = False, False
        self._trouble: Exception | None = None
        self.last_eval: dict[str, Any] = {}
        self.guard = Guard.of(job)
        self.average = MovingAverage(self.model, job.ema_decay) if job.ema_decay else None
        self.early_stop = EarlyStop(job.out_dir, job.early_stop_patience, job.early_stop_min_delta)
        if self.ranks.data_rank:  # dropout: other rows, other draws
            torch.manual_seed(job.seed + self.ranks.data_rank)
        found: Path | None = None
        damages: dict[Path, str] = {}
        with self.ranks.saving_together():
            if self.ranks.rank == 0:
                found, damages = newest_whole(self.checkpoints)
        threads = self.resume(self._told_by_first(found))
        torch.set_num_threads(threads or self.compute.threads(self.model))
        self.meter = make_meter(job, flops, self.device, self.ranks.world)
        self.metrics: MetricsLog | None = None
        with self.ranks.together():
            if self.ranks.rank == 0:
                step = self.step if self.is_resumed else 0  # a branch begins a log of its own
                self.metrics = MetricsLog(job.out_dir, step, self._owes_evaluation)
        self.progress = Progress()
        for path, damage in damages.items():
            log.warning("%s is damaged (%s): going on from step %d", path, damage, self.step)
            self.log("damaged_checkpoint", step=self.step, path=str(path), damage=damage)
        self.meter.begin()
        self._last_saved = time.monotonic()

    def run(self, should_stop: Callable[[], bool]) -> Outcome:
        """All remaining steps, the last evaluation and the export."""
        if not self.is_resumed:
            reports.start(self)
        if self.job.guard.may_roll_back and self.newest_checkpoint() is None:
            self.save()
        if self._owes_evaluation:
            self._evaluate_and_log()
        while not self._is_over():
            if not self.train_one_step():
                continue  # it went back to a checkpoint
            with self._telling_all():
                self.saver.check()
            stopping, seconds_are_up = self._vote(should_stop(), self._seconds_are_up())
            is_evaluation_due = self._every(self.job.eval_every_steps)
            if stopping:  # there may be no time to evaluate: whoever goes on does it first
                self.save(owes_evaluation=is_evaluation_due)
            if stopping and not self._is_over():
                self.saver.wait()
                self.log("stopped", step=self.step)
                self._vote()
                return "stopped"
            if is_evaluation_due:
                self._evaluate_and_log()
            if seconds_are_up or self._is_checkpoint_due():
                self.save()
        self._finish()
        return "done"

    def close(self) -> None:
        """Let go of the log and of the other processes; a save under way is ended."""
        with contextlib.suppress(Exception):  # whoever closes early has a better error to tell
            self.saver.wait()
        if self.metrics:
            self.metrics.close()
        if isinstance(self.loader, Prefetch):
            self.loader.close()
        self.ranks.leave()

    def _is_over(self) -> bool:
        return self.step >= self.job.steps or self.early_stop.is_over

    def _vote(self, *flags: bool) -> list[bool]:
        """Which of these any rank says; the run ends here on all where one has failed alone."""
        *flags_of_any, has_failed = self.ranks.anyone(*flags, self._trouble is not None)
        if has_failed:
            raise self._trouble or PeerFailedError("another process has failed; see its error")
        return flags_of_any

    @contextlib.contextmanager
    def _telling_all(self) -> Iterator[None]:
        """What a rank does alone: an error is raised at the next vote, on all of them."""
        try:
            yield
        except Exception as error:
            self._trouble = self._trouble or error

    # --- one step ------------------------------------------------------------------------------

    def train_one_step(self) -> bool:
        """Whether the run is a step further."""
        lr = learning_rate(self.step, self.job.steps, self.job.optim)
        set_learning_rate(self.optimizer, lr)
        with self.meter.waiting():
            batch = self.loader.next_batch()
        if self.step in self.guard.left_out:
            leave_out(self, batch, "left out by a rollback")
            return True
        means, grad_norm = self.accumulate(batch)
        trouble = self.guard.look(self.step, means["loss"], grad_norm)
        if trouble:
            return refuse(self, batch, trouble)
        self.optimizer.step()
        if self.average:
            self.average.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.meter.trained(batch)
        if self.step == 1 or self._every(self.job.log_every_steps):
            self._check_finite()
            reports.step(self, lr, means, grad_norm)
        return True

    def accumulate(self, batch: TokenBatch) -> tuple[dict[str, Tensor], Tensor]:
        """Leave the clipped gradient of the batch's mean loss in the model; give back the means
        and the gradient's norm before clipping."""
        count = max(1, self.criterion.count(batch))
        means = self.zeros()
        micros = self.micro_batches(batch)
        for number, (micro, weight) in enumerate(micros, start=1):
            self.parallel.begin_backward(is_last=number == len(micros))
            with self.compute.autocast():
                sums = self.parallel.sums(self.compute.fit(micro).to(self.device))
            (sums["loss"] / count * weight).backward()
            add_into(means, sums, count, weight)
        self.parallel.sum_gradients()  # first: where there were rows, it is already under way
        self.ranks.add(means.values(), "replica", "shard")
        return means, self.parallel.clip(self.job.optim.clip_norm)

    def zeros(self) -> dict[str, Tensor]:
        """One sum for each of the criterion's names: a rank without rows adds zeros. In float64:
        an evaluation adds up more than float32 can tell apart."""
        zero = torch.zeros((), device=self.device, dtype=torch.float64)
        return {name: zero.clone() for name in self.criterion.names}

    def micro_batches(self, batch: TokenBatch) -> list[tuple[TokenBatch, float]]:
        """This rank's part of a batch, piece by piece, and what each piece weighs."""
        rows_per_sample = self.loader.rows_per_sample
        rows = (self.job.micro_batch_size or self.job.batch_size) * rows_per_sample
        return self.parallel.micro_batches(batch, rows_per_sample, rows)

    # --- evaluation ----------------------------------------------------------------------------

    def evaluate(self) -> dict[str, Any]:
        """Means over the held-out batches; see ``evaluation.py``."""
        return evaluation.evaluate(self)

    def _evaluate_and_log(self) -> None:
        self._check_finite()
        self.last_eval = self.evaluate()
        if self.average:
            self.last_eval |= self.average.measured(self.evaluate)
        if self.last_eval:
            self.log("eval", step=self.step, **self.last_eval, epochs=self.loader.epochs())
            self.early_stop.look(self.step, self.last_eval, self._export)
            if self.early_stop.is_over:
                self.log("early_stop", step=self.step, best_step=self.early_stop.best.get("step"))
        if self.job.sample_prompts:  # on every rank: their models may be one, in pieces
            with self.compute.autocast():
                samples = self.parallel.run(lambda m: write_samples(m, self.tokenizer, self.job))
            self.parallel.come_apart()
            self.log("samples", step=self.step, samples=samples)
        self.meter.pause()

    # --- saving and resuming -------------------------------------------------------------------

    def _is_checkpoint_due(self) -> bool:
        every = self.job.checkpoint_every_steps
        return self._is_over() or bool(every and self.step % every == 0)

    def _seconds_are_up(self) -> bool:
        """By this rank's clock."""
        seconds = self.job.checkpoint_every_seconds
        return seconds is not None and time.monotonic() - self._last_saved >= seconds

    def save(self, *, owes_evaluation: bool = False) -> None:
        """A checkpoint of this step; it is written while training goes on."""
        self._check_finite()  # a checkpoint of NaNs would replace a good one
        step, guard = self.step, self.job.guard
        state = {
            "job": self._what_shapes_weights,
            "loader": self.loader.state_dict(),
            "last_eval": self.last_eval,
            "early_stop": self.early_stop.state_dict(),
            "owes_evaluation": owes_evaluation,
            "threads": torch.get_num_threads(),
            "guard": self.guard.state_dict(),
            "num_averaged": self.average.num_updates if self.average else 0,
        }

        def on_saved(path: Path) -> None:
            with self._telling_all():
                if self.ranks.rank == 0:
                    self.early_stop.saved(self.checkpoints)
            self.log("checkpoint", step=step, path=str(path))

        self.saver.save(
            step,
            self.model,
            self.optimizer,
            state,
            self.average.tensors() if self.average else None,
            guard.rollback_batches if guard.may_roll_back else None,
            on_saved,
        )
        self._last_saved = time.monotonic()
        self.meter.pause()

    def resume(self, path: Path | None) -> int | None:
        """Go on from a whole checkpoint, or from the one that the job branches off, if there is
        either; gives back the threads it was made with."""
        is_branch = path is None and self.job.branch_from is not None
        if is_branch:
            path = Path(str(self.job.branch_from))
        if path is None:
            return None
        if is_branch:
            with self.ranks.saving_together():
                if self.ranks.rank == 0:
                    check_whole(path)
        state = read_state(path)
        if is_branch:
            state = branched(state, self.job)
        check_same_job(state, self._what_shapes_weights, self.model, path)
        if state["step"] > self.job.steps:
            raise ValueError(
                f"{path} is past the job's {self.job.steps} steps: raise steps or use a new out_dir"
            )
        checkpoint = load_checkpoint(path, self.model, self.optimizer, self.layout)
        self.step = checkpoint.step
        self.loader.load_state_dict(state["loader"])
        self.last_eval = state["last_eval"]
        self.early_stop.load_state_dict(state.get("early_stop", {}))
        self.is_resumed = self.step > 0 and not is_branch
        self._owes_evaluation = state.get("owes_evaluation", False)
        self.guard.load_state_dict(state["guard"])
        if self.average:
            self.average.load(checkpoint.tensors, state["num_averaged"])
        log.info("resuming from %s", path)
        return self.job.threads or state.get("threads")

    def newest_checkpoint(self, until_step: int | None = None) -> Path | None:
        """As rank 0 sees it."""
        found = None
        if self.ranks.rank == 0:
            found = latest_checkpoint(self.checkpoints, until_step)
        return self._told_by_first(found)

    def _told_by_first(self, found: Path | None) -> Path | None:
        step = self.ranks.told_by_first(step_of(found) if found else -1)
        return None if step < 0 else checkpoint_path(self.checkpoints, step)

    def _finish(self) -> None:
        self.saver.wait()
        self._vote()
        final, own = Path(self.job.out_dir) / "final", {}
        with self.ranks.together():
            if self.ranks.rank == 0 or self.early_stop.keeps_last:  # which may be in pieces
                own = self.early_stop.finish(final, self._export)
        self.log(
            "done",
            step=self.step,
            path=str(final),
            epochs=self.loader.epochs(),
            tokens=self.loader.tokens(),
            skipped_batches=len(self.guard.left_out),
            rollbacks=self.guard.num_rollbacks,
            **self.last_eval | own,
        )
        self._vote()

    def _export(self, folder: Path) -> None:
        """The averages where there are any, else the weights; on all ranks, which hold pieces.
        A model that is made for it draws first weights, which training must not miss."""
        model: LanguageModel | None = self.model
        own = self.average.in_place() if self.average else contextlib.nullcontext()
        with own, torch.random.fork_rng(devices=[]):
            if not self.parallel.is_whole:
                with self.ranks.together():
                    model = None if self.ranks.rank else initial_model(self.job)
                self.parallel.gather_into(model)
            with self.ranks.together():
                if self.ranks.rank == 0 and model is not None:
                    export_model(folder, model, self.tokenizer_path)

    # --- the log -------------------------------------------------------------------------------

    def log(self, event: str, **fields: Any) -> None:
        """A line in ``metrics.jsonl``, by the first rank."""
        if self.metrics:
            with self._telling_all():
                self.metrics.write(event, **fields)
            self.progress.tell(event, fields)

    def _check_finite(self) -> None:
        """Whatever is saved or reported is looked at first; one look for many steps keeps a GPU
        busy."""
        trouble = self.guard.not_finite()
        if trouble:
            stop(self, trouble)

    def _every(self, steps: int) -> bool:
        return self.step % steps == 0 or self.step == self.job.steps
