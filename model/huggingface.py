"""The same weights under transformers' names: ``LlamaForCausalLM`` and ``GPT2LMHeadModel``.

In: a decoder, or a transformers configuration (as a dictionary) and state dict. Out: the other.
transformers itself is not needed. We keep queries, keys and values, and gate and up, as one matrix
each; there they are apart (LLaMA) or transposed (GPT-2's Conv1D).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model.config import ModelConfig
from model.decoder import Decoder

_LLAMA = {
    "attention.to_qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.to_out": ("self_attn.o_proj",),
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


def from_huggingface(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Decoder:
    """A decoder with the weights of a transformers LLaMA or GPT-2."""
    ours = _config_from(config)
    model = Decoder(ours)
    weights = _from_gpt2(ours, state) if _is_gpt2(ours) else _from_llama(ours, state)
    model.load_state_dict(weights)
    return model


def to_huggingface(model: Decoder) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """``config.json`` and state dict that transformers loads with the same logits."""
    config, state = model.config, model.state_dict()
    if _is_gpt2(config):
        return _gpt2_config(config), _to_gpt2(config, state)
    if (config.norm, config.position, config.mlp, config.bias) != (
        "rmsnorm",
        "rope",
        "swiglu",
        False,
    ):
        raise ValueError(f"transformers has no name for this mixture of LLaMA and GPT-2: {config}")
    return _llama_config(config), _to_llama(config, state)


def _is_gpt2(config: ModelConfig) -> bool:
    kind = (config.norm, config.position, config.mlp, config.bias, config.tie_embeddings)
    return kind == ("layernorm", "learned", "gelu", True, True)


# --- LLaMA ---------------------------------------------------------------------------------------


def _from_llama(config: ModelConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    ours = {
        "embed.weight": state["model.embed_tokens.weight"],
        "norm.weight": state["model.norm.weight"],
    }
    if not config.tie_embeddings:
        ours["to_logits.weight"] = state["lm_head.weight"]
    for layer in range(config.n_layers):
        for name, parts in _LLAMA.items():
            theirs = [state[f"model.layers.{layer}.{part}.weight"] for part in parts]
            ours[f"blocks.{layer}.{name}.weight"] = torch.cat(theirs)
    return ours


def _to_llama(config: ModelConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    kv_width = config.n_kv_heads * config.head_width
    rows = {3: [config.width, kv_width, kv_width], 2: [config.mlp_width] * 2}
    head = state["embed.weight" if config.tie_embeddings else "to_logits.weight"]
    theirs = {
        "model.embed_tokens.weight": state["embed.weight"],
        "model.norm.weight": state["norm.weight"],
        "lm_head.weight": head.clone(),  # safetensors refuses two names for one memory
    }
    for layer in range(config.n_layers):
        for name, parts in _LLAMA.items():
            weight = state[f"blocks.{layer}.{name}.weight"]
            pieces = weight.split(rows[len(parts)]) if len(parts) > 1 else [weight]
            for part, piece in zip(parts, pieces, strict=True):
                theirs[f"model.layers.{layer}.{part}.weight"] = piece.contiguous()
    return theirs


def _llama_config(config: ModelConfig) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "intermediate_size": config.mlp_width,
        "max_position_embeddings": config.max_seq_len,
        "rms_norm_eps": config.norm_eps,
        # transformers 5 reads the second, older ones the first.
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "tie_word_embeddings": config.tie_embeddings,
        "attention_bias": False,
        "mlp_bias": False,
        "hidden_act": "silu",
    }


# --- GPT-2 ---------------------------------------------------------------------------------------


def _from_gpt2(config: ModelConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    ours = {
        "embed.weight": state["transformer.wte.weight"],
        "embed_position.weight": state["transformer.wpe.weight"],
    }
    for kind in ("weight", "bias"):
        ours[f"norm.{kind}"] = state[f"transformer.ln_f.{kind}"]
        for layer in range(config.n_layers):
            for name, theirs in _GPT2.items():
                tensor = state[f"transformer.h.{layer}.{theirs}.{kind}"]
                ours[f"blocks.{layer}.{name}.{kind}"] = _transposed(tensor)
    return ours


def _to_gpt2(config: ModelConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    theirs = {
        "transformer.wte.weight": state["embed.weight"],
        "transformer.wpe.weight": state["embed_position.weight"],
        "lm_head.weight": state["embed.weight"].clone(),
    }
    for kind in ("weight", "bias"):
        theirs[f"transformer.ln_f.{kind}"] = state[f"norm.{kind}"]
        for layer in range(config.n_layers):
            for name, part in _GPT2.items():
                tensor = state[f"blocks.{layer}.{name}.{kind}"]
                theirs[f"transformer.h.{layer}.{part}.{kind}"] = _transposed(tensor)
    return theirs


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


def _config_from(theirs: Mapping[str, Any]) -> ModelConfig:
    kind = theirs.get("model_type")
    if kind == "gpt2":
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
    if kind != "llama":
        raise ValueError(f"model_type {kind!r} is not supported; llama and gpt2 are")
    if theirs.get("attention_bias") or theirs.get("mlp_bias"):
        raise ValueError("LLaMA models with biases are not supported")
    rope = theirs.get("rope_parameters") or theirs.get("rope_scaling") or {}
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"scaled rotary positions are not supported: {rope}")
    return ModelConfig(
        vocab_size=theirs["vocab_size"],
        width=theirs["hidden_size"],
        n_layers=theirs["num_hidden_layers"],
        n_heads=theirs["num_attention_heads"],
        n_kv_heads=theirs["num_key_value_heads"],
        max_seq_len=theirs["max_position_embeddings"],
        mlp_width=theirs["intermediate_size"],
        tie_embeddings=theirs["tie_word_embeddings"],
        rope_theta=rope.get("rope_theta", theirs.get("rope_theta", 10_000.0)),
        norm_eps=theirs["rms_norm_eps"],
    )
