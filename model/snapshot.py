"""A run as one rank holds it, taken to the host and put back.

In: a model, an optimizer and what this rank holds of them. Out: host tensors and plain JSON values
that are everything this rank has to write; and the other way round. Files and folders are
``checkpoint.py``'s.
"""

import random
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.adapters import trained_state
from model.distributed import Ranks
from model.language_model import LanguageModel
from model.optim import AnyOptimizer
from model.pieces import Cut, PieceReader, held


@dataclass(frozen=True, slots=True)
class Layout:
    """Who holds what."""

    ranks: Ranks = field(default_factory=Ranks)
    cuts: Mapping[str, Cut] = field(default_factory=dict)
    """What this rank holds of the model's parameters; those without one are whole."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one rank has to write."""

    step: int
    ranks: Ranks
    model: dict[str, Tensor]
    trainer: dict[str, Tensor]
    """The optimizer's tensors and the random generators' states."""
    cuts: dict[str, Cut]
    """Of those tensors that are cut up, in both."""
    texts: dict[str, Any]
    """JSON values by file name; the same on all ranks, and rank 0's to write."""


def take_snapshot(
    step: int,
    model: LanguageModel,
    optimizer: AnyOptimizer,
    state: dict[str, Any],
    layout: Layout,
    tensors: Mapping[str, Tensor] | None = None,
    *,
    copy: bool = False,
) -> Snapshot:
    """Everything that resuming needs; with ``copy`` it stays as it is while training goes on.

    ``tensors`` are more to keep, of which each rank has the part that it has of the parameter of
    that name.
    """
    # Of a frozen model only what is trained beside it: the rest is where it was taken from.
    weights = trained_state(model) if model.finetune else model.state_dict()
    owners, moments = _moments(model, optimizer)
    owners |= {f"{_KEPT}{name}": name for name in tensors or {}}
    moments |= {f"{_KEPT}{name}": tensor for name, tensor in (tensors or {}).items()}
    cuts = dict(layout.cuts) | {
        key: layout.cuts[owners[key]]
        for key, tensor in moments.items()
        if owners[key] in layout.cuts and tensor.ndim
    }
    rank = layout.ranks.rank
    return Snapshot(
        step=step,
        ranks=layout.ranks,
        model=_on_host(weights, cuts, rank, copy),
        trainer=_on_host(moments, cuts, rank, copy) | _torch_generators(rank),
        cuts=cuts,
        texts={
            "config.json": model.config.to_json_dict(),
            "trainer.json": {"step": step, "rng": _host_generators(), **deepcopy(state)},
        },
    )


@torch.no_grad()
def restore_model(model: LanguageModel, stored: PieceReader, cuts: Mapping[str, Cut]) -> None:
    """Fill a model of the same shape, or of a fine-tuned one what is trained.

    Raises:
        ValueError: other names or shapes.
    """
    wanted: Mapping[str, Tensor] = model.state_dict()
    trained = trained_state(model)
    if model.finetune and stored.shapes.keys() == trained.keys():
        wanted = trained
    odd = sorted(wanted.keys() ^ stored.shapes.keys())
    if odd:
        raise ValueError(f"only one of them has {', '.join(odd[:3])}")
    for name, tensor in wanted.items():
        cut = cuts.get(name) or Cut.nothing_cut(tensor.shape)
        held(tensor).copy_(stored.read(name, cut))


@torch.no_grad()
def restore_optimizer(
    model: LanguageModel, optimizer: AnyOptimizer, stored: PieceReader, cuts: Mapping[str, Cut]
) -> None:
    """Put back its tensors, each laid out as its parameter is."""
    names, parameters = _names(model, optimizer), dict(model.named_parameters())
    state: dict[int, dict[str, Tensor]] = {}
    for key, shape in stored.shapes.items():
        if not key.startswith("optimizer."):
            continue
        _, index, kind = key.split(".")
        owner = names[int(index)]
        found = stored.read(key, cuts.get(owner) if shape else None)
        if shape and kind in FOLLOWS_LAYOUT and owner in cuts:
            placed = torch.zeros_like(parameters[owner])
            held(placed).copy_(found)
            found = placed
        state.setdefault(int(index), {})[kind] = found
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


_KEPT = "kept."  # before the names of what a checkpoint holds for its caller
FOLLOWS_LAYOUT = ("exp_avg", "exp_avg_sq")
"""AdamW's moments are tensors of its parameter's kind; Muon keeps plain parts."""


def restore_kept(stored: PieceReader, cuts: Mapping[str, Cut]) -> dict[str, Tensor]:
    """What else was given to be kept, on the host."""
    return {
        key.removeprefix(_KEPT): stored.read(key, cuts.get(key.removeprefix(_KEPT)))
        for key in stored.shapes
        if key.startswith(_KEPT)
    }


def restore_generators(stored: PieceReader, host: dict[str, list[Any]], rank: int) -> None:
    """Each rank's own; one that was not there when this was saved keeps what it has."""
    suffix = _suffix(rank)
    if f"rng.torch{suffix}" in stored.shapes:
        torch.set_rng_state(stored.read(f"rng.torch{suffix}"))
    if f"rng.cuda{suffix}" in stored.shapes and torch.cuda.is_available():
        torch.cuda.set_rng_state(stored.read(f"rng.cuda{suffix}"))
    version, internal, gauss_next = host["python"]
    random.setstate((version, tuple(internal), gauss_next))
    name, keys, position, has_gauss, cached = host["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))


def _moments(
    model: LanguageModel, optimizer: AnyOptimizer
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The optimizer's tensors by their name in the file, and whose each is."""
    names = _names(model, optimizer)
    owners, tensors = {}, {}
    for index, entry in optimizer.state_dict()["state"].items():
        for kind, tensor in entry.items():
            key = f"optimizer.{index}.{kind}"
            owners[key], tensors[key] = names[index], tensor
    return owners, tensors


def _names(model: LanguageModel, optimizer: AnyOptimizer) -> list[str]:
    """Of the optimizer's parameters, in its own order."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(p)] for group in optimizer.param_groups for p in group["params"]]


def _on_host(
    tensors: Mapping[str, Tensor], cuts: Mapping[str, Cut], rank: int, copy: bool
) -> dict[str, Tensor]:
    """What is ours to write; what has no cut is rank 0's."""
    return {
        name: held(tensor.detach()).to("cpu", copy=copy).contiguous()
        for name, tensor in tensors.items()
        if (cuts[name].is_ours_to_write if name in cuts else rank == 0)
    }


def _suffix(rank: int) -> str:
    return f".{rank}" if rank else ""


def _torch_generators(rank: int) -> dict[str, Tensor]:
    tensors = {f"rng.torch{_suffix(rank)}": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors[f"rng.cuda{_suffix(rank)}"] = torch.cuda.get_rng_state()
    return tensors


def _host_generators() -> dict[str, list[Any]]:
    """The generators of ``random`` and of numpy, as plain JSON."""
    version, internal, gauss_next = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)
    assert isinstance(keys, np.ndarray)
    return {
        "python": [version, list(internal), gauss_next],
        "numpy": [name, keys.tolist(), *rest],
    }
