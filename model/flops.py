"""What training costs in floating-point operations, and what share of the machine that uses.

In: a model and the length of its rows. Out: FLOPs of a training step (matrix products alone, two
for each multiply-add), and a device's peak, whose quotient with time is the MFU (Chowdhery et al.
2022, arXiv:2204.02311, appendix B).

``python -m model.flops`` prints this machine's peak.
"""

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from model.adapters import Nf4Linear
from model.architectures import AnyModelConfig, EncoderConfig, LstmConfig, ModelConfig
from model.language_model import LanguageModel

_PROBE_SIZE = 1024
_NUM_PROBES = 4
# Dense bf16, as the makers' data sheets say. A card is the first row whose words its name has all.
_PUBLISHED_BF16 = (
    ("B200", 2250e12),
    ("H200 NVL", 835e12),
    ("H200", 989e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("A100", 312e12),
    ("A30", 165e12),
    ("L40S", 362e12),
    ("L4", 121e12),
    ("RTX 4090", 165e12),
    ("MI300X", 1307e12),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flops:
    """Of one pass through a model, a token. The head works on the scored positions only."""

    body: float
    """A token read."""
    head: float
    """A position scored."""

    def of(self, num_tokens: int, num_scored: int) -> float:
        """Of a batch."""
        return self.body * num_tokens + self.head * num_scored

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(body=self.body + other.body, head=self.head + other.head)


FlopsByLength = Callable[[int], Flops]
"""Of rows of so many tokens; asked anew, it looks at no weights again."""


def forward_flops(model: LanguageModel) -> FlopsByLength:
    """Reading: two a weight, and attention."""
    weights = sum(size for size, _ in _matrices(model))
    head, config = 2.0 * model.head_weight.numel(), model.config

    def of_length(length: int) -> Flops:
        return Flops(body=float(2 * weights + 2 * _attention_products(config, length)), head=head)

    return of_length


def training_flops(model: LanguageModel) -> FlopsByLength:
    """Forward and backward: a weight that is trained costs six, a frozen one four.

    Attention counts every position that a window reaches, causal or not, and does not know where
    documents end: the usual convention, so that figures compare with others'. What activation
    checkpointing computes again is not counted either: MFU, not hardware utilisation.
    """
    weights = sum(size * (6 if trained else 4) for size, trained in _matrices(model))
    head = model.head_weight.numel() * (6.0 if model.head_weight.requires_grad else 4.0)
    config = model.config

    def of_length(length: int) -> Flops:
        return Flops(body=float(weights + 6 * _attention_products(config, length)), head=head)

    return of_length


def peak_flops(device: torch.device) -> float | None:
    """FLOPs a second that one device can do at best; None for a card that is not in the table.

    On CUDA the published bf16 rate; on a CPU the fp32 matmul rate of this process's threads,
    measured once (about 0.1 s): no data sheet knows how many of its cores are ours. Other
    processes' share is not taken off: a busy machine lowers the MFU, not the peak.
    """
    if device.type == "cuda":
        return published_peak(torch.cuda.get_device_name(device))
    return measured_peak(torch.get_num_threads()) if device.type == "cpu" else None


def published_peak(card: str) -> float | None:
    """Dense bf16 FLOPs a second of a card by the name its driver gives it."""
    words = set(card.replace("-", " ").split())
    return next((rate for name, rate in _PUBLISHED_BF16 if words.issuperset(name.split())), None)


@functools.cache
def measured_peak(num_threads: int) -> float:
    """Best of a few fp32 products of 1024 × 1024 matrices by ``num_threads`` threads, which torch
    is set to, in time that they really ran. Draws no random numbers."""
    left = torch.full((_PROBE_SIZE, _PROBE_SIZE), 0.5)
    out = torch.mm(left, left)
    least_seconds = math.inf
    for _ in range(_NUM_PROBES):
        started = time.process_time()
        torch.mm(left, left, out=out)
        least_seconds = min(least_seconds, time.process_time() - started)
    return 2 * _PROBE_SIZE**3 * num_threads / least_seconds


def _matrices(model: LanguageModel) -> list[tuple[int, bool]]:
    """Size, and whether it is trained, of each matrix that every token is multiplied by."""
    looked_up = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters()
    }
    looked_up.add(id(model.head_weight))  # the head is counted apart
    found = [
        (parameter.numel(), parameter.requires_grad)
        for parameter in model.parameters()
        if parameter.ndim == 2 and id(parameter) not in looked_up
    ]
    packed = (module for module in model.modules() if isinstance(module, Nf4Linear))
    return found + [(2 * module.packed.numel(), False) for module in packed]  # two in a byte


def _attention_products(config: AnyModelConfig, seq_len: int) -> int:
    """Multiply-adds of attention in all layers, a token: scores, and the sum of values."""
    match config:
        case ModelConfig():
            window = min(config.sliding_window or seq_len, seq_len)
            num_full = len(set(config.full_attention_layers))
            keys = num_full * seq_len + (config.n_layers - num_full) * window
            return 2 * keys * config.n_heads * config.head_width
        case EncoderConfig():
            return 2 * config.n_layers * seq_len * config.width
        case LstmConfig():
            return 0


if __name__ == "__main__":
    here = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rate = peak_flops(here)
    print(f"{here}: {rate / 1e9:,.0f} GFLOP/s" if rate else f"{here}: not in the table")
