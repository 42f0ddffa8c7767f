"""The training loop: one for pretraining, masked language modelling, sft and dpo.

In: a ``TrainJob``. Out: in ``out_dir``, ``metrics.jsonl`` as it goes, ``checkpoints/`` to resume
from, and at the end the model in ``final/``. Everything that shapes the weights is a function of
the job and the step, so that a run killed at any moment and started again ends with the same bits
(on a CPU with the same number of threads). Clocks decide only when to save and what to log.

Signals, processes and exit codes are ``launch.py``'s.
"""

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor

from model.adapters import add_adapters
from model.batches import Loader, TokenBatch
from model.chat import load_tokenizer, token_byte_lengths
from model.checkpoint import (
    checkpoint_path,
    export_model,
    latest_checkpoint,
    load_checkpoint,
    load_model,
    read_weights,
    step_of,
)
from model.decoder import Decoder
from model.distributed import Ranks
from model.job import TrainJob
from model.language_model import LanguageModel, make_model
from model.metrics import MetricsLog
from model.objectives.base import objective_named
from model.optim import learning_rate, make_optimizer, set_learning_rate
from model.packed_loader import PackedLoader
from model.parallel import ParallelModel
from model.saver import Saver
from model.shared_matrices import SharedMatrices
from model.snapshot import Layout

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
        if job.threads is not None:
            torch.set_num_threads(job.threads)
        torch.manual_seed(job.seed)
        self.ranks = Ranks.join(self.device, job.parallel)
        self.tokenizer_path = Path(job.tokenizer or f"{job.init_from}/tokenizer.json")
        tokenizer = load_tokenizer(self.tokenizer_path)
        self.model = _initial_model(job)
        _check_fit(job, self.model, tokenizer)
        objective = objective_named(job.objective)
        self.loader, self.val_loader = objective.make_loaders(job, tokenizer)
        _check_shards(self.model, self.loader, self.val_loader)
        self.criterion = objective.make_criterion(job, tokenizer, self.device)
        self.parallel = ParallelModel(self.model, self.criterion, self.ranks, self.device)
        self.optimizer = make_optimizer(self.model, job.optim, self._matrices())
        self.byte_lengths_V = _byte_lengths(job, tokenizer, self.device)
        self.checkpoints = Path(job.out_dir) / "checkpoints"
        self.step = 0
        self.last_eval: dict[str, float] = {}
        self._unchecked: list[tuple[int, Tensor, Tensor]] = []
        self.layout = Layout(self.ranks, self.parallel.cuts() if self.ranks.world > 1 else {})
        self.saver = Saver(
            self.checkpoints,
            self.layout,
            self._log_saved,
            in_background=job.checkpoint_in_background,
        )
        if self.ranks.data_rank:  # dropout: other rows, other draws
            torch.manual_seed(job.seed + self.ranks.data_rank)
        self._resume()
        if job.compile:  # after loading: the compiled module has the same parameters
            self.model.hidden = torch.compile(self.model.hidden)  # type: ignore[method-assign]
        self.metrics = MetricsLog(job.out_dir, self.step) if self.ranks.rank == 0 else None
        self._started = self._last_saved = self._last_logged = time.monotonic()
        self._first_step, self._tokens_logged = self.step, self._tokens_seen()

    def run(self, should_stop: Callable[[], bool]) -> Outcome:
        """All remaining steps, the last evaluation and the export."""
        self._report_start()
        while self.step < self.job.steps:
            self._train_one_step()
            stopping = self.ranks.anyone(should_stop())
            self.saver.check()
            if self._every(self.job.eval_every_steps):
                self._evaluate_and_log()
            if stopping or self._checkpoint_due():
                self._save()
            if stopping and self.step < self.job.steps:
                self.saver.wait()
                self._log("stopped", step=self.step)
                return "stopped"
        self._finish()
        return "done"

    def close(self) -> None:
        """Let go of the log and of the other processes; a save under way is ended."""
        with contextlib.suppress(Exception):  # whoever closes early has a better error to tell
            self.saver.wait()
        if self.metrics:
            self.metrics.close()
        self.ranks.leave()

    # --- one step ------------------------------------------------------------------------------

    def _train_one_step(self) -> None:
        lr = learning_rate(self.step, self.job.steps, self.job.optim)
        set_learning_rate(self.optimizer, lr)
        means, grad_norm = self.accumulate(self.loader.next_batch())
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._unchecked.append((self.step, means["loss"], grad_norm))
        if self.step == 1 or self._every(self.job.log_every_steps):
            self._log_step(lr, means, grad_norm)

    def accumulate(self, batch: TokenBatch) -> tuple[dict[str, Tensor], Tensor]:
        """Leave the clipped gradient of the batch's mean loss in the model; give back the means
        and the gradient's norm before clipping."""
        count = max(1, self.criterion.count(batch))
        means = self._zeros()
        micros = self._micro_batches(batch)
        for number, (micro, weight) in enumerate(micros, start=1):
            self.parallel.begin_backward(is_last=number == len(micros))
            with self._autocast():
                sums = self.parallel.loss(micro.to(self.device))
            (sums["loss"] / count * weight).backward()
            _add_into(means, sums, count, weight)
        self.parallel.sum_gradients()  # first: where there were rows, it is already under way
        self.ranks.add(means.values(), "replica", "shard")
        return means, self.parallel.clip(self.job.optim.clip_norm)

    def _zeros(self) -> dict[str, Tensor]:
        """One sum for each of the criterion's names: a rank without rows adds zeros. In float64:
        an evaluation adds up more than float32 can tell apart."""
        zero = torch.zeros((), device=self.device, dtype=torch.float64)
        return {name: zero.clone() for name in self.criterion.names}

    def _micro_batches(self, batch: TokenBatch) -> list[tuple[TokenBatch, float]]:
        rows_per_sample = self.loader.rows_per_sample
        rows = (self.job.micro_batch_size or self.job.batch_size) * rows_per_sample
        return self.parallel.micro_batches(batch, rows_per_sample, rows)

    def _matrices(self) -> SharedMatrices | None:
        return SharedMatrices(self.parallel) if self.ranks.world > 1 else None

    # --- evaluation ----------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Means over the held-out batches, always the same ones; trains nothing, moves nothing."""
        if self.val_loader is None:
            return {}
        totals, count, num_bytes = self._zeros(), 0, 0
        self.model.eval()
        for batch in self.val_loader.sweep(self.job.eval_batches):
            count += self.criterion.count(batch)
            for micro, weight in self._micro_batches(batch):
                micro = micro.to(self.device)
                with self._autocast():
                    _add_into(totals, self.parallel.loss(micro), 1, weight)
                num_bytes += self._target_bytes(micro) if weight else 0
        self.parallel.end_evaluation()
        self.model.train()
        totals["bytes"] = torch.tensor(float(num_bytes), device=self.device, dtype=torch.float64)
        self.ranks.add(totals.values(), "replica", "shard")
        return _val_metrics({name: float(value) for name, value in totals.items()}, count)

    def _target_bytes(self, batch: TokenBatch) -> int:
        """Bytes of text that the batch's targets stand for."""
        if self.byte_lengths_V is None:
            return 0
        return int(self.byte_lengths_V[batch.targets_BT].sum())

    def _evaluate_and_log(self) -> None:
        self._check_finite()
        self.last_eval = self.evaluate()
        if self.last_eval:
            self._log("eval", step=self.step, **self.last_eval)
        self._skip_clock()

    # --- saving and resuming -------------------------------------------------------------------

    def _checkpoint_due(self) -> bool:
        job = self.job
        if self.step == job.steps:
            return True
        if job.checkpoint_every_steps and self.step % job.checkpoint_every_steps == 0:
            return True
        elapsed_seconds = time.monotonic() - self._last_saved
        return (
            job.checkpoint_every_seconds is not None
            and elapsed_seconds >= job.checkpoint_every_seconds
        )

    def _save(self) -> None:
        self._check_finite()  # a checkpoint of NaNs would replace a good one
        state = {
            "job": _what_shapes_weights(self.job),
            "loader": self.loader.state_dict(),
            "last_eval": self.last_eval,
        }
        self.saver.save(self.step, self.model, self.optimizer, state)
        self._last_saved = time.monotonic()
        self._skip_clock()

    def _log_saved(self, step: int, path: Path) -> None:
        self._log("checkpoint", step=step, path=str(path))

    def _resume(self) -> None:
        path = self._newest_checkpoint()
        if path is None:
            return
        checkpoint = load_checkpoint(path, self.model, self.optimizer, self.layout)
        _check_same_job(checkpoint.state["job"], self.job, path)
        if checkpoint.step > self.job.steps:
            raise ValueError(
                f"{path} is past the job's {self.job.steps} steps: raise steps or use a new out_dir"
            )
        self.step = checkpoint.step
        self.loader.load_state_dict(checkpoint.state["loader"])
        self.last_eval = checkpoint.state["last_eval"]
        log.info("resuming from %s", path)

    def _newest_checkpoint(self) -> Path | None:
        """As rank 0 sees it."""
        found = latest_checkpoint(self.checkpoints) if self.ranks.rank == 0 else None
        step = self.ranks.told_by_first(step_of(found) if found else -1)
        return None if step < 0 else checkpoint_path(self.checkpoints, step)

    def _finish(self) -> None:
        self.saver.wait()
        if self.ranks.rank != 0:
            return
        model = self.model if self.parallel.is_whole else self._put_together()
        path = export_model(Path(self.job.out_dir) / "final", model, self.tokenizer_path)
        self._log(
            "done",
            step=self.step,
            path=str(path),
            epochs=self.loader.epochs(),
            tokens=self.loader.tokens(),
            **self.last_eval,
        )

    def _put_together(self) -> LanguageModel:
        """The whole model, on the host, from the last checkpoint."""
        model = _initial_model(self.job)
        read_weights(checkpoint_path(self.checkpoints, self.step), model)
        return model

    # --- the log -------------------------------------------------------------------------------

    def _log(self, event: str, **fields: Any) -> None:
        if self.metrics:
            self.metrics.write(event, **fields)

    def _report_start(self) -> None:
        if self.step:
            return  # the log says "resumed" instead
        too_long = getattr(self.loader, "num_too_long", 0)
        self._log(
            "start",
            step=0,
            steps=self.job.steps,
            objective=self.job.objective,
            num_parameters=self.parallel.num_parameters,
            device=str(self.device),
            processes=self.ranks.world,
            records_too_long=too_long,
        )

    def _log_step(self, lr: float, means: dict[str, Tensor], grad_norm: Tensor) -> None:
        self._check_finite()
        elapsed_seconds = time.monotonic() - self._started
        seconds_a_step = elapsed_seconds / (self.step - self._first_step)
        self._log(
            "step",
            step=self.step,
            steps=self.job.steps,
            lr=lr,
            grad_norm=float(grad_norm),
            **{name: float(value) for name, value in means.items()},
            tokens=self._tokens_seen(),
            tokens_per_second=self._tokens_per_second(),
            eta_seconds=round(seconds_a_step * (self.job.steps - self.step), 1),
        )
        self._skip_clock()

    def _check_finite(self) -> None:
        """Read losses and gradient norms since the last look; one look for many steps keeps a GPU
        busy. Whatever is saved or reported is looked at first."""
        if not self._unchecked:
            return
        numbers = torch.stack(
            [torch.stack([loss, norm.double()]) for _, loss, norm in self._unchecked]
        )
        for (step, *_), (loss, norm) in zip(self._unchecked, numbers.tolist(), strict=True):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                good = latest_checkpoint(self.checkpoints)
                raise FloatingPointError(
                    f"at step {step} the loss is {loss} and its gradient's norm {norm}; training "
                    "stops. Lower optim.lr or optim.clip_norm, or look at the data. Last good "
                    f"checkpoint: {good}"
                )
        self._unchecked.clear()

    def _tokens_per_second(self) -> int | None:
        """Since the last line; None right after a pause, when nothing has been trained since."""
        tokens = self._tokens_seen() - self._tokens_logged
        return round(tokens / (time.monotonic() - self._last_logged)) if tokens else None

    def _skip_clock(self) -> None:
        """Evaluating and saving are not training: leave them out of tokens per second."""
        self._last_logged, self._tokens_logged = time.monotonic(), self._tokens_seen()

    def _tokens_seen(self) -> int:
        return sum(self.loader.tokens().values())

    def _every(self, steps: int) -> bool:
        return self.step % steps == 0 or self.step == self.job.steps

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return contextlib.nullcontext()  # a CPU's bf16 is slower than its fp32


def pick_device(name: str) -> torch.device:
    """``"auto"``: a GPU when there is one, this process's own when there are several."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    device = torch.device(name)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(f'device {name!r}: torch sees no GPU here; use "auto" or "cpu"')
        torch.cuda.set_device(device)
    return device


def _initial_model(job: TrainJob) -> LanguageModel:
    if job.init_from is None:
        assert job.model is not None  # TrainJob sees to it
        return make_model(job.model)
    model = load_model(job.init_from)[0].train()
    if model.finetune:
        raise ValueError(
            f"{job.init_from} was fine-tuned beside a frozen model ({model.finetune.method}); "
            "start from that model, or from a method that is merged into it (lora, bitfit)"
        )
    if job.finetune:
        if not isinstance(model, Decoder):
            raise ValueError(f"finetune works on decoders, not on {model.config.architecture}")
        add_adapters(model, job.finetune)
    return model


def _check_fit(job: TrainJob, model: LanguageModel, tokenizer: Tokenizer) -> None:
    if model.config.architecture not in objective_named(job.objective).architectures:
        raise ValueError(f"objective {job.objective!r} does not train {model.config.architecture}s")
    if job.seq_len > model.config.max_seq_len:
        raise ValueError(
            f"seq_len = {job.seq_len} exceeds the model's max_seq_len = {model.config.max_seq_len}"
        )
    vocab_size = tokenizer.get_vocab_size(with_added_tokens=True)
    if vocab_size > model.config.vocab_size:
        raise ValueError(
            f"the tokenizer has {vocab_size} tokens, the model's vocab_size is "
            f"{model.config.vocab_size}: give the tokenizer that the model was made for"
        )


def _check_shards(model: LanguageModel, *loaders: Loader | None) -> None:
    for loader in loaders:
        if isinstance(loader, PackedLoader) and loader.vocab_size > model.config.vocab_size:
            raise ValueError(
                f"the token shards were written with a vocabulary of {loader.vocab_size}, the "
                f"model's is {model.config.vocab_size}: tokenize them with this model's tokenizer"
            )


def _byte_lengths(job: TrainJob, tokenizer: Tokenizer, device: torch.device) -> Tensor | None:
    """Of every token of the vocabulary, where the loss is also told in bits per byte."""
    if not objective_named(job.objective).in_bytes:
        return None
    return torch.from_numpy(token_byte_lengths(tokenizer)).to(device)


def _what_shapes_weights(job: TrainJob) -> dict[str, Any]:
    """The settings that must not change between a checkpoint and its continuation. Paths and
    devices may; so may ``steps``, to train on."""
    fields = [
        *("objective", "seq_len", "batch_size", "document_mask", "whole_words", "z_loss"),
        *("finetune", "optim", "seed"),
        *("dpo_beta", "dpo_sft_weight"),
    ]
    plain = job.to_json_dict()
    return {name: plain[name] for name in fields}


def _check_same_job(saved: dict[str, Any], job: TrainJob, path: Path) -> None:
    for name, value in _what_shapes_weights(job).items():
        if saved.get(name, "not yet known") != value:
            raise ValueError(
                f"{path} was trained with {name} = {saved.get(name)}, the job now says {value}: "
                "start afresh in another out_dir, or put it back"
            )


def _add_into(
    totals: dict[str, Tensor], sums: dict[str, Tensor], count: int, weight: float
) -> None:
    for name, value in sums.items():
        totals[name] = totals[name] + value.detach() / count * weight


def _val_metrics(totals: dict[str, float], count: int) -> dict[str, float]:
    num_bytes = totals.pop("bytes")
    means = {f"val_{name}": total / max(1, count) for name, total in totals.items()}
    if num_bytes:
        means["val_bits_per_byte"] = totals["loss"] / math.log(2) / num_bytes
    return means
