"""Longer contexts for a model that was trained on short ones.

In: a checkpoint, and how long its context shall become. Out: the same weights, their rotary
positions stretched, to train on with long documents.

theta: a larger base, so that all frequencies slow but the fastest (Xiong et al. 2023,
arXiv:2309.16039). linear, yarn, llama3: ``architectures.RopeScaling`` says whose. none: positions
stay as they are, for a model that needs no stretching (an LSTM) or a longer sliding window.
"""

from dataclasses import replace
from pathlib import Path

from model.architectures import AnyModelConfig, EncoderConfig, ModelConfig, RopeScaling
from model.checkpoint import load_model
from model.language_model import LanguageModel, make_model
from model.options import ContextConfig


def extended(config: AnyModelConfig, context: ContextConfig) -> AnyModelConfig:
    """The shape of a model with a longer context; its weights fit both.

    Raises:
        ValueError: learned positions, which end where they end; or nothing to lengthen.
    """
    length = context.max_seq_len
    if length <= config.max_seq_len:
        raise ValueError(
            f"context.max_seq_len = {length} is no longer than the model's {config.max_seq_len}"
        )
    is_learned = isinstance(config, EncoderConfig) or (
        isinstance(config, ModelConfig) and config.position == "learned"
    )
    if is_learned:
        raise ValueError(
            f"this model has {config.max_seq_len} learned positions and cannot read further; "
            "only rotary positions can be stretched"
        )
    if not isinstance(config, ModelConfig):
        if context.method != "none":
            raise ValueError(
                f"an {config.architecture} has no positions to stretch by {context.method}: "
                'set context.method to "none"'
            )
        return replace(config, max_seq_len=length)
    return _stretched(replace(config, max_seq_len=length), config, context)


def load_to_train(folder: str | Path, context: ContextConfig | None) -> LanguageModel:
    """An exported model to train on, with a longer context if that is asked for."""
    model, _ = load_model(folder)
    if context and not model.finetune:  # what is trained beside a frozen model is refused anyway
        short, model = model, make_model(extended(model.config, context))
        model.load_state_dict(short.state_dict())
    return model.train()


def _stretched(config: ModelConfig, short: ModelConfig, context: ContextConfig) -> ModelConfig:
    former, method = short.rope_scaling, context.method
    if method == "none":
        return config
    if method == "theta":
        if former is not None:
            raise ValueError(
                f"this model's positions are stretched already ({former.kind}); stretch them "
                "further in the same way"
            )
        return replace(config, rope_theta=context.rope_theta or larger_theta(short, context))
    original = former.original_max_seq_len if former else short.max_seq_len
    factor = context.max_seq_len / original
    if former and former.kind == method:  # its other numbers are those it was trained with
        return replace(config, rope_scaling=replace(former, factor=factor))
    scaling = RopeScaling(kind=method, factor=factor, original_max_seq_len=original)
    return replace(config, rope_scaling=scaling)


def larger_theta(short: ModelConfig, context: ContextConfig) -> float:
    """The base at which the slowest frequency is as much slower as the context is longer, and the
    fastest as it was (Peng et al. 2023, arXiv:2309.00071, eq. 16)."""
    factor = context.max_seq_len / short.max_seq_len
    width = short.head_width
    return float(short.rope_theta * factor ** (width / (width - 2)))
