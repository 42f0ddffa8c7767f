"""LoRA in the peft library's format: ``adapter_config.json`` and ``adapter_model.safetensors``.

In: a decoder, or a folder that peft has written. Out: the other. Also what a LoRA that was merged
is taken out of a model by. From the command line, see ``adapter_folder.py``.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.adapters import LoraLinear, add_adapters, merged
from model.decoder import Decoder
from model.options import FinetuneConfig

CONFIG_NAME, WEIGHTS_NAME = "adapter_config.json", "adapter_model.safetensors"
# What peft can do to LoRA that this engine does not.
ODD_SETTINGS = (
    *("use_rslora", "use_dora", "modules_to_save", "rank_pattern", "alpha_pattern"),
    *("fan_in_fan_out", "lora_bias"),
)


def has_peft_format(model: Decoder) -> bool:
    """Whether the peft library knows what was added: LoRA on LLaMA and its kin, whose projections
    transformers keeps apart as we count them."""
    is_llama = model.config.position == "rope" and model.config.mlp == "swiglu"
    return model.finetune is not None and model.finetune.method == "lora" and is_llama


def save_peft(model: Decoder, folder: Path, base_name: str = "") -> None:
    """Write LoRA's parameters as the peft library does, to go beside the exported base model.

    Raises:
        ValueError: another method or architecture than peft has a format for.
    """
    config = model.finetune
    if config is None or not has_peft_format(model):
        raise ValueError("peft's format is written for LoRA on LLaMA and its kin")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(_peft_state(model)), folder / WEIGHTS_NAME, {"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": sorted(config.targets),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    text = json.dumps(settings, indent=1) + "\n"
    (folder / CONFIG_NAME).write_text(text, encoding="utf-8")


def load_peft(model: Decoder, folder: Path) -> FinetuneConfig:
    """Add LoRA as the peft library has written it; gives back its configuration.

    Raises:
        ValueError: settings that are not plain LoRA, or parameters that do not fit the model.
    """
    try:
        settings: dict[str, Any] = json.loads((folder / CONFIG_NAME).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} has no readable {CONFIG_NAME}: {error}") from error
    odd = {name: settings[name] for name in ODD_SETTINGS if settings.get(name)}
    targets = settings.get("target_modules")
    is_plain = settings.get("peft_type") == "LORA" and settings.get("bias", "none") == "none"
    if not is_plain or odd or not isinstance(targets, list):
        raise ValueError(f"{folder} is not plain LoRA on named projections: {odd or settings}")
    config = FinetuneConfig(
        method="lora",
        rank=settings["r"],
        alpha=float(settings["lora_alpha"]),
        dropout=float(settings.get("lora_dropout", 0.0)),
        targets=tuple(targets),
    )
    add_adapters(model, config)
    wanted = dict(_peft_state(model))
    try:
        found = load_file(folder / WEIGHTS_NAME)
    except Exception as error:  # safetensors has an exception of its own for damaged files
        raise ValueError(f"{folder / WEIGHTS_NAME} cannot be read: {error}") from error
    odd_names = sorted(found.keys() ^ wanted)
    odd_names += [n for n in found.keys() & wanted if found[n].shape != wanted[n].shape]
    if odd_names:
        raise ValueError(f"{folder} was made for another model: {odd_names[:3]}")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(found[name])
    return config


def unmerge(model: Decoder, folder: Path) -> Decoder:
    """The model that a LoRA was merged into: a plain decoder without the change in ``folder``, the
    same as before but for the rounding of a sum. Uses up the model it is given.

    Raises:
        ValueError: as ``load_peft``.
    """
    load_peft(model, folder)
    for module in model.modules():
        if isinstance(module, LoraLinear):
            module.scale = -module.scale
    return merged(model)


def _peft_state(model: Decoder) -> Iterator[tuple[str, Tensor]]:
    for path, module in model.named_modules():
        if isinstance(module, LoraLinear):
            _, layer, part, _ = path.split(".")
            theirs = "self_attn" if part == "attention" else "mlp"
            for name in module.a:
                prefix = f"base_model.model.model.layers.{layer}.{theirs}.{name}"
                yield f"{prefix}.lora_A.weight", module.a[name].detach()
                yield f"{prefix}.lora_B.weight", module.b[name].detach()
