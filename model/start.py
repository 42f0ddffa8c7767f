"""What a job begins with, and whether the parts of it fit together.

In: a ``TrainJob``. Out: the model to train; or a ValueError about a tokenizer, shards or a
checkpoint that are another model's, or another job's.
"""

import hashlib
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from model.adapters import add_adapters
from model.batches import Loader
from model.checkpoint import read_config
from model.context import load_to_train
from model.decoder import Decoder
from model.job import PretrainData, TrainJob
from model.language_model import LanguageModel, make_model
from model.objectives.base import objective_named
from model.packed_loader import PackedLoader


def initial_model(job: TrainJob) -> LanguageModel:
    """What the job begins with, on the host."""
    objective, model = objective_named(job.objective), _model_to_train(job)
    if model.config.architecture not in objective.architectures:
        raise ValueError(f"objective {job.objective!r} does not train {model.config.architecture}s")
    return objective.adapt_model(job, model)


def _model_to_train(job: TrainJob) -> LanguageModel:
    if job.init_from is None:
        assert job.model is not None  # TrainJob sees to it
        return make_model(job.model)
    model = load_to_train(job.init_from, job.context)
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


def check_fit(job: TrainJob, model: LanguageModel, tokenizer: Tokenizer) -> None:
    """Neither rows nor vocabulary are too large for the model."""
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


def check_shards(model: LanguageModel, *loaders: Loader | None) -> None:
    """Token shards hold no id that the model does not know."""
    for loader in loaders:
        if isinstance(loader, PackedLoader) and loader.vocab_size > model.config.vocab_size:
            raise ValueError(
                f"the token shards were written with a vocabulary of {loader.vocab_size}, the "
                f"model's is {model.config.vocab_size}: tokenize them with this model's tokenizer"
            )


def what_shapes_weights(job: TrainJob) -> dict[str, Any]:
    """The settings that must not change between a checkpoint and its continuation, and a digest of
    the weights that the job begins with.

    Paths and devices may change; so may ``steps`` and early stopping, to train on, mixtures that
    have not begun, and ``guard``, which is there to be set when a run is in trouble.
    """
    fields = [
        *("objective", "seq_len", "batch_size", "document_mask", "whole_words", "z_loss"),
        *("finetune", "context", "optim", "ema_decay", "precision", "seed"),
        *("dpo_beta", "dpo_sft_weight"),
    ]
    plain = job.to_json_dict()
    shape = {name: plain[name] for name in fields}
    shape["init_from"] = job.init_from and weights_digest(job.init_from)
    if isinstance(job.data, PretrainData):
        shape["mixture"] = {name: plain["data"][name] for name in ("weights", "phases")}
    return shape


def weights_digest(folder: str | Path) -> str:
    """Of an exported model's weights: the same wherever they lie."""
    with (Path(folder) / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_same_job(
    state: dict[str, Any], ours: dict[str, Any], model: LanguageModel, path: Path
) -> None:
    """A checkpoint was made with the settings that the job has now, and is of such a model.

    Args:
        state: of the checkpoint.
        ours: ``what_shapes_weights`` of the job.
    """
    saved, step = state["job"], state["step"]
    for name, value in ours.items():
        theirs = saved.get(name, "not yet known")
        if name == "mixture" and isinstance(theirs, dict):
            theirs, value = _before(step, theirs), _before(step, value)
        _require_same(path, name, theirs, value)
    theirs, own = read_config(path).to_json_dict(), model.config.to_json_dict()
    for name in sorted(theirs | own):
        _require_same(path, f"model.{name}", theirs.get(name), own.get(name))


def _before(step: int, mixture: dict[str, Any]) -> dict[str, Any]:
    """What of a mixture batches have been drawn by."""
    return mixture | {"phases": [p for p in mixture["phases"] if p["first_step"] < step]}


def _require_same(path: Path, name: str, theirs: object, ours: object) -> None:
    if theirs != ours:
        raise ValueError(
            f"{path} was trained with {name} = {theirs}, the job now says {ours}: "
            "start afresh in another out_dir, or put it back"
        )
