"""What a pretraining run begins with: nothing, or a model of the store or of the user's.

In: a configuration and the stage's inputs. Out: the model's part of the job; and the identity, in
which a folder of the user's is its checksums and an artifact is an input.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.architectures import ModelConfig, model_config, model_preset
from model.options import ContextConfig
from tasks.common.files import sha256_of
from tasks.common.stage import StageContext
from tasks.pretrain.config import PretrainConfig

FILES = ("config.json", "model.safetensors", "tokenizer.json")


def identity(config: PretrainConfig) -> Mapping[str, Any]:
    """What decides the weights besides the inputs."""
    values = config.model_dump(mode="json")
    if not config.start.is_given:
        del values["start"]
        return values
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
    longest = model_config(json.loads((base / "config.json").read_text())).max_seq_len
    positions = config.start.positions
    if config.seq_len <= longest:
        return {"init_from": str(base)}
    if positions == "as-trained":
        raise ValueError(
            f"seq_len={config.seq_len} exceeds the context of the model to start from, {longest} "
            "tokens: set start.positions (yarn is a good choice) to stretch it, or lower seq_len"
        )
    context = ContextConfig(
        max_seq_len=config.seq_len, method=positions, rope_theta=config.start.rope_theta
    )
    return {"init_from": str(base), "context": context}


def _at_base_width(model: Any, width_base: int | None) -> Any:
    if width_base is None:
        return model
    if not isinstance(model, ModelConfig):
        raise ValueError("optimizer.width_base is for transformers; leave it empty")
    return ModelConfig.from_json_dict(model.to_json_dict() | {"width_base": width_base})


def _check_tokenizer(own: Path, of_tokens: Path) -> None:
    if json.loads(own.read_text()) != json.loads(of_tokens.read_text()):
        raise ValueError(
            f"the tokens were made with another tokenizer than the model to start from, {own}: "
            "set tokenizer.adopt to it and make them again (`bloomery run` does by itself)"
        )


def _checksums(folder: str) -> dict[str, str]:
    if not folder:
        return {}
    missing = [name for name in FILES if not (Path(folder) / name).is_file()]
    if missing:
        raise ValueError(
            f"start.folder={folder} is no checkpoint, it lacks {', '.join(missing)}; `bloomery "
            "import-hf` makes one of a Hugging Face model"
        )
    return {name: sha256_of(Path(folder) / name) for name in FILES}
