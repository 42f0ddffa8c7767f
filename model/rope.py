"""Rotary positions (Su et al. 2021, arXiv:2104.09864), and how they stretch to longer contexts.

In: a configuration. Out: tables of cosines and sines; ``elementwise.rotate`` turns by them.

Shape suffixes: E head width; F = E / 2 frequencies.
"""

import math

import torch
from torch import Tensor

from model.architectures import ModelConfig, RopeScaling


def rope_tables(config: ModelConfig) -> tuple[Tensor, Tensor]:
    """Cosines and sines, (max_seq_len, E), float32; both halves of E hold the same angles."""
    exponents_F = torch.arange(0, config.head_width, 2, dtype=torch.float32) / config.head_width
    frequencies_F = config.rope_theta**-exponents_F
    gain = 1.0
    if config.rope_scaling:
        frequencies_F = _stretch(frequencies_F, config.rope_theta, config.rope_scaling)
        gain = _gain(config.rope_scaling)
    angles = torch.outer(torch.arange(config.max_seq_len).float(), frequencies_F)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos() * gain, angles.sin() * gain


def _stretch(frequencies_F: Tensor, theta: float, scaling: RopeScaling) -> Tensor:
    """Divide by the factor those frequencies that the scaling slows, and some in part."""
    if scaling.kind == "linear":
        share_F = torch.ones_like(frequencies_F)
    elif scaling.kind == "llama3":
        turns_F = scaling.original_max_seq_len * frequencies_F / (2 * math.pi)
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        share_F = 1 - ((turns_F - low) / (high - low)).clamp(0, 1)
    else:
        share_F = _yarn_share(len(frequencies_F), theta, scaling)
    return frequencies_F * (1 - share_F) + frequencies_F / scaling.factor * share_F


def _yarn_share(num_frequencies: int, theta: float, scaling: RopeScaling) -> Tensor:
    """How much of each frequency is slowed: a ramp over their numbers (section 3.2), its ends on
    whole numbers as in the authors' code."""

    def number_of(turns: float) -> float:
        wavelength = scaling.original_max_seq_len / turns
        return num_frequencies * math.log(wavelength / (2 * math.pi)) / math.log(theta)

    low = max(0, math.floor(number_of(scaling.beta_fast)))
    high = min(2 * num_frequencies - 1, math.ceil(number_of(scaling.beta_slow)))
    width = max(high - low, 1e-3)
    return ((torch.arange(num_frequencies, dtype=torch.float32) - low) / width).clamp(0, 1)


def _gain(scaling: RopeScaling) -> float:
    """YaRN's attention temperature, put on the tables (section 3.4)."""
    if scaling.kind != "yarn":
        return 1.0
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    return 0.1 * math.log(scaling.factor) + 1.0
