"""Parameter-efficient fine-tuning: a frozen model and a few new parameters beside it.

In: a decoder and a ``FinetuneConfig``. Out: the same decoder, changed in place, in which only what
the method adds (or, with BitFit, the biases) is trained. Every method begins as the model it was
given: what is added adds nothing yet.
"""

import importlib
import importlib.util
import logging
import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.architectures import ModelConfig
from model.decoder import Decoder
from model.layers import Block, Prefix
from model.options import FinetuneConfig

# Our matrices, and the projections that each is made of, in transformers' names.
PARTS = {
    "attention.to_qkv": ("q_proj", "k_proj", "v_proj"),
    "attention.to_out": ("o_proj",),
    "mlp.gate_up": ("gate_proj", "up_proj"),
    "mlp.up": ("up_proj",),
    "mlp.to_out": ("down_proj",),
}
OUTPUTS = ("attention.to_out", "mlp.to_out")
NF4_BLOCK = 64  # numbers that share one scale (Dettmers et al. 2023, arXiv:2305.14314, section 3)


class LoraLinear(nn.Module):
    """W x + (α / r) B A x (Hu et al. 2022, arXiv:2106.09685, eq. 3), for each projection in W."""

    def __init__(
        self, base: nn.Module, rows: Mapping[str, int], in_width: int, config: FinetuneConfig
    ) -> None:
        super().__init__()
        self.base = base
        self.rows = dict(rows)
        self.scale = config.alpha / config.rank
        self.dropout = nn.Dropout(config.dropout)
        chosen = [name for name in rows if name in config.targets]
        self.a = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(config.rank, in_width)) for name in chosen}
        )
        self.b = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(rows[name], config.rank)) for name in chosen}
        )
        for a in self.a.values():
            nn.init.kaiming_uniform_(a, a=math.sqrt(5))  # as peft's; B begins at nought

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out)."""
        seen = self.dropout(x)
        changes = [
            F.linear(F.linear(seen, self.a[name]), self.b[name]) * self.scale
            if name in self.a
            else x.new_zeros(*x.shape[:-1], num_rows)
            for name, num_rows in self.rows.items()
        ]
        return self.base(x) + torch.cat(changes, dim=-1)

    @torch.no_grad()
    def change(self) -> Tensor:
        """What is added to W, (out, in)."""
        like = next(iter(self.a.values()))
        return torch.cat(
            [
                self.b[name] @ self.a[name] * self.scale
                if name in self.a
                else like.new_zeros(num_rows, like.shape[1])
                for name, num_rows in self.rows.items()
            ]
        )


class Nf4Linear(nn.Module):
    """A frozen matrix in four bits a number (NF4), made dense for each use by bitsandbytes.

    The library's own layer packs its weights anew, and rounds differently, outside of training.
    """

    packed: Tensor

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        from bitsandbytes.functional import quantize_4bit

        packed, self.format = quantize_4bit(
            base.weight.detach(), blocksize=NF4_BLOCK, quant_type="nf4"
        )
        self.register_buffer("packed", packed, persistent=False)
        self.bias = base.bias

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out)."""
        y: Tensor = _Nf4Product.apply(x, self)
        return y if self.bias is None else y + self.bias

    def dense(self) -> Tensor:
        """(out, in), as numbers."""
        from bitsandbytes.functional import dequantize_4bit

        weight: Tensor = dequantize_4bit(self.packed, self.format)
        return weight

    def _apply(self, fn: Any, recurse: bool = True) -> "Nf4Linear":
        super()._apply(fn, recurse)
        self.format.to(self.packed.device)
        return self


class _Nf4Product(torch.autograd.Function):
    """x Wᵀ that remembers W in four bits: plain autograd would keep it dense until backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Nf4Linear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.dense().to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] @ ctx.layer.dense().to(gradients[0].dtype), None


class Bottleneck(nn.Module):
    """y + U gelu(D y) behind a projection (Houlsby et al. 2019, arXiv:1902.00751, figure 2)."""

    def __init__(self, base: nn.Module, width: int, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out)."""
        y = self.base(x)
        return y + self.up(F.gelu(self.down(y)))


def add_adapters(model: Decoder, config: FinetuneConfig) -> Decoder:
    """Freeze the model and add what the method trains; gives back the same model.

    Raises:
        ValueError: the method finds nothing to train in this model.
    """
    if model.finetune is not None:
        raise ValueError(f"this model already has what {model.finetune.method} adds")
    model.requires_grad_(False)
    model.finetune = config
    if config.base == "nf4":
        quantise(model)
    for block in model.blocks:
        assert isinstance(block, Block)
        _add_to(block, model.config, config)
    if config.method == "bitfit":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("bias"))
    if not trained_state(model):
        raise ValueError(
            f"{config.method} with targets {list(config.targets)} finds nothing to train here"
            + (": the model has no biases" if config.method == "bitfit" else "")
        )
    return model


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that are trained, by name."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def can_merge(config: FinetuneConfig) -> bool:
    """Whether what the method trains can be written as a plain decoder's weights."""
    return config.method in ("lora", "bitfit")


@torch.no_grad()
def merged(model: Decoder) -> Decoder:
    """A plain decoder that says the same, LoRA's changes added to the weights they belong to.

    Raises:
        ValueError: bottlenecks and prefixes cannot be written as a plain decoder's weights.
    """
    if model.finetune is not None and not can_merge(model.finetune):
        raise ValueError(f"{model.finetune.method} cannot be merged into the model's weights")
    plain = Decoder(model.config)
    state: dict[str, Tensor] = {}
    wrapped = {name: m for name, m in model.named_modules() if isinstance(m, LoraLinear)}
    for name, tensor in _plain_state(model):
        owner, _, kind = name.rpartition(".")
        if kind == "weight" and owner in wrapped:
            tensor = tensor + wrapped[owner].change()
        state[name] = tensor
    plain.load_state_dict(state)
    return plain.eval()


# --- where things go -----------------------------------------------------------------------------


def _add_to(block: Block, model: ModelConfig, config: FinetuneConfig) -> None:
    if config.method == "prefix":
        block.attention.prefix = Prefix(model, config.prefix_tokens)
    for path in PARTS:
        owner_path, _, name = path.rpartition(".")
        owner = block.get_submodule(owner_path)
        base = getattr(owner, name, None)
        if base is None:
            continue
        if config.method == "adapter" and path in OUTPUTS:
            setattr(owner, name, Bottleneck(base, model.width, config.rank))
        if config.method == "lora" and set(PARTS[path]) & set(config.targets):
            rows = _rows(path, model)
            setattr(owner, name, LoraLinear(base, rows, _in_width(path, model), config))


def _rows(path: str, model: ModelConfig) -> dict[str, int]:
    kv_width = model.n_kv_heads * model.head_width
    sizes = {
        "q_proj": model.n_heads * model.head_width,
        "k_proj": kv_width,
        "v_proj": kv_width,
        "o_proj": model.width,
        "gate_proj": model.mlp_width,
        "up_proj": model.mlp_width,
        "down_proj": model.width,
    }
    return {name: sizes[name] for name in PARTS[path]}


def _in_width(path: str, model: ModelConfig) -> int:
    if path == "attention.to_out":
        return model.n_heads * model.head_width
    return model.mlp_width if path == "mlp.to_out" else model.width


def _plain_state(model: Decoder) -> Iterator[tuple[str, Tensor]]:
    """The frozen model's own tensors under their own names, as numbers however they are kept."""
    for path, module in model.named_modules():
        own = path.replace(".base", "")
        if isinstance(module, Nf4Linear):
            yield f"{own}.weight", module.dense()
        if not isinstance(module, LoraLinear | nn.ParameterDict):
            for name, tensor in module.named_parameters(prefix=own, recurse=False):
                yield name, tensor.detach()


def quantise(model: Decoder) -> None:
    """Keep the blocks' matrices in four bits (NF4), by the bitsandbytes library.

    Raises:
        ValueError: the library is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ValueError("base = nf4 needs bitsandbytes: pip install 'bloomery[qlora]'")
    _import_bitsandbytes()
    for block in model.blocks:
        for path in PARTS:
            owner_path, _, name = path.rpartition(".")
            owner = block.get_submodule(owner_path)
            base = getattr(owner, name, None)
            if isinstance(base, nn.Linear):
                setattr(owner, name, Nf4Linear(base))


def _import_bitsandbytes() -> None:
    """Its import on a CPU asks the network for a kernel that nothing here uses, where a package for
    that is installed, and warns where none is."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    theirs = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("bitsandbytes")
    finally:
        del sys.modules["kernels"]
        if theirs is not None:
            sys.modules["kernels"] = theirs
