"""A training job: all that ``python -m model.launch`` needs to know, as one JSON file.

In: keyword arguments, or a job file. Out: frozen, validated dataclasses. What an objective does is
``objectives/``'s; which there are, and what data each eats, is said here, without importing torch.
"""

import itertools
import math
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from model.architectures import AnyModelConfig, model_config
from model.config import JsonConfig, require
from model.options import ContextConfig, FinetuneConfig, GuardConfig, OptimConfig, ParallelConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class MixturePhase(JsonConfig):
    """From the step ``first_step`` on (steps count from 0) batches are drawn by these weights."""

    first_step: int
    weights: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainData(JsonConfig):
    """Token shards by source, the sources' weights in the mixture, and held-out shards by group.

    ``phases`` are later mixtures; a source has a weight in at least one of all, and no weight
    where it is left out.
    """

    groups: dict[str, list[str]]
    weights: dict[str, float]
    val: dict[str, list[str]] = field(default_factory=dict)
    """A plain list is taken as one group; a group without shards is none."""
    phases: list[MixturePhase] = field(default_factory=list)

    def __post_init__(self) -> None:
        val = {"val": self.val} if isinstance(self.val, list | tuple) else self.val
        object.__setattr__(self, "val", {name: list(own) for name, own in val.items() if own})
        require(bool(self.groups), "groups must name at least one source", self.groups)
        for name, paths in self.groups.items():
            require(bool(paths), f"groups[{name!r}] must list at least one token shard", paths)
        mixtures = [self.weights, *(phase.weights for phase in self.phases)]
        require(
            set().union(*mixtures) == set(self.groups),
            f"weights must name exactly the groups {sorted(self.groups)}",
            sorted(set().union(*mixtures)),
        )
        for weights in mixtures:
            require(bool(weights), "a mixture must have at least one source", weights)
            for name, weight in weights.items():
                require(0 < weight < math.inf, f"weights[{name!r}] must be positive", weight)
        starts = [0, *(phase.first_step for phase in self.phases)]
        require(
            all(early < late for early, late in itertools.pairwise(starts)),
            "phases must begin one after another, after step 0",
            starts[1:],
        )

    @classmethod
    def from_json_dict(cls, data: dict[str, Any]) -> Self:
        """As the base class; held-out shards may be a plain list."""
        if isinstance(data, dict) and isinstance(data.get("val"), list):
            data = data | {"val": {"val": data["val"]}}
        return super(PretrainData, cls).from_json_dict(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordData(JsonConfig):
    """JSONL files of conversations (sft), preference pairs (dpo) or labelled texts (classify)."""

    train: str
    val: str | None = None


OBJECTIVES: dict[str, type[PretrainData | RecordData]] = {
    "pretrain": PretrainData,
    "mlm": PretrainData,
    "sft": RecordData,
    "dpo": RecordData,
    "classify": RecordData,
}
"""What each objective eats; what it does with it is in the file of its name in ``objectives/``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob(JsonConfig):
    """A whole training job: all that ``python -m model.launch`` needs to know."""

    objective: str
    """One of ``OBJECTIVES``."""
    data: PretrainData | RecordData
    out_dir: str
    steps: int
    seq_len: int
    batch_size: int
    """Sequences (pairs, in dpo) in one optimizer step, over all micro-batches and processes."""
    micro_batch_size: int | None = None
    """Sequences (pairs) in memory at once; None takes the whole batch."""
    model: AnyModelConfig | None = None
    """The model to start from nothing; exactly one of ``model`` and ``init_from`` is given."""
    init_from: str | None = None
    """An exported checkpoint folder to start from."""
    context: ContextConfig | None = None
    """Read ``init_from`` with a longer context; None leaves it as it is."""
    branch_from: str | None = None
    """Pretraining: another run's ``checkpoints/step-…`` to go on from, with its optimizer and its
    place in the data, by another ending of the schedule; see ``branch.py``."""
    finetune: FinetuneConfig | None = None
    """Train a few parameters beside ``init_from``, kept frozen; None trains all of it."""
    tokenizer: str | None = None
    """``tokenizer.json``; None takes the one beside ``init_from``."""
    document_mask: bool = True
    """Pretraining: documents packed into one row do not see each other."""
    z_loss: float = 0.0
    """Weight of log²Z in pretraining's and sft's gradients; 1e-4 is usual where logits grow."""
    whole_words: bool = False
    """mlm: hide whole words rather than tokens."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    ema_decay: float | None = None
    """Also evaluate, and in the end export, a moving average of the weights with this decay, such
    as 0.999; None for the weights themselves."""
    seed: int = 0
    eval_every_steps: int = 100
    eval_batches: int | None = None
    """How many batches an evaluation reads, always the same ones; None reads all."""
    early_stop_patience: int | None = None
    """Stop after so many evaluations without a gain, and export the best model rather than the
    last; None trains to the end. The learning rate's schedule stays that of ``steps``."""
    early_stop_min_delta: float = 0.0
    """What the held-out loss must fall by, under the best one, to be a gain."""
    sample_prompts: list[str] = field(default_factory=list)
    """Continued (sft, dpo: answered) at every evaluation; "" begins a document from nothing."""
    sample_tokens: int = 48
    checkpoint_every_steps: int | None = None
    checkpoint_every_seconds: float | None = 120.0
    checkpoint_in_background: bool = True
    """Go on training while a checkpoint is written; it needs the memory of a copy of it."""
    log_every_steps: int = 1
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp8"] = "auto"
    """Of matrix products; weights are kept in float32. auto: bf16 on a GPU, fp32 on a CPU. fp8: the
    blocks' products in float8 through torchao, the rest as bf16."""
    attention: Literal["auto", "sdpa", "flex", "varlen"] = "auto"
    """The kernel for attention within documents and windows; ``attention.py`` tells them apart."""
    activation_checkpointing: Literal["none", "selective", "full"] = "none"
    """What of a forward pass is made again for backward, to save memory; see ``recompute.py``."""
    threads: int | None = None
    """Of a CPU's arithmetic; None measures what suits. A run that is resumed keeps its number."""
    compile: bool = False
    compile_scope: Literal["model", "blocks"] = "model"
    """blocks: one is compiled for all, in a fraction of the time, and runs a little slower."""
    prefetch_batches: int | None = None
    """Batches that a thread makes ahead of time; 0 makes each when it is asked for; None: 2 beside
    a GPU, 0 on a CPU, whose cores the thread would take from training."""
    peak_tflops: float | None = None
    """What one device can do, for the MFU; None: a card's published bf16, a CPU's measured fp32."""
    dpo_beta: float = 0.1
    dpo_sft_weight: float = 0.0
    """Weight of the chosen answer's NLL added to the dpo loss."""
    heartbeat_path: str | None = None
    heartbeat_timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_beginning()
        self._check_objective()
        self._check_schedule()
        self._check_early_stop()
        self._check_samples()
        self._check_parallel()

    def _check_numbers(self) -> None:
        for name in ("steps", "seq_len", "batch_size", "eval_every_steps", "log_every_steps"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        for name in ("micro_batch_size", "eval_batches", "threads", "checkpoint_every_steps"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} must be at least 1, or null", value)
        require((self.prefetch_batches or 0) >= 0, "prefetch_batches: not negative", None)
        for name in ("peak_tflops", "checkpoint_every_seconds", "heartbeat_timeout_seconds"):
            value = getattr(self, name)
            require(value is None or value > 0, f"{name} must be positive, or null", value)
        decay = self.ema_decay
        require(decay is None or 0 < decay < 1, "ema_decay must be in (0, 1), or null", decay)

    def _check_beginning(self) -> None:
        require(
            (self.model is None) != (self.init_from is None),
            "give exactly one of model and init_from",
            f"model={'set' if self.model else None}, init_from={self.init_from}",
        )
        if self.model is not None:
            require(self.tokenizer is not None, "a new model needs a tokenizer", self.tokenizer)
            require(
                self.seq_len <= self.model.max_seq_len,
                f"seq_len must not exceed the model's max_seq_len = {self.model.max_seq_len}",
                self.seq_len,
            )
        if self.finetune:
            require(self.init_from is not None, "finetune needs init_from, a model to freeze", None)
        require(
            self.branch_from is None or (self.objective == "pretrain" and not self.finetune),
            "branch_from is for pretraining",
            self.objective,
        )
        if self.context:
            require(
                self.init_from is not None and self.finetune is None,
                "context needs init_from, a model to lengthen, and trains all of it",
                self.finetune,
            )

    def _check_objective(self) -> None:
        wanted = _data_kind(self.objective)
        require(
            isinstance(self.data, wanted),
            f"objective {self.objective!r} needs {wanted.__name__} as data",
            type(self.data).__name__,
        )
        is_mlm = self.objective == "mlm"
        require(is_mlm or not self.whole_words, "whole_words is for mlm", self.objective)
        require(self.z_loss >= 0, "z_loss must not be negative", self.z_loss)
        require(
            self.z_loss == 0 or self.objective in ("pretrain", "sft"),
            "z_loss is for pretrain and sft",
            self.objective,
        )
        if self.objective == "dpo":
            require(self.init_from is not None, "dpo needs init_from: its reference", None)
        require(self.dpo_beta > 0, "dpo_beta must be positive", self.dpo_beta)
        require(self.dpo_sft_weight >= 0, "dpo_sft_weight: not negative", self.dpo_sft_weight)

    def _check_schedule(self) -> None:
        first = self.optim.wsd_first_decay_step
        require(
            self.optim.decay != "wsd" or first is None or first < self.steps,
            f"wsd_first_decay_step must be before the last of {self.steps} steps; to train without "
            'an ending set decay to "constant"',
            first,
        )
        if isinstance(self.data, PretrainData) and self.data.phases:
            last = self.data.phases[-1].first_step
            require(last < self.steps, f"a phase must begin within the {self.steps} steps", last)

    def _check_early_stop(self) -> None:
        if self.early_stop_patience is not None:
            require(
                self.early_stop_patience >= 1,
                "early_stop_patience must be at least 1, or null",
                self.early_stop_patience,
            )
            require(bool(self.data.val), "early_stop_patience needs held-out data", self.data.val)
            require(
                not self.guard.may_roll_back,
                "early_stop_patience does not go with rollback, which may return to before the "
                "best model: use skip",
                self.early_stop_patience,
            )
        require(self.early_stop_min_delta >= 0, "early_stop_min_delta: not negative", None)

    def _check_samples(self) -> None:
        require(self.sample_tokens >= 1, "sample_tokens must be at least 1", self.sample_tokens)
        if self.sample_prompts:
            require(
                self.objective not in ("mlm", "classify"),
                "an encoder writes no samples: sample_prompts",
                self.objective,
            )
            require(
                self.parallel.tensor == 1,
                "sample_prompts needs a model whose heads are all on one rank: parallel.tensor = 1",
                self.parallel.tensor,
            )

    def _check_parallel(self) -> None:
        require(
            self.precision != "fp8" or self.parallel.tensor == 1,
            "precision = fp8 needs blocks that are whole on a rank: parallel.tensor = 1",
            self.parallel.tensor,
        )

    @classmethod
    def from_json_dict(cls, data: dict[str, Any]) -> Self:
        """As the base class; ``objective`` decides which kind of ``data`` is read."""
        if isinstance(data, dict) and isinstance(data.get("data"), dict):
            kind = _data_kind(data.get("objective"))
            data = data | {"data": kind.from_json_dict(data["data"])}
        if isinstance(data, dict) and isinstance(data.get("model"), dict):
            data = data | {"model": model_config(data["model"])}
        # Named in full: slots=True makes a new class, which a bare super() would not find.
        return super(TrainJob, cls).from_json_dict(data)


def _data_kind(objective: object) -> type[PretrainData | RecordData]:
    if not isinstance(objective, str) or objective not in OBJECTIVES:
        known = ", ".join(OBJECTIVES)
        raise ValueError(f"TrainJob.objective must be one of {known}; got {objective!r}")
    return OBJECTIVES[objective]
