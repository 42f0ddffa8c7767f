"""Configurations: what a model is and what a training job does.

In: keyword arguments, or a dictionary read from a JSON job file. Out: frozen, validated dataclasses
that go back to the same dictionary. Whatever is wrong is said here, before any tensor exists.
"""

import dataclasses
import itertools
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Objective = Literal["pretrain", "mlm", "sft", "dpo"]
_ON_TOKEN_SHARDS = ("pretrain", "mlm")


class JsonConfig:
    """Round trip between a frozen dataclass and plain JSON values."""

    def to_json_dict(self) -> dict[str, Any]:
        """Every field, nested configurations and tuples included, as plain JSON values."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {f.name: _plain(getattr(self, f.name)) for f in fields}

    @classmethod
    def from_json_dict(cls, data: dict[str, Any]) -> Self:
        """Build from plain values; an unknown, missing or ill-typed key is named."""
        if not isinstance(data, dict):
            raise ValueError(f"{cls.__name__} must be a JSON object, got {data!r}")
        known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for key in data:
            if key not in known:
                raise ValueError(f"{cls.__name__}: unknown key {key!r}; known: {', '.join(known)}")
        for name, f in known.items():
            if name not in data and _is_required(f):
                raise ValueError(f"{cls.__name__}: missing key {name!r}")
        hints = typing.get_type_hints(cls)
        return cls(**{k: _typed(hints[k], v, f"{cls.__name__}.{k}") for k, v in data.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeScaling(JsonConfig):
    """How rotary positions are stretched over a longer context than was trained on.

    linear: Chen et al. 2023, arXiv:2306.15595. yarn: Peng et al. 2023, arXiv:2309.00071.
    llama3: Llama 3.1's, which leaves the fast frequencies alone as yarn does.
    """

    kind: Literal["linear", "llama3", "yarn"]
    factor: float
    """How many times longer the context becomes."""
    original_max_seq_len: int
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    """llama3: wavelengths over original / low are stretched, those under original / high not."""
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    """yarn: turns in the original context from which none is stretched, and to which all is."""
    attention_factor: float | None = None
    """yarn: what cosines and sines are multiplied by; None for the paper's 0.1 ln(factor) + 1."""

    def __post_init__(self) -> None:
        _require(self.factor >= 1, "rope_scaling.factor must be at least 1", self.factor)
        _require(
            self.original_max_seq_len >= 1,
            "rope_scaling.original_max_seq_len must be at least 1",
            self.original_max_seq_len,
        )
        _require(
            self.high_freq_factor > self.low_freq_factor,
            f"high_freq_factor must exceed low_freq_factor = {self.low_freq_factor}",
            self.high_freq_factor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig(JsonConfig):
    """A decoder. LLaMA: rmsnorm, rope, swiglu. GPT-2: layernorm, learned, gelu, bias.

    Mistral is LLaMA with a sliding window, Qwen2 with qkv_bias, Qwen3 with qk_norm.
    """

    architecture: Literal["decoder"] = "decoder"
    vocab_size: int
    width: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    max_seq_len: int
    mlp_width: int
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    position: Literal["rope", "learned"] = "rope"
    mlp: Literal["swiglu", "gelu", "relu2"] = "swiglu"
    tie_embeddings: bool = True
    bias: bool = False
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    head_dim: int | None = None
    """Numbers in one attention head; None for width / n_heads."""
    qkv_bias: bool = False
    """Biases on queries, keys and values alone."""
    qk_norm: bool = False
    """RMSNorm of each head's queries and keys (Henry et al. 2020, arXiv:2010.04245)."""
    rope_scaling: RopeScaling | None = None
    sliding_window: int | None = None
    """Positions that a position sees, itself included; None for all before it."""
    full_attention_layers: tuple[int, ...] = ()
    """With a sliding window: the layers that see all positions nevertheless."""
    logit_softcap: float | None = None
    """Logits stay within ± this, by a hyperbolic tangent (Gemma 2, arXiv:2408.00118, section 2)."""
    zero_init: bool = False
    """Projections that add to the residual stream begin at nought, so that blocks begin as none."""
    value_embeddings: bool = False
    """Every other layer's values get a table's row of the token (Zhou et al. 2024,
    arXiv:2410.17897, as the speed runs of nanoGPT simplify it)."""
    input_residual: bool = False
    """Each block reads a learned mix of the stream and of the embedding it began with."""

    def __post_init__(self) -> None:
        for name in _SIZES:
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        if self.head_dim is None:
            _require(
                self.width % self.n_heads == 0,
                f"width must be a multiple of n_heads = {self.n_heads}, or head_dim be given",
                self.width,
            )
        for name in ("head_dim", "sliding_window"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"{name} must be at least 1, or null", value)
        _require(
            all(0 <= layer < self.n_layers for layer in self.full_attention_layers),
            f"full_attention_layers must be below n_layers = {self.n_layers}",
            self.full_attention_layers,
        )
        _require(
            self.n_heads % self.n_kv_heads == 0,
            f"n_heads must be a multiple of n_kv_heads = {self.n_kv_heads}",
            self.n_heads,
        )
        if self.position == "rope":
            _require(
                self.head_width % 2 == 0,
                "rope turns pairs: a head's width must be even",
                self.head_width,
            )
        _require(self.norm_eps > 0, "norm_eps must be positive", self.norm_eps)
        _require(self.rope_theta > 0, "rope_theta must be positive", self.rope_theta)

    @property
    def head_width(self) -> int:
        """Numbers in one attention head."""
        return self.head_dim or self.width // self.n_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class LstmConfig(JsonConfig):
    """A language model of LSTM layers (Hochreiter & Schmidhuber 1997), for comparison."""

    architecture: Literal["lstm"] = "lstm"
    vocab_size: int
    width: int
    n_layers: int
    max_seq_len: int
    """What it is asked to read; nothing in it depends on a position."""
    tie_embeddings: bool = True

    def __post_init__(self) -> None:
        for name in ("vocab_size", "width", "n_layers", "max_seq_len"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig(JsonConfig):
    """BERT, for masked language modelling or, with ``num_classes``, to classify texts."""

    architecture: Literal["encoder"] = "encoder"
    vocab_size: int
    width: int
    n_layers: int
    n_heads: int
    max_seq_len: int
    mlp_width: int
    num_types: int = 2
    """BERT's segments: the first and the second text of a pair."""
    num_classes: int | None = None
    norm_eps: float = 1e-12
    tie_embeddings: bool = True

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "width", "n_layers", "n_heads", "max_seq_len", "mlp_width")
        for name in (*sizes, "num_types"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        _require(
            self.width % self.n_heads == 0,
            f"width must be a multiple of n_heads = {self.n_heads}",
            self.width,
        )
        _require(self.tie_embeddings, "an encoder's head is its embedding", self.tie_embeddings)


AnyModelConfig = ModelConfig | LstmConfig | EncoderConfig
_CONFIGS: dict[str, type[AnyModelConfig]] = {
    "decoder": ModelConfig,
    "lstm": LstmConfig,
    "encoder": EncoderConfig,
}


def model_config(data: dict[str, Any]) -> AnyModelConfig:
    """The configuration that plain values describe; ``architecture`` says of which kind."""
    if not isinstance(data, dict):
        raise ValueError(f"a model's configuration must be a JSON object, got {data!r}")
    architecture = data.get("architecture", "decoder")
    if architecture not in _CONFIGS:
        raise ValueError(f"unknown architecture {architecture!r}; known: {', '.join(_CONFIGS)}")
    return _CONFIGS[architecture].from_json_dict(data)


_SIZES = ("vocab_size", "width", "n_layers", "n_heads", "n_kv_heads", "max_seq_len", "mlp_width")

_GPT2: dict[str, Any] = {"norm": "layernorm", "position": "learned", "mlp": "gelu", "bias": True}

PRESETS: dict[str, dict[str, Any]] = {
    "llama-tiny": {"width": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "mlp_width": 176},
    "llama-demo": {"width": 192, "n_layers": 6, "n_heads": 6, "n_kv_heads": 2, "mlp_width": 448},
    "llama-small": {"width": 512, "n_layers": 8, "n_heads": 8, "n_kv_heads": 4, "mlp_width": 1408},
    "llama-base": {"width": 768, "n_layers": 12, "n_heads": 12, "n_kv_heads": 4, "mlp_width": 2304},
    "gpt2-demo": _GPT2
    | {"width": 192, "n_layers": 6, "n_heads": 6, "n_kv_heads": 6, "mlp_width": 768},
    "gpt2-base": _GPT2
    | {"width": 768, "n_layers": 12, "n_heads": 12, "n_kv_heads": 12, "mlp_width": 3072},
    "bert-demo": {
        "architecture": "encoder",
        "width": 192,
        "n_layers": 6,
        "n_heads": 6,
        "mlp_width": 768,
    },
    "bert-base": {
        "architecture": "encoder",
        "width": 768,
        "n_layers": 12,
        "n_heads": 12,
        "mlp_width": 3072,
    },
    "lstm-demo": {"architecture": "lstm", "width": 384, "n_layers": 2},
    "lstm-small": {"architecture": "lstm", "width": 1024, "n_layers": 2},
}


def model_preset(name: str, vocab_size: int, max_seq_len: int) -> AnyModelConfig:
    """A named shape with the two numbers that the data decides."""
    if name not in PRESETS:
        raise ValueError(f"unknown model preset {name!r}; known: {', '.join(PRESETS)}")
    data = {"vocab_size": vocab_size, "max_seq_len": max_seq_len, **PRESETS[name]}
    return model_config(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig(JsonConfig):
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) or Muon, and the rate's schedule."""

    kind: Literal["adamw", "muon"] = "adamw"
    """muon: for the matrices inside the model; embeddings, head and vectors stay AdamW's."""
    lr: float = 1e-3
    adamw_lr_ratio: float = 1.0
    """muon: the learning rate of what stays AdamW's, as a share of ``lr``."""
    muon_momentum: float = 0.95
    min_lr_ratio: float = 0.1
    """The last step's learning rate, as a share of ``lr``."""
    warmup_steps: int = 100
    decay: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    wsd_decay_ratio: float = 0.2
    """With ``decay="wsd"``: the share of all steps, at the end, in which the rate falls."""
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        _require(0 < self.lr < math.inf, "lr must be positive and finite", self.lr)
        _require(0 <= self.min_lr_ratio <= 1, "min_lr_ratio must be in [0, 1]", self.min_lr_ratio)
        _require(self.warmup_steps >= 0, "warmup_steps must not be negative", self.warmup_steps)
        _require(0 < self.wsd_decay_ratio <= 1, "wsd_decay_ratio: (0, 1]", self.wsd_decay_ratio)
        _require(self.weight_decay >= 0, "weight_decay must not be negative", self.weight_decay)
        _require(self.adamw_lr_ratio > 0, "adamw_lr_ratio must be positive", self.adamw_lr_ratio)
        _require(0 <= self.muon_momentum < 1, "muon_momentum: [0, 1)", self.muon_momentum)
        _require(all(0 <= b < 1 for b in self.betas), "betas must be in [0, 1)", self.betas)
        _require(self.eps > 0, "eps must be positive", self.eps)
        _require(self.clip_norm > 0, "clip_norm must be positive", self.clip_norm)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixturePhase(JsonConfig):
    """From the step ``first_step`` on (steps count from 0) batches are drawn by these weights."""

    first_step: int
    weights: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainData(JsonConfig):
    """Token shards by source, the sources' weights in the mixture, and held-out shards.

    ``phases`` are later mixtures; a source has a weight in at least one of all, and no weight
    where it is left out.
    """

    groups: dict[str, list[str]]
    weights: dict[str, float]
    val: list[str] = field(default_factory=list)
    phases: list[MixturePhase] = field(default_factory=list)

    def __post_init__(self) -> None:
        _require(bool(self.groups), "groups must name at least one source", self.groups)
        for name, paths in self.groups.items():
            _require(bool(paths), f"groups[{name!r}] must list at least one token shard", paths)
        mixtures = [self.weights, *(phase.weights for phase in self.phases)]
        _require(
            set().union(*mixtures) == set(self.groups),
            f"weights must name exactly the groups {sorted(self.groups)}",
            sorted(set().union(*mixtures)),
        )
        for weights in mixtures:
            _require(bool(weights), "a mixture must have at least one source", weights)
            for name, weight in weights.items():
                _require(0 < weight < math.inf, f"weights[{name!r}] must be positive", weight)
        starts = [0, *(phase.first_step for phase in self.phases)]
        _require(
            all(early < late for early, late in itertools.pairwise(starts)),
            "phases must begin one after another, after step 0",
            starts[1:],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordData(JsonConfig):
    """JSONL files of conversations (sft) or preference pairs (dpo)."""

    train: str
    val: str | None = None


PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig(JsonConfig):
    """Training a few parameters beside a frozen model: what ``adapters.py`` adds."""

    method: Literal["lora", "bitfit", "adapter", "prefix"] = "lora"
    base: Literal["full", "nf4"] = "full"
    """nf4: the frozen matrices in four bits (QLoRA, Dettmers et al. 2023, arXiv:2305.14314)."""
    rank: int = 8
    """Of LoRA's matrices; the bottleneck's width of adapters."""
    alpha: float = 16.0
    """LoRA's change is multiplied by alpha / rank."""
    dropout: float = 0.0
    targets: tuple[str, ...] = PROJECTIONS
    """LoRA: the projections that get one, in transformers' names."""
    prefix_tokens: int = 16
    """Prefix tuning: learned positions before every text."""

    def __post_init__(self) -> None:
        _require(self.rank >= 1, "rank must be at least 1", self.rank)
        _require(self.alpha > 0, "alpha must be positive", self.alpha)
        _require(0 <= self.dropout < 1, "dropout must be in [0, 1)", self.dropout)
        _require(self.prefix_tokens >= 1, "prefix_tokens must be at least 1", self.prefix_tokens)
        if self.base == "nf4":
            _require(self.method == "lora", "base = nf4 goes with method = lora", self.method)
        unknown = sorted(set(self.targets) - set(PROJECTIONS))
        _require(not unknown, f"targets must be among {', '.join(PROJECTIONS)}", unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob(JsonConfig):
    """A whole training job: all that ``python -m model.launch`` needs to know."""

    objective: Objective
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
    seed: int = 0
    eval_every_steps: int = 100
    eval_batches: int | None = None
    """How many batches an evaluation reads, always the same ones; None reads all."""
    checkpoint_every_steps: int | None = None
    checkpoint_every_seconds: float | None = 120.0
    log_every_steps: int = 1
    device: str = "auto"
    threads: int | None = None
    compile: bool = False
    dpo_beta: float = 0.1
    dpo_sft_weight: float = 0.0
    """Weight of the chosen answer's NLL added to the dpo loss."""
    heartbeat_path: str | None = None
    heartbeat_timeout_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name in ("steps", "seq_len", "batch_size", "eval_every_steps", "log_every_steps"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        for name in ("micro_batch_size", "eval_batches", "threads", "checkpoint_every_steps"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"{name} must be at least 1, or null", value)
        _require(
            (self.model is None) != (self.init_from is None),
            "give exactly one of model and init_from",
            f"model={'set' if self.model else None}, init_from={self.init_from}",
        )
        if self.model is not None:
            _require(self.tokenizer is not None, "a new model needs a tokenizer", self.tokenizer)
            _require(
                self.seq_len <= self.model.max_seq_len,
                f"seq_len must not exceed the model's max_seq_len = {self.model.max_seq_len}",
                self.seq_len,
            )
        wanted = PretrainData if self.objective in _ON_TOKEN_SHARDS else RecordData
        _require(
            isinstance(self.data, wanted),
            f"objective {self.objective!r} needs {wanted.__name__} as data",
            type(self.data).__name__,
        )
        if self.finetune:
            _require(
                self.init_from is not None, "finetune needs init_from, a model to freeze", None
            )
        if self.objective == "dpo":
            _require(self.init_from is not None, "dpo needs init_from: its reference", None)
        _require(self.z_loss >= 0, "z_loss must not be negative", self.z_loss)
        _require(self.dpo_beta > 0, "dpo_beta must be positive", self.dpo_beta)
        _require(self.dpo_sft_weight >= 0, "dpo_sft_weight: not negative", self.dpo_sft_weight)

    @classmethod
    def from_json_dict(cls, data: dict[str, Any]) -> Self:
        """As the base class; ``objective`` decides which kind of ``data`` is read."""
        if isinstance(data, dict) and isinstance(data.get("data"), dict):
            objective = _typed(Objective, data.get("objective"), "TrainJob.objective")
            kind = PretrainData if objective in _ON_TOKEN_SHARDS else RecordData
            data = data | {"data": kind.from_json_dict(data["data"])}
        if isinstance(data, dict) and isinstance(data.get("model"), dict):
            data = data | {"model": model_config(data["model"])}
        # Named in full: slots=True makes a new class, which a bare super() would not find.
        return super(TrainJob, cls).from_json_dict(data)


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise ValueError(f"{rule}; got {value!r}")


def _is_required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _plain(value: Any) -> Any:
    if isinstance(value, JsonConfig):
        return value.to_json_dict()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def _typed(hint: Any, value: Any, where: str) -> Any:
    """``value`` as ``hint`` asks: nested objects built, whole numbers taken for floats."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _typed_union(args, value, where)
    if origin is Literal:
        if value not in args:
            raise ValueError(f"{where} must be one of {', '.join(map(repr, args))}; got {value!r}")
        return value
    if origin is list and isinstance(value, list):
        return [_typed(args[0], v, where) for v in value]
    if origin is tuple and isinstance(value, list | tuple) and args[-1] is Ellipsis:
        return tuple(_typed(args[0], v, where) for v in value)
    if origin is tuple and isinstance(value, list | tuple) and len(value) == len(args):
        return tuple(_typed(a, v, where) for a, v in zip(args, value, strict=True))
    if origin is dict and isinstance(value, dict):
        return {k: _typed(args[1], v, f"{where}[{k!r}]") for k, v in value.items()}
    if isinstance(hint, type) and issubclass(hint, JsonConfig) and isinstance(value, dict):
        return hint.from_json_dict(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin is None and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{where} must be {getattr(hint, '__name__', hint)}; got {value!r}")


def _typed_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    concrete = [option for option in options if option is not type(None)]
    for option in concrete:
        if isinstance(option, type) and isinstance(value, option):
            return value
    return _typed(concrete[0], value, where)
