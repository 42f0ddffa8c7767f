"""What a pretraining run begins with: nothing, or a model of the store or of the user's.

In: a configuration and the stage's inputs. Out: the model's part of the job; and the identity, in
which a folder of the user's is its checksums and an artifact is an input.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.architectures import (
    PRESETS,
    AnyModelConfig,
    EncoderConfig,
    ModelConfig,
    model_config,
    model_preset,
)
from model.options import ContextConfig, optim_preset
from tasks.common.files import sha256_of
from tasks.common.stage import StageContext
from tasks.common.training_form import training_identity
from tasks.pretrain.config import PretrainConfig

MAX_HEADER_BYTES = 100_000_000  # as the safetensors library allows
FILES = ("config.json", "model.safetensors", "tokenizer.json")


def identity(config: PretrainConfig) -> Mapping[str, Any]:
    """What decides the weights besides the inputs."""
    values = training_identity(config)
    values["optimizer"] = config.optimizer.effective()
    if config.optimizer.kind == "as-tuned":
        values["optimizer"]["as_tuned"] = optim_preset(config.model).to_json_dict()
        for name in ("lr", "min_lr_ratio", "decay", "decay_share", "weight_decay"):
            del values[name]  # the preset's are taken
    if not config.start.is_given:
        del values["start"]
        return values | {"model": PRESETS[config.model]}  # the shape, whatever it is called
    del values["model"], values["optimizer"]["width_base"]  # the model given has its own
    values["start"] |= {"checkpoint": "", "folder": _checksums(config.start.folder)}
    return values


def base_folder(context: StageContext, config: PretrainConfig) -> Path | None:
    """Where the model to train on from lies, if there is one."""
    given = context.inputs["checkpoint"]
    if bool(given) != bool(config.start.checkpoint):
        raise ValueError(
            "start.checkpoint names a model that is not among the inputs, or the reverse; run "
            "pretraining by `bloomery run`"
        )
    if given:
        return context.input("checkpoint").folder()
    return Path(config.start.folder) if config.start.folder else None


def where_to_begin(
    config: PretrainConfig, base: Path | None, tokens: Path, vocab_size: int
) -> dict[str, Any]:
    """The fields of the job that say what its weights are at first.

    Raises:
        ValueError: the tokens are another tokenizer's than the model's, or the sequences are too
            long for it.
    """
    if base is None:
        model = model_preset(config.model, vocab_size, config.seq_len)
        return {"model": _at_base_width(model, config.optimizer.width_base)}
    _check_tokenizer(base / "tokenizer.json", tokens / "tokenizer.json")
    longest = base_model(config, base / "config.json").max_seq_len
    positions = config.start.positions
    if positions == "as-trained" or config.seq_len <= longest:
        return {"init_from": str(base)}
    context = ContextConfig(
        max_seq_len=config.seq_len, method=positions, rope_theta=config.start.rope_theta
    )
    return {"init_from": str(base), "context": context}


def base_model(config: PretrainConfig, path: Path) -> AnyModelConfig:
    """What ``path``, the ``config.json`` of the model to start from, describes.

    Raises:
        ValueError: training cannot go on from it as the configuration says.
    """
    try:
        base = model_config(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path} describes no model: {error}") from None
    if isinstance(base, EncoderConfig):
        raise ValueError(f"{path} describes an encoder, which does not foretell the next token")
    is_longer, positions = config.seq_len > base.max_seq_len, config.start.positions
    if is_longer and positions == "as-trained":
        raise ValueError(
            f"seq_len={config.seq_len} exceeds the context of the model to start from, "
            f"{base.max_seq_len} tokens: set start.positions (yarn is a good choice) to stretch "
            "it, or lower seq_len"
        )
    if not is_longer and positions != "as-trained":
        raise ValueError(
            f"start.positions={positions} stretches a context, but seq_len={config.seq_len} is "
            f"within that of the model to start from, {base.max_seq_len} tokens: leave it "
            "as-trained, or raise seq_len"
        )
    return base


def _at_base_width(model: Any, width_base: int | None) -> Any:
    if width_base is None:
        return model
    assert isinstance(model, ModelConfig), "the form refuses others"
    return ModelConfig.from_json_dict(model.to_json_dict() | {"width_base": width_base})


def _check_tokenizer(own: Path, of_tokens: Path) -> None:
    if json.loads(own.read_text()) != json.loads(of_tokens.read_text()):
        raise ValueError(
            f"the tokens were made with another tokenizer than the model to start from, {own}: "
            "set tokenizer.adopt to it and make them again (`bloomery run` does by itself)"
        )


def check_folder(folder: str) -> None:
    """See that a model to train on lies there, whole as far as its header tells.

    Raises:
        ValueError: it does not.
    """
    missing = [name for name in FILES if not (Path(folder) / name).is_file()]
    if missing:
        raise ValueError(
            f"start.folder={folder} is no checkpoint, it lacks {', '.join(missing)}; `bloomery "
            "import-hf` makes one of a Hugging Face model"
        )
    path = Path(folder) / "model.safetensors"
    if _promised_bytes(path) != path.stat().st_size:
        raise ValueError(
            f"{path} is cut short, or is no safetensors file: copy it again, or make it anew"
        )


def _promised_bytes(path: Path) -> int:
    """How long a safetensors file is by its own header; -1 where it has none."""
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        try:
            header = json.loads(file.read(min(length, MAX_HEADER_BYTES)))
            ends = [each["data_offsets"][1] for n, each in header.items() if n != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return -1
    return 8 + int(length) + max(ends, default=0)


def _checksums(folder: str) -> dict[str, str]:
    if not folder:
        return {}
    check_folder(folder)
    return {name: sha256_of(Path(folder) / name) for name in FILES}
