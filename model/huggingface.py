"""The same weights under transformers' names: GPT-2, LLaMA 1 to 3, Mistral, Qwen2, Qwen3, BERT.

In: a model of ours, or a transformers configuration (a dictionary) and state dict. Out: the other.
transformers itself is not needed. We keep queries, keys and values, and gate and up, as one matrix
each; there they are apart (LLaMA and its kin) or transposed (GPT-2's Conv1D). Files and tokenizers
are ``huggingface_folder.py``'s.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from model.architectures import EncoderConfig, ModelConfig, RopeScaling
from model.language_model import LanguageModel, make_model

_LLAMA = {
    "attention.to_qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.to_out": ("self_attn.o_proj",),
    "attention.q_norm": ("self_attn.q_norm",),
    "attention.k_norm": ("self_attn.k_norm",),
    "mlp.gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.to_out": ("mlp.down_proj",),
    "attention_norm": ("input_layernorm",),
    "mlp_norm": ("post_attention_layernorm",),
}
_GPT2 = {
    "attention.to_qkv": "attn.c_attn",
    "attention.to_out": "attn.c_proj",
    "mlp.up": "mlp.c_fc",
    "mlp.to_out": "mlp.c_proj",
    "attention_norm": "ln_1",
    "mlp_norm": "ln_2",
}
_BERT = {
    "to_qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "to_out": ("attention.output.dense",),
    "attention_norm": ("attention.output.LayerNorm",),
    "up": ("intermediate.dense",),
    "down": ("output.dense",),
    "mlp_norm": ("output.LayerNorm",),
}
_BERT_OUTER = {
    "embed.weight": "bert.embeddings.word_embeddings.weight",
    "embed_position.weight": "bert.embeddings.position_embeddings.weight",
    "embed_type.weight": "bert.embeddings.token_type_embeddings.weight",
    "embed_norm.": "bert.embeddings.LayerNorm.",
    "pool.": "bert.pooler.dense.",
    "to_classes.": "classifier.",
    "transform.": "cls.predictions.transform.dense.",
    "transform_norm.": "cls.predictions.transform.LayerNorm.",
    "head_bias": "cls.predictions.bias",
}
_BERT_LM = "BertForMaskedLM"
_OURS_ALONE = ("logit_softcap", "value_embeddings", "input_residual")
ARCHITECTURES = {
    "bert": _BERT_LM,
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}


def from_huggingface(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> LanguageModel:
    """Our model with the weights of a transformers model.

    Raises:
        ValueError: an architecture, or a setting of one, that this engine does not have, or
            weights that do not fit the configuration.
    """
    ours = config_from_huggingface(config)
    model = make_model(ours)
    try:
        weights = dict(_weights_from(model, state))
    except KeyError as error:
        raise ValueError(f"the weights lack {error}, which {config['model_type']} has") from None
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    except RuntimeError as error:
        raise ValueError(f"the weights do not fit the configuration: {error}") from None
    return model.eval()


def to_huggingface(model: LanguageModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """``config.json`` and state dict that transformers loads with the same logits.

    Raises:
        ValueError: transformers has no architecture for this model.
    """
    config, state = model.config, model.state_dict()
    if model.finetune:
        raise ValueError(f"what {model.finetune.method} adds has no place in transformers' format")
    if isinstance(config, EncoderConfig):
        return _bert_config(config), dict(_to_bert(config, state))
    if not isinstance(config, ModelConfig):
        raise ValueError(
            f"transformers has no architecture for an {config.architecture}: such a model stays in "
            "this engine's format; train a llama or gpt2 preset for one that leaves it"
        )
    family = family_of(config)
    if family == "gpt2":
        return _gpt2_config(config), dict(_to_gpt2(config, state))
    return _llama_config(config, family), dict(_to_llama(config, state))


def family_of(config: ModelConfig) -> str:
    """transformers' ``model_type`` for a configuration."""
    own = [name for name in _OURS_ALONE if getattr(config, name)]
    if own:
        raise ValueError(
            f"transformers has no architecture with {', '.join(own)}: such a model stays in this "
            "engine's format; train a llama or gpt2 preset for one that leaves it"
        )
    if _is_gpt2(config):
        return "gpt2"
    kind = (config.norm, config.position, config.mlp)
    family = "llama"
    if config.qk_norm:
        family = "qwen3"
    elif config.qkv_bias:
        family = "qwen2"
    elif config.sliding_window:
        family = "mistral"
    has_name = kind == ("rmsnorm", "rope", "swiglu")
    has_name &= not (config.bias and family != "llama")
    has_name &= not (config.qk_norm and config.qkv_bias)
    has_name &= not (config.full_attention_layers and family == "mistral")
    if not has_name:
        raise ValueError(f"transformers has no architecture for this mixture of them: {config}")
    return family


def config_from_huggingface(theirs: Mapping[str, Any]) -> ModelConfig | EncoderConfig:
    """Our configuration of a transformers model.

    Raises:
        ValueError: an architecture or a setting that this engine does not have.
    """
    family = theirs.get("model_type")
    if family not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"model_type {family!r} is not supported; known: {known}")
    if family == "bert":
        return _from_bert_config(theirs)
    return _from_gpt2_config(theirs) if family == "gpt2" else _from_llama_config(theirs, family)


def _weights_from(
    model: LanguageModel, state: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    if isinstance(model.config, EncoderConfig):
        return _from_bert(model, state)
    assert isinstance(model.config, ModelConfig)
    return _from_gpt2(model.config, state) if _is_gpt2(model.config) else _from_llama(model, state)


def _is_gpt2(config: ModelConfig) -> bool:
    kind = (config.norm, config.position, config.mlp, config.bias, config.tie_embeddings)
    is_plain = not (config.qk_norm or config.sliding_window or config.head_dim or config.qkv_bias)
    has_all_heads = config.n_heads == config.n_kv_heads
    return is_plain and has_all_heads and kind == ("layernorm", "learned", "gelu", True, True)


# --- LLaMA and its kin ---------------------------------------------------------------------------


def _from_llama(model: LanguageModel, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    yield "embed.weight", state["model.embed_tokens.weight"]
    yield "norm.weight", state["model.norm.weight"]
    if not model.config.tie_embeddings:
        yield "to_logits.weight", state["lm_head.weight"]
    for name in model.state_dict():
        if name.startswith("blocks."):
            layer, part, kind = _split_name(name)
            theirs = [state[f"model.layers.{layer}.{p}.{kind}"] for p in _LLAMA[part]]
            yield name, torch.cat(theirs)


def _to_llama(config: ModelConfig, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    kv_width = config.n_kv_heads * config.head_width
    rows = {
        3: [config.n_heads * config.head_width, kv_width, kv_width],
        2: [config.mlp_width] * 2,
    }
    head = state["embed.weight" if config.tie_embeddings else "to_logits.weight"]
    yield "model.embed_tokens.weight", state["embed.weight"]
    yield "model.norm.weight", state["norm.weight"]
    yield "lm_head.weight", head.clone()  # safetensors refuses two names for one memory
    for name, tensor in state.items():
        if name.startswith("blocks."):
            layer, part, kind = _split_name(name)
            parts = _LLAMA[part]
            pieces = tensor.split(rows[len(parts)]) if len(parts) > 1 else [tensor]
            for theirs, piece in zip(parts, pieces, strict=True):
                yield f"model.layers.{layer}.{theirs}.{kind}", piece.contiguous()


def _split_name(name: str) -> tuple[int, str, str]:
    """``blocks.3.mlp.to_out.weight`` as 3, ``mlp.to_out`` and ``weight``."""
    _, layer, rest = name.split(".", 2)
    part, kind = rest.rsplit(".", 1)
    return int(layer), part, kind


def _llama_config(config: ModelConfig, family: str) -> dict[str, Any]:
    rope = _rope_to(config)
    theirs: dict[str, Any] = {
        "model_type": family,
        "architectures": [ARCHITECTURES[family]],
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.mlp_width,
        "max_position_embeddings": config.max_seq_len,
        "rms_norm_eps": config.norm_eps,
        # transformers 5 reads ``rope_parameters``, older ones the other two.
        "rope_theta": config.rope_theta,
        "rope_scaling": rope if config.rope_scaling else None,
        "rope_parameters": rope,
        "tie_word_embeddings": config.tie_embeddings,
        "hidden_act": "silu",
    }
    if family == "llama":
        theirs |= {"attention_bias": config.bias, "mlp_bias": config.bias}
    if family == "mistral":
        theirs["sliding_window"] = config.sliding_window
    if family in ("qwen2", "qwen3"):
        theirs |= _windows_to(config)
    return theirs


def _from_llama_config(theirs: Mapping[str, Any], family: str) -> ModelConfig:
    has_bias = bool(theirs.get("attention_bias"))
    if has_bias != bool(theirs.get("mlp_bias")) or (has_bias and family != "llama"):
        raise ValueError(f"{family} with biases in some of its layers is not supported")
    if theirs.get("hidden_act", "silu") != "silu":
        raise ValueError(f"the activation {theirs['hidden_act']!r} is not supported; silu is")
    width, n_heads = theirs["hidden_size"], theirs["num_attention_heads"]
    head_dim = theirs.get("head_dim")
    rope = theirs.get("rope_parameters") or theirs.get("rope_scaling") or {}
    window, full_layers = _windows_from(theirs, family)
    return ModelConfig(
        vocab_size=theirs["vocab_size"],
        width=width,
        n_layers=theirs["num_hidden_layers"],
        n_heads=n_heads,
        n_kv_heads=theirs.get("num_key_value_heads") or n_heads,
        head_dim=None if head_dim is None or head_dim * n_heads == width else head_dim,
        max_seq_len=theirs["max_position_embeddings"],
        mlp_width=theirs["intermediate_size"],
        tie_embeddings=bool(theirs.get("tie_word_embeddings", False)),
        bias=has_bias,
        qkv_bias=family == "qwen2",
        qk_norm=family == "qwen3",
        rope_theta=float(rope.get("rope_theta") or theirs.get("rope_theta") or 10_000.0),
        rope_scaling=_rope_from(rope, theirs["max_position_embeddings"]),
        sliding_window=window,
        full_attention_layers=full_layers,
        norm_eps=theirs["rms_norm_eps"],
    )


def _windows_from(theirs: Mapping[str, Any], family: str) -> tuple[int | None, tuple[int, ...]]:
    """The window, and the layers that see everything nevertheless."""
    window = theirs.get("sliding_window")
    if family == "llama" or not window:
        return None, ()
    if family == "mistral":
        return window, ()
    if not theirs.get("use_sliding_window"):
        return None, ()
    count = theirs["num_hidden_layers"]
    kinds = theirs.get("layer_types")
    if kinds:
        return window, tuple(i for i, kind in enumerate(kinds) if kind == "full_attention")
    return window, tuple(range(min(count, theirs.get("max_window_layers", count))))


def _windows_to(config: ModelConfig) -> dict[str, Any]:
    is_full = [
        not config.sliding_window or layer in config.full_attention_layers
        for layer in range(config.n_layers)
    ]
    return {
        "use_sliding_window": config.sliding_window is not None,
        "sliding_window": config.sliding_window,
        "max_window_layers": sum(is_full),
        "layer_types": ["full_attention" if full else "sliding_attention" for full in is_full],
    }


def _rope_from(rope: Mapping[str, Any], max_seq_len: int) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    unknown = {"mscale", "mscale_all_dim", "partial_rotary_factor"} & {k for k in rope if rope[k]}
    if kind not in ("linear", "llama3", "yarn") or unknown or rope.get("truncate") is False:
        raise ValueError(f"rotary positions of this kind are not supported: {dict(rope)}")
    settings = {
        name: rope[name]
        for name in ("low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow")
        if rope.get(name) is not None
    }
    return RopeScaling(
        kind=kind,
        factor=rope["factor"],
        original_max_seq_len=rope.get("original_max_position_embeddings") or max_seq_len,
        attention_factor=rope.get("attention_factor"),
        **settings,
    )


def _rope_to(config: ModelConfig) -> dict[str, Any]:
    scaling = config.rope_scaling
    if scaling is None:
        return {"rope_type": "default", "rope_theta": config.rope_theta}
    theirs: dict[str, Any] = {
        "rope_type": scaling.kind,
        "rope_theta": config.rope_theta,
        "factor": scaling.factor,
        "original_max_position_embeddings": scaling.original_max_seq_len,
    }
    if scaling.kind == "llama3":
        theirs |= {
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
        }
    if scaling.kind == "yarn":
        theirs |= {"beta_fast": scaling.beta_fast, "beta_slow": scaling.beta_slow}
        if scaling.attention_factor is not None:
            theirs["attention_factor"] = scaling.attention_factor
    return theirs


# --- GPT-2 ---------------------------------------------------------------------------------------


def _from_gpt2(config: ModelConfig, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    # The original folders name the bare model, without its head.
    prefix = "transformer." if "transformer.wte.weight" in state else ""
    yield "embed.weight", state[f"{prefix}wte.weight"]
    yield "embed_position.weight", state[f"{prefix}wpe.weight"]
    for kind in ("weight", "bias"):
        yield f"norm.{kind}", state[f"{prefix}ln_f.{kind}"]
        for layer in range(config.n_layers):
            for name, theirs in _GPT2.items():
                tensor = state[f"{prefix}h.{layer}.{theirs}.{kind}"]
                yield f"blocks.{layer}.{name}.{kind}", _transposed(tensor)


def _to_gpt2(config: ModelConfig, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    yield "transformer.wte.weight", state["embed.weight"]
    yield "transformer.wpe.weight", state["embed_position.weight"]
    yield "lm_head.weight", state["embed.weight"].clone()
    for kind in ("weight", "bias"):
        yield f"transformer.ln_f.{kind}", state[f"norm.{kind}"]
        for layer in range(config.n_layers):
            for name, part in _GPT2.items():
                tensor = state[f"blocks.{layer}.{name}.{kind}"]
                yield f"transformer.h.{layer}.{part}.{kind}", _transposed(tensor)


def _transposed(tensor: Tensor) -> Tensor:
    return tensor.T.contiguous() if tensor.ndim == 2 else tensor


def _gpt2_config(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": config.vocab_size,
        "n_embd": config.width,
        "n_layer": config.n_layers,
        "n_head": config.n_heads,
        "n_inner": config.mlp_width,
        "n_positions": config.max_seq_len,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": "gelu_new",
        "tie_word_embeddings": True,
    }


def _from_gpt2_config(theirs: Mapping[str, Any]) -> ModelConfig:
    if theirs.get("activation_function", "gelu_new") not in ("gelu_new", "gelu_pytorch_tanh"):
        raise ValueError(f"the activation {theirs['activation_function']!r} is not supported")
    return ModelConfig(
        vocab_size=theirs["vocab_size"],
        width=theirs["n_embd"],
        n_layers=theirs["n_layer"],
        n_heads=theirs["n_head"],
        n_kv_heads=theirs["n_head"],
        max_seq_len=theirs["n_positions"],
        mlp_width=theirs.get("n_inner") or 4 * theirs["n_embd"],
        norm="layernorm",
        position="learned",
        mlp="gelu",
        bias=True,
        norm_eps=theirs["layer_norm_epsilon"],
    )


# --- BERT ----------------------------------------------------------------------------------------


def _from_bert(model: LanguageModel, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name in model.state_dict():
        yield name, torch.cat([state[theirs] for theirs in _bert_names(name)])


def _to_bert(config: EncoderConfig, state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in state.items():
        theirs = _bert_names(name)
        for part, piece in zip(theirs, tensor.chunk(len(theirs)), strict=True):
            yield part, piece.contiguous()
    if not config.num_classes:
        yield "cls.predictions.decoder.weight", state["embed.weight"].clone()
        yield "cls.predictions.decoder.bias", state["head_bias"].clone()


def _bert_names(name: str) -> list[str]:
    """What transformers calls one of our tensors; three where it keeps three."""
    if name.startswith("blocks."):
        layer, part, kind = _split_name(name)
        return [f"bert.encoder.layer.{layer}.{theirs}.{kind}" for theirs in _BERT[part]]
    ours = next(ours for ours in _BERT_OUTER if name.startswith(ours))
    return [_BERT_OUTER[ours] + name.removeprefix(ours)]


def _bert_config(config: EncoderConfig) -> dict[str, Any]:
    theirs: dict[str, Any] = {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification" if config.num_classes else _BERT_LM],
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.mlp_width,
        "max_position_embeddings": config.max_seq_len,
        "type_vocab_size": config.num_types,
        "layer_norm_eps": config.norm_eps,
        "hidden_act": "gelu",
        "tie_word_embeddings": True,
    }
    if config.num_classes:
        names = config.class_names
        theirs["id2label"] = {str(at): name for at, name in enumerate(names)}
        theirs["label2id"] = {name: at for at, name in enumerate(names)}
    return theirs


def _from_bert_config(theirs: Mapping[str, Any]) -> EncoderConfig:
    if theirs.get("hidden_act", "gelu") != "gelu":
        raise ValueError(f"the activation {theirs['hidden_act']!r} is not supported; gelu is")
    kind = (theirs.get("architectures") or [_BERT_LM])[0]
    if kind not in (_BERT_LM, "BertForPreTraining", "BertForSequenceClassification"):
        raise ValueError(f"{kind} is not supported; {_BERT_LM} is")
    names = _class_names(theirs) if kind.endswith("Classification") else ()
    has_names = any(name != f"LABEL_{at}" for at, name in enumerate(names))
    return EncoderConfig(
        vocab_size=theirs["vocab_size"],
        width=theirs["hidden_size"],
        n_layers=theirs["num_hidden_layers"],
        n_heads=theirs["num_attention_heads"],
        mlp_width=theirs["intermediate_size"],
        max_seq_len=theirs["max_position_embeddings"],
        num_types=theirs.get("type_vocab_size", 2),
        norm_eps=theirs.get("layer_norm_eps", 1e-12),
        num_classes=len(names) or None,
        labels=names if has_names else None,
    )


def _class_names(theirs: Mapping[str, Any]) -> tuple[str, ...]:
    """In the order of their numbers, which JSON has made strings of; a configuration that says
    nothing means two."""
    named = theirs.get("id2label") or {0: "LABEL_0", 1: "LABEL_1"}
    named = {int(at): name for at, name in named.items()}
    return tuple(named[at] for at in sorted(named))
