"""The shapes of models: one frozen configuration an architecture, and named presets.

In: numbers and switches. Out: validated configurations that ``language_model.make_model`` builds
modules from. No torch here: a plan needs shapes, not tensors.
"""

from dataclasses import dataclass
from typing import Any, Literal

from model.config import JsonConfig, require


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
        require(self.factor >= 1, "rope_scaling.factor must be at least 1", self.factor)
        require(
            self.original_max_seq_len >= 1,
            "rope_scaling.original_max_seq_len must be at least 1",
            self.original_max_seq_len,
        )
        require(
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
    width_base: int | None = None
    """The width at which the learning rate was tuned; see ``width.py``. Heads keep their width."""

    def __post_init__(self) -> None:
        for name in _SIZES:
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        if self.head_dim is None:
            require(
                self.width % self.n_heads == 0,
                f"width must be a multiple of n_heads = {self.n_heads}, or head_dim be given",
                self.width,
            )
        for name in ("head_dim", "sliding_window", "width_base"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"{name} must be at least 1, or null", value)
        require(
            all(0 <= layer < self.n_layers for layer in self.full_attention_layers),
            f"full_attention_layers must be below n_layers = {self.n_layers}",
            self.full_attention_layers,
        )
        require(
            self.n_heads % self.n_kv_heads == 0,
            f"n_heads must be a multiple of n_kv_heads = {self.n_kv_heads}",
            self.n_heads,
        )
        if self.position == "rope":
            require(
                self.head_width % 2 == 0,
                "rope turns pairs: a head's width must be even",
                self.head_width,
            )
        require(self.norm_eps > 0, "norm_eps must be positive", self.norm_eps)
        require(self.rope_theta > 0, "rope_theta must be positive", self.rope_theta)

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
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))


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
    labels: tuple[str, ...] | None = None
    """The classes' names, in the order of their logits."""
    norm_eps: float = 1e-12
    tie_embeddings: bool = True

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "width", "n_layers", "n_heads", "max_seq_len", "mlp_width")
        for name in (*sizes, "num_types"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        require(
            self.width % self.n_heads == 0,
            f"width must be a multiple of n_heads = {self.n_heads}",
            self.width,
        )
        require(self.tie_embeddings, "an encoder's head is its embedding", self.tie_embeddings)
        require(
            self.labels is None or len(set(self.labels)) == self.num_classes,
            f"labels must be num_classes = {self.num_classes} different names",
            self.labels,
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """``labels``, or what transformers calls classes without names."""
        return self.labels or tuple(f"LABEL_{at}" for at in range(self.num_classes or 0))


AnyModelConfig = ModelConfig | LstmConfig | EncoderConfig
_CONFIGS: dict[str, type[AnyModelConfig]] = {
    "decoder": ModelConfig,
    "lstm": LstmConfig,
    "encoder": EncoderConfig,
}


def model_config(data: dict[str, Any]) -> AnyModelConfig:
    """The configuration that plain values describe; ``architecture`` says of which kind. With a
    ``preset`` the others add to it, or say otherwise."""
    if not isinstance(data, dict):
        raise ValueError(f"a model's configuration must be a JSON object, got {data!r}")
    if "preset" in data:
        others = {name: value for name, value in data.items() if name != "preset"}
        data = preset_named(data["preset"]) | others
    architecture = data.get("architecture", "decoder")
    if architecture not in _CONFIGS:
        raise ValueError(f"unknown architecture {architecture!r}; known: {', '.join(_CONFIGS)}")
    return _CONFIGS[architecture].from_json_dict(data)


_SIZES = ("vocab_size", "width", "n_layers", "n_heads", "n_kv_heads", "max_seq_len", "mlp_width")

_GPT2: dict[str, Any] = {"norm": "layernorm", "position": "learned", "mlp": "gelu", "bias": True}

# What paid in ``tests/benchmarks/time_to_loss.py --ablations``; options.optim_preset goes with it.
_MODERN: dict[str, Any] = {
    "mlp": "relu2",
    "tie_embeddings": False,
    "qk_norm": True,
    "zero_init": True,
    "input_residual": True,
}

PRESETS: dict[str, dict[str, Any]] = {
    "llama-tiny": {"width": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "mlp_width": 176},
    "llama-demo": {"width": 192, "n_layers": 6, "n_heads": 6, "n_kv_heads": 2, "mlp_width": 448},
    "llama-small": {"width": 512, "n_layers": 8, "n_heads": 8, "n_kv_heads": 4, "mlp_width": 1408},
    "llama-base": {"width": 768, "n_layers": 12, "n_heads": 12, "n_kv_heads": 4, "mlp_width": 2304},
    # For tokens that are bytes: what llama-demo has in its embedding, in two more layers.
    "bytes-demo": {"width": 192, "n_layers": 8, "n_heads": 6, "n_kv_heads": 2, "mlp_width": 448},
    "modern-demo": _MODERN
    | {"width": 192, "n_layers": 4, "n_heads": 3, "n_kv_heads": 1, "mlp_width": 768},
    "modern-small": _MODERN
    | {"width": 512, "n_layers": 8, "n_heads": 8, "n_kv_heads": 4, "mlp_width": 2048},
    "modern-base": _MODERN
    | {"width": 768, "n_layers": 12, "n_heads": 12, "n_kv_heads": 4, "mlp_width": 3072},
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


def preset_named(name: object) -> dict[str, Any]:
    """A shape of ``PRESETS``, or a ValueError that names them all."""
    if not isinstance(name, str) or name not in PRESETS:
        raise ValueError(f"unknown model preset {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[name]


def model_preset(name: str, vocab_size: int, max_seq_len: int) -> AnyModelConfig:
    """A named shape with the two numbers that the data decides."""
    return model_config({"preset": name, "vocab_size": vocab_size, "max_seq_len": max_seq_len})
