"""How a job's arithmetic is done: in which type, by which kernels, compiled or not.

In: a job, a device, its model. Out: the model, made ready; what surrounds each step. None of it
changes what is computed beyond rounding.

Weights stay float32 and are cast where they are used (autocast): gradients of micro-batches add up
in float32 and checkpoints are the same everywhere. Weights kept in bfloat16 beside a float32 copy
in the optimizer would save the casts. Those read 4 and write 2 bytes a weight, forward and for the
gradient: 16 GB for 1.3e9 weights, 5 ms of an H100's memory against some 350 ms of its arithmetic
for a micro-batch of 16k tokens. Not worth gradients that add up with eight bits of precision.
"""

import contextlib
from typing import Any

import torch

from model.architectures import ModelConfig
from model.attention import choose_backend
from model.batches import TokenBatch
from model.job import TrainJob
from model.language_model import LanguageModel
from model.muon import Muon, Together
from model.optim import AnyOptimizer
from model.recompute import block_runner
from model.threads import choose_threads, own_cores

MIN_WIDTH = 64  # of compiled rows
_MEASURED_FLOPS = 2e9  # in one product that threads are tried with: a CPU's 30 milliseconds


class Compute:
    """One job's choices."""

    def __init__(self, job: TrainJob, device: torch.device) -> None:
        self.job, self.device = job, device
        is_half = job.precision in ("bf16", "fp8")
        if job.precision == "auto":  # a CPU's bfloat16 is many times slower than its float32
            is_half = device.type == "cuda"
        self.dtype = torch.bfloat16 if is_half else torch.float32
        self._first_graphs: int | None = None

    def prepare(self, model: LanguageModel) -> None:
        """Make the model ready; before an optimizer or other ranks know its parameters.

        Raises:
            ValueError: the job asks for what this model or machine does not have.
        """
        if self.job.precision == "fp8":
            from model.float8 import use_float8

            use_float8(model, emulate=self.device.type == "cpu")
        if isinstance(model.config, ModelConfig):
            model.attention_backend = choose_backend(  # type: ignore[assignment]
                self.job.attention, self.device, self.dtype, model.config.head_width
            )
        has_blocks = hasattr(model, "blocks")
        if self.job.activation_checkpointing != "none" and not has_blocks:
            raise ValueError(
                f'activation_checkpointing = "{self.job.activation_checkpointing}" works on '
                f'blocks, which a {type(model).__name__} does not have; use "none"'
            )
        model.run_block = block_runner(self.job.activation_checkpointing)
        if self.job.compile:
            _compile(model, in_blocks=has_blocks and self.job.compile_scope == "blocks")

    def prepare_optimizer(self, optimizer: AnyOptimizer) -> None:
        """AdamW is one kernel as it is; Muon's rounds are compiled, once for each shape."""
        for part in optimizer.parts if isinstance(optimizer, Together) else [optimizer]:
            if self.job.compile and isinstance(part, Muon):
                part.orthogonal = torch.compile(part.orthogonal, dynamic=False)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """What forward passes run in."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def fit(self, batch: TokenBatch) -> TokenBatch:
        """Ragged rows at one of a few widths, where each new width would be compiled anew."""
        if not self.job.compile or batch.mask_BT is None:
            return batch
        width = batch.inputs_BT.shape[1]
        wider = max(MIN_WIDTH, 1 << (width - 1).bit_length())
        return batch.widened(max(width, min(wider, self.job.seq_len)))

    def recompiles(self) -> dict[str, int]:
        """Graphs compiled since the first time this was asked; nothing where nothing is."""
        if not self.job.compile:
            return {}
        num_graphs = num_compiled_graphs()
        if self._first_graphs is None:
            self._first_graphs = num_graphs
        return {"recompiles": num_graphs - self._first_graphs}

    def threads(self, model: LanguageModel) -> int:
        """What the job says, or what suits the machine and the model's commonest product."""
        if self.job.threads is not None:
            return self.job.threads
        if self.device.type != "cpu":
            return min(torch.get_num_threads(), own_cores())
        width = model.config.width
        inner = getattr(model.config, "mlp_width", 4 * width)
        tokens = (self.job.micro_batch_size or self.job.batch_size) * self.job.seq_len
        return choose_threads(
            max(1, min(tokens, int(_MEASURED_FLOPS / (2 * width * inner)))), width, inner
        )


def num_compiled_graphs() -> int:
    """Since the process began."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def _compile(model: LanguageModel, *, in_blocks: bool) -> None:
    """Forward and, through autograd, backward.

    The head's loss makes its gradient as it goes, chunk by chunk, in a function of its own: what
    is elementwise in it is compiled for all sizes of a chunk at once. What is data's own, as where
    documents begin, is worked out before: shapes inside are known, and every new one is compiled.
    """
    model.is_compiled = True
    if in_blocks:
        model.run_block = torch.compile(model.run_block, dynamic=False)
        return
    whole = "stack" if hasattr(model, "stack") else "hidden"
    setattr(model, whole, torch.compile(getattr(model, whole), dynamic=False))
