"""A language model of LSTM layers (Hochreiter & Schmidhuber 1997): what Transformers replaced.

In: token ids. Out: next-token logits, as ``LanguageModel`` says. It is there to be compared with.

Shape suffixes: B batch, T positions in this call, L layers, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import (
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    unpack_sequence,
)

from model.architectures import LstmConfig
from model.language_model import Cache, LanguageModel

INIT_STD = 0.02


class Lstm(LanguageModel):
    """Embedding, LSTM layers, LayerNorm, head."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.layers = nn.LSTM(config.width, config.width, config.n_layers, batch_first=True)
        self.norm = nn.LayerNorm(config.width)
        if not config.tie_embeddings:
            self.to_logits = nn.Linear(config.width, config.vocab_size, bias=False)
        _init_weights(self)

    def hidden(
        self,
        tokens_BT: Tensor,
        cache: Cache | None = None,
        documents_BT: Tensor | None = None,
    ) -> Tensor:
        """(B, T) to (B, T, D)."""
        x_BTD = self.embed(tokens_BT)
        if documents_BT is not None:
            assert cache is None
            return self.norm(self._one_by_one(x_BTD, documents_BT))
        if cache is None:
            return self.norm(self.layers(x_BTD)[0])
        assert isinstance(cache, LstmCache)
        if cache.state is None:
            y_BTD, cache.state = self._first(x_BTD, cache.padding_B)
        else:
            y_BTD, cache.state = self.layers(x_BTD, cache.state)
        return self.norm(y_BTD)

    def make_cache(self, slots: int, padding_B: Tensor) -> "LstmCache":
        """A state for each row; it is as large after a thousand positions as after one."""
        return LstmCache(padding_B)

    def _one_by_one(self, x_BTD: Tensor, documents_BT: Tensor) -> Tensor:
        """Read each document of each row from an empty state, all side by side."""
        batch, length, _ = x_BTD.shape
        rows_B1 = torch.arange(batch, device=x_BTD.device)[:, None]
        keys = documents_BT + rows_B1 * (length + 1)  # a row has at most T + 1 numbers
        _, lengths = keys.flatten().unique_consecutive(return_counts=True)
        packed = pack_sequence(x_BTD.flatten(0, 1).split(lengths.tolist()), enforce_sorted=False)
        found, _ = self.layers(packed)
        return torch.cat(unpack_sequence(found)).view_as(x_BTD)

    def _first(self, x_BTD: Tensor, padding_B: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read rows that are padded on the left as if they were not."""
        length = x_BTD.shape[1]
        place_T = torch.arange(length, device=x_BTD.device)
        to_left_BT = (place_T + padding_B[:, None]) % length
        to_right_BT = (place_T - padding_B[:, None]) % length
        packed = pack_padded_sequence(
            _moved(x_BTD, to_left_BT), (length - padding_B).cpu(), True, enforce_sorted=False
        )
        found, state = self.layers(packed)
        y_BTD, _ = pad_packed_sequence(found, batch_first=True, total_length=length)
        return _moved(y_BTD, to_right_BT), state


class LstmCache:
    """The states of all layers, (L, B, D) each, after what has been read."""

    def __init__(self, padding_B: Tensor) -> None:
        self.padding_B = padding_B
        self.state: tuple[Tensor, Tensor] | None = None

    def keep_rows(self, rows: Tensor) -> None:
        """Forget every row but these."""
        self.padding_B = self.padding_B[rows]
        if self.state:
            h_LBD, c_LBD = self.state
            self.state = h_LBD[:, rows].contiguous(), c_LBD[:, rows].contiguous()


def _moved(x_BTD: Tensor, places_BT: Tensor) -> Tensor:
    return x_BTD.gather(1, places_BT[..., None].expand_as(x_BTD))


@torch.no_grad()
def _init_weights(model: Lstm) -> None:
    """Small embeddings, so that the first logits are near nought, and forget gates that begin open
    (Jozefowicz et al. 2015, section 2.2); the rest is torch's."""
    nn.init.normal_(model.embed.weight, std=INIT_STD)
    if not model.config.tie_embeddings:
        nn.init.normal_(model.to_logits.weight, std=INIT_STD)
    width = model.config.width
    for name, parameter in model.layers.named_parameters():
        if name.startswith("bias_ih"):
            parameter[width : 2 * width] = 1.0  # gates are in the order input, forget, cell, output
