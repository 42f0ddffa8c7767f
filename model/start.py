"""What a job begins with, and whether the parts of it fit together.

In: a ``TrainJob``. Out: the model to train; or a ValueError about a tokenizer, shards or a
checkpoint that are another model's, or another job's.
"""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from model.adapters import add_adapters
from model.batches import Loader
from model.context import load_to_train
from model.decoder import Decoder
from model.job import TrainJob
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
    """The settings that must not change between a checkpoint and its continuation. Paths and
    devices may; so may ``steps``, to train on."""
    fields = [
        *("objective", "seq_len", "batch_size", "document_mask", "whole_words", "z_loss"),
        *("finetune", "context", "optim", "ema_decay", "precision", "seed"),
        *("dpo_beta", "dpo_sft_weight"),
    ]
    plain = job.to_json_dict()
    return {name: plain[name] for name in fields}


def check_same_job(saved: dict[str, Any], job: TrainJob, path: Path) -> None:
    """A checkpoint was made with the settings that the job has now."""
    for name, value in what_shapes_weights(job).items():
        if saved.get(name, "not yet known") != value:
            raise ValueError(
                f"{path} was trained with {name} = {saved.get(name)}, the job now says {value}: "
                "start afresh in another out_dir, or put it back"
            )
