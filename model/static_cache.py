"""Keys and values in fixed slots, for a step that is compiled once and replayed.

In: a decoder and a batch of prompts' lengths. Out: a cache whose shapes never change and whose
position is a tensor; and a step of generation, compiled. A step then costs attention over all
slots, but no Python, and no launches of kernels one by one: on a GPU it is one CUDA graph.

Shape suffixes: B batch, T positions in this call, S slots, K key heads, E head width.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from model.decoder import Decoder, KVCache
from model.layers import LayerCache

SLOTS_MULTIPLE = 128  # so that prompts of like length share one compiled step


class StaticLayerCache(LayerCache):
    """A layer's keys and values; all slots come back, and the mask hides the empty ones."""

    def extend(self, start: int | Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        """Write T new slots from ``start`` (1,) on."""
        slots_T = start + torch.arange(k_BKTE.shape[2], device=k_BKTE.device)
        self.k_BKSE.index_copy_(2, slots_T, k_BKTE)
        self.v_BKSE.index_copy_(2, slots_T, v_BKTE)
        return self.k_BKSE, self.v_BKSE


class StaticCache(KVCache):
    """As its base, but its length is a tensor. Whoever fills it leaves all rows in it: one that has
    ended goes on beside the others, unheard."""

    layer_class = StaticLayerCache

    def __init__(self, model: Decoder, slots: int, padding_B: Tensor) -> None:
        slots = -(-slots // SLOTS_MULTIPLE) * SLOTS_MULTIPLE
        super().__init__(model, slots, padding_B)
        self.num_slots, self.max_seq_len = slots, model.config.max_seq_len
        self.slot_1 = torch.zeros(1, dtype=torch.long, device=self.padding_B.device)
        if self.slot_1.device.type == "cuda":
            self._pin_addresses()

    @property
    def start(self) -> Tensor:
        """(1,): where the next position goes."""
        return self.slot_1

    def advance(self, num_new: int) -> None:
        """That many slots are full now."""
        self.slot_1.add_(num_new)

    def positions(self, num_new: int) -> Tensor:
        """As the base class; a row that has ended stays at the model's last position."""
        return super().positions(num_new).clamp(max=self.max_seq_len - 1)

    def _slots(self, num_new: int) -> Tensor:
        return self.slot_1 + torch.arange(num_new, device=self.slot_1.device)

    def _num_keys(self, num_new: int) -> int:
        return self.num_slots

    def _pin_addresses(self) -> None:
        """A CUDA graph may write to these: they are where they are for as long as it lives."""
        from torch._dynamo import mark_static_address

        for layer in self.layers:
            mark_static_address(layer.k_BKSE)
            mark_static_address(layer.v_BKSE)

        mark_static_address(self.slot_1)


@functools.cache
def compiled(step: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The step as one graph; compiled at the first call with new shapes, which takes tens of
    seconds, on a CPU minutes."""
    made: Callable[..., Tensor] = torch.compile(
        step, mode="reduce-overhead", fullgraph=True, dynamic=False
    )
    return made
