"""Tensors that several processes hold in pieces: where a piece lies, how it is written and read.

In: what this process holds of each tensor, and its ``Cut``. Out: safetensors files in which every
piece says where in the whole it belongs, and, from such files, any part of any tensor, whoever
wrote it: no process ever holds more than it asks for. A tensor in one piece is stored as always,
under its own name. Which process holds what is decided elsewhere.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

Span = tuple[int, int]
Region = tuple[Span, ...]
"""First and one past the last index, for each dimension."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What one process holds of a tensor: in each dimension some spans, one after another."""

    shape: tuple[int, ...]
    """Of the whole."""
    spans: tuple[tuple[Span, ...], ...]
    is_ours_to_write: bool = True
    """Of all processes that hold the same piece, one writes it."""

    @classmethod
    def nothing_cut(cls, shape: Sequence[int]) -> "Cut":
        """The whole tensor."""
        return cls(tuple(shape), tuple(((0, size),) for size in shape))

    @property
    def local_shape(self) -> tuple[int, ...]:
        """Of what is held."""
        return tuple(sum(stop - start for start, stop in spans) for spans in self.spans)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing, and in its place."""
        return self.spans == Cut.nothing_cut(self.shape).spans

    def rows(self, start: int, stop: int) -> "Cut":
        """Of what is held, these rows."""
        kept, passed = [], 0
        for first, last in self.spans[0]:
            low = max(first, first + start - passed)
            high = min(last, first + stop - passed)
            if low < high:
                kept.append((low, high))
            passed += last - first
        return Cut(self.shape, (tuple(kept), *self.spans[1:]), self.is_ours_to_write)

    def regions(self) -> Iterator[tuple[Region, tuple[slice, ...]]]:
        """Each block of the whole that is held, and where in the held tensor it is."""
        placed = [list(_with_places(spans)) for spans in self.spans]
        for combination in itertools.product(*placed):
            yield tuple(span for span, _ in combination), tuple(here for _, here in combination)


def places_of(region: Region) -> tuple[slice, ...]:
    """To index the whole tensor with."""
    return tuple(slice(start, stop) for start, stop in region)


def held(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor that this process holds, as a plain tensor; any other as it
    is."""
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()


def write_pieces(path: Path, tensors: Mapping[str, Tensor], cuts: Mapping[str, Cut]) -> None:
    """One safetensors file of what this process holds and is to write; names without a cut are
    whole."""
    entries: dict[str, Tensor] = {}
    shapes: dict[str, str] = {}
    for name, tensor in tensors.items():
        cut = cuts.get(name)
        if cut is None or cut.is_whole:
            entries[name] = tensor
            continue
        shapes[name] = json.dumps(cut.shape)
        for region, here in cut.regions():
            offset = ",".join(str(start) for start, _ in region)
            entries[f"{name}@{offset}"] = tensor[here].contiguous()
    save_file(entries, path, shapes or None)


@dataclass(frozen=True, slots=True)
class _Stored:
    path: Path
    key: str
    region: Region


class PieceReader:
    """The tensors in some safetensors files, as wholes or in parts."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Reads the headers only."""
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._stored: dict[str, list[_Stored]] = {}
        self._files: dict[Path, Any] = {}
        for path in sorted(paths):
            self._files[path] = file = safe_open(path, framework="pt")
            wholes = file.metadata() or {}
            for key in file.keys():  # noqa: SIM118 (this is no dict)
                size = tuple(file.get_slice(key).get_shape())
                name, at, offset = key.rpartition("@")
                if not at or name not in wholes:  # in one piece, under its own name
                    name, starts, shape = key, (0,) * len(size), size
                else:
                    starts = tuple(int(start) for start in offset.split(","))
                    shape = tuple(json.loads(wholes[name]))
                region = tuple((a, a + n) for a, n in zip(starts, size, strict=True))
                self.shapes[name] = shape
                self._stored.setdefault(name, []).append(_Stored(path, key, region))

    def read(self, name: str, cut: Cut | None = None) -> Tensor:
        """A tensor, or what ``cut`` says of it, on the host.

        Raises:
            ValueError: it is not in the files, of another shape, or not all of it is there.
        """
        if name not in self.shapes:
            raise ValueError(f"there is no {name}")
        cut = cut or Cut.nothing_cut(self.shapes[name])
        if cut.shape != self.shapes[name]:
            raise ValueError(f"{name} has shape {self.shapes[name]}, not {cut.shape}")
        if not cut.shape:
            (stored,) = self._stored[name][:1]
            return self._files[stored.path].get_tensor(stored.key)
        dtype = self._part(self._stored[name][0], tuple((a, a) for a, _ in self._first(name))).dtype
        held = torch.empty(cut.local_shape, dtype=dtype)
        num_missing = held.numel()
        for region, here in cut.regions():
            for stored in self._stored[name]:
                common = _common(region, stored.region)
                if common is None:
                    continue
                part = self._part(stored, common)
                held[here][_within(common, region)] = part
                num_missing -= part.numel()
        if num_missing:
            raise ValueError(f"{num_missing} numbers of {name} are missing")
        return held

    def _first(self, name: str) -> Region:
        return self._stored[name][0].region

    def _part(self, stored: _Stored, region: Region) -> Tensor:
        part: Tensor = self._files[stored.path].get_slice(stored.key)[
            _within(region, stored.region)
        ]
        return part


def _with_places(spans: tuple[Span, ...]) -> Iterator[tuple[Span, slice]]:
    passed = 0
    for start, stop in spans:
        yield (start, stop), slice(passed, passed + stop - start)
        passed += stop - start


def _common(one: Region, other: Region) -> Region | None:
    spans = tuple((max(a, c), min(b, d)) for (a, b), (c, d) in zip(one, other, strict=True))
    return spans if all(start < stop for start, stop in spans) else None


def _within(part: Region, whole: Region) -> tuple[slice, ...]:
    """Where ``part`` is in a tensor that holds ``whole``."""
    return tuple(
        slice(start - first, stop - first)
        for (start, stop), (first, _) in zip(part, whole, strict=True)
    )
