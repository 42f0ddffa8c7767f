"""Tensor parallelism: the ranks of a group share every matrix of a decoder's blocks.

In: a decoder, whole on every rank, and the group. Out: the same decoder, changed in place: heads
and feed-forward units are dealt out among the ranks, which add up what they found twice a block
(Shoeybi et al. 2019, arXiv:1909.08053, section 3). Embeddings, norms and head are whole everywhere,
and stay equal, since all ranks of a group see the same rows.

A rank holds the rows of its own query, key and value heads, and of its own gates and ups: of a
fused matrix that is several spans, which its ``Cut`` names.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from model.architectures import ModelConfig
from model.decoder import Decoder
from model.language_model import LanguageModel
from model.layers import Attention, Block
from model.pieces import Cut, Span


@dataclass(frozen=True, slots=True)
class TensorGroup:
    """The ranks that share matrices."""

    group: dist.ProcessGroup
    rank: int
    size: int

    def span(self, count: int, which: int | None = None, first: int = 0) -> Span:
        """The part of ``count`` equal things, from index ``first`` on, that a rank gets."""
        each = count // self.size
        rank = self.rank if which is None else which
        return first + rank * each, first + (rank + 1) * each


class ColumnLinear(nn.Linear):
    """Some rows of a matrix: from the whole input to some of the outputs."""

    def __init__(self, whole: nn.Linear, rows: tuple[Span, ...], ranks: TensorGroup) -> None:
        nn.Module.__init__(self)
        self.ranks = ranks
        self.weight = _part(whole.weight, rows, dim=0)
        self.bias = None if whole.bias is None else _part(whole.bias, rows, dim=0)
        self.out_features, self.in_features = self.weight.shape

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, own outputs)."""
        return F.linear(_Same.apply(x, self.ranks.group), self.weight, self.bias)


class RowLinear(nn.Linear):
    """Some columns of a matrix: from some of the inputs to the whole output, added up."""

    def __init__(self, whole: nn.Linear, columns: tuple[Span, ...], ranks: TensorGroup) -> None:
        nn.Module.__init__(self)
        self.ranks = ranks
        self.weight = _part(whole.weight, columns, dim=1)
        self.bias = whole.bias
        self.out_features, self.in_features = self.weight.shape

    def forward(self, x: Tensor) -> Tensor:
        """(…, own inputs) to (…, out)."""
        y: Tensor = _Sum.apply(F.linear(x, self.weight), self.ranks.group)
        return y if self.bias is None else y + self.bias


class _Same(torch.autograd.Function):
    """x on every rank; its gradient is the sum of what every rank makes of it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _summed(gradients[0], ctx.group), None


class _Sum(torch.autograd.Function):
    """The sum over the ranks; its gradient goes to each of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        return _summed(x, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


@dataclass(frozen=True, slots=True)
class TensorLayout:
    """How the parameters are dealt out."""

    ranks: TensorGroup
    cuts: dict[str, tuple[Cut, ...]]
    """For each parameter that is, what every rank of the group holds."""
    summed: frozenset[str]
    """Whole parameters of which each rank sees a part of the gradient."""


def split_over_ranks(model: LanguageModel, ranks: TensorGroup) -> TensorLayout:
    """Deal the blocks out; every rank must hold the same model.

    Raises:
        ValueError: the model cannot be dealt out to so many ranks.
    """
    _check(model, ranks.size)
    assert isinstance(model, Decoder)
    cuts: dict[str, tuple[Cut, ...]] = {}
    for index, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        for path, spans in _rows(model.config, ranks).items():
            _replace(block, path, spans, ranks, f"blocks.{index}", cuts, dim=0)
        for path, spans in _columns(model.config, ranks).items():
            _replace(block, path, spans, ranks, f"blocks.{index}", cuts, dim=1)
        _keep_own_heads(block.attention, ranks.size)
    for layer, table in getattr(model, "embed_values", nn.ModuleDict()).items():
        assert isinstance(table, nn.Embedding)
        width = model.config.n_kv_heads * model.config.head_width
        spans = [(ranks.span(width, rank),) for rank in range(ranks.size)]
        cuts[f"embed_values.{layer}.weight"] = _cuts(table.weight, spans, dim=1)
        table.weight = _part(table.weight, spans[ranks.rank], dim=1)
    per_head = ("attention.q_norm.weight", "attention.k_norm.weight")
    return TensorLayout(
        ranks=ranks,
        cuts=cuts,
        summed=frozenset(n for n, _ in model.named_parameters() if n.endswith(per_head)),
    )


def _check(model: LanguageModel, size: int) -> None:
    if not isinstance(model.config, ModelConfig):
        raise ValueError(
            f"parallel.tensor = {size} shares out decoders, not {model.config.architecture}s; "
            "use tensor = 1"
        )
    if model.finetune is not None:
        raise ValueError(f"parallel.tensor = {size} does not go with finetune; use data = fsdp")
    for name in ("n_heads", "n_kv_heads", "mlp_width"):
        if getattr(model.config, name) % size:
            raise ValueError(
                f"parallel.tensor = {size} must divide the model's {name} = "
                f"{getattr(model.config, name)}"
            )


Spans = list[tuple[Span, ...]]
"""For each rank of the group."""


def _rows(config: ModelConfig, ranks: TensorGroup) -> dict[str, Spans]:
    """The rows that every rank gets of the matrices that are cut by output."""
    queries = config.n_heads * config.head_width
    keys = config.n_kv_heads * config.head_width
    width = config.mlp_width

    def each(*parts: int) -> Spans:
        starts = [sum(parts[:place]) for place in range(len(parts))]
        return [
            tuple(ranks.span(n, rank, start) for n, start in zip(parts, starts, strict=True))
            for rank in range(ranks.size)
        ]

    fused = {"mlp.gate_up": each(width, width)} if config.mlp == "swiglu" else {}
    return {"attention.to_qkv": each(queries, keys, keys), "mlp.up": each(width), **fused}


def _columns(config: ModelConfig, ranks: TensorGroup) -> dict[str, Spans]:
    """The columns that every rank gets of the matrices that are cut by input."""
    queries = config.n_heads * config.head_width
    every = range(ranks.size)
    return {
        "attention.to_out": [(ranks.span(queries, rank),) for rank in every],
        "mlp.to_out": [(ranks.span(config.mlp_width, rank),) for rank in every],
    }


def _replace(
    block: Block,
    path: str,
    spans: Spans,
    ranks: TensorGroup,
    prefix: str,
    cuts: dict[str, tuple[Cut, ...]],
    dim: int,
) -> None:
    owner_path, _, name = path.rpartition(".")
    owner = block.get_submodule(owner_path)
    whole = getattr(owner, name, None)
    if whole is None:
        return  # another kind of feed-forward
    cuts[f"{prefix}.{path}.weight"] = _cuts(whole.weight, spans, dim)
    if whole.bias is not None and dim == 0:
        cuts[f"{prefix}.{path}.bias"] = _cuts(whole.bias, spans, dim)
    kind = ColumnLinear if dim == 0 else RowLinear
    setattr(owner, name, kind(whole, spans[ranks.rank], ranks))


def _keep_own_heads(attention: Attention, size: int) -> None:
    attention.n_heads //= size
    attention.n_kv_heads //= size


def _cuts(whole: Tensor, spans: Spans, dim: int) -> tuple[Cut, ...]:
    full = Cut.nothing_cut(whole.shape)
    return tuple(Cut(full.shape, (*full.spans[:dim], own, *full.spans[dim + 1 :])) for own in spans)


def _part(whole: Tensor, spans: tuple[Span, ...], dim: int) -> nn.Parameter:
    parts = [whole.detach().narrow(dim, start, stop - start) for start, stop in spans]
    return nn.Parameter(torch.cat(parts, dim=dim).contiguous())


def _summed(x: Tensor, group: dist.ProcessGroup) -> Tensor:
    x = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(x, group=group)
    return x
