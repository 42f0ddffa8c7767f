"""What the engine asks of a language model, whatever it is made of, and which kinds there are.

A new architecture is a shape in ``architectures.py``, a module that extends ``LanguageModel``, and
a line in ``make_model``.

Shape suffixes: B batch, T positions in this call, D width, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.architectures import AnyModelConfig, EncoderConfig, LstmConfig
from model.options import FinetuneConfig


class Cache(Protocol):
    """What a batch of growing sequences has computed so far.

    Rows of unequal length are padded on the LEFT, so that all end, and grow, at the same position.
    """

    def keep_rows(self, rows: Tensor) -> None:
        """Forget every row but these: finished sequences cost nothing more."""
        ...


RunBlock = Callable[..., Tensor]
"""A block and its arguments to what the block makes of them; whatever else happens on the way."""


def run_block(block: Callable[..., Tensor], *args: Any) -> Tensor:
    """Plainly."""
    return block(*args)


class LanguageModel(nn.Module):
    """Token ids to logits: of the next token, from tokens <= t only; an encoder's are of the token
    itself, from all of them.

    The hidden states before the head can be had too, so that a loss applies the head to the
    positions it scores and to no others.
    """

    config: AnyModelConfig
    embed: nn.Embedding
    to_logits: nn.Linear
    """Only where the head is not tied to the embedding."""
    finetune: FinetuneConfig | None = None
    """What ``adapters.py`` has added, if anything."""
    run_block: RunBlock = staticmethod(run_block)
    """How a model of blocks runs each of them: ``recompute.py`` has other ways."""
    is_compiled: bool = False
    """Whether what follows the model should be compiled too."""

    def hidden(
        self,
        tokens_BT: Tensor,
        cache: Cache | None = None,
        documents_BT: Tensor | None = None,
    ) -> Tensor:
        """(B, T) int64 to (B, T, D): everything but the head.

        With a cache, the T tokens follow those it holds. ``documents_BT`` numbers, rising along a
        row, the documents that were packed into it: none sees another, and each is read as if it
        stood alone.
        """
        raise NotImplementedError

    def make_cache(self, slots: int, padding_B: Tensor) -> Cache:
        """Room for ``slots`` positions a row, of which the first ``padding_B`` hold padding."""
        raise NotImplementedError

    def forward(self, tokens_BT: Tensor, cache: Cache | None = None) -> Tensor:
        """(B, T) int64 to (B, T, V) logits."""
        return self.head(self.hidden(tokens_BT, cache))

    def head(self, hidden: Tensor) -> Tensor:
        """(…, D) to (…, V): logits of any selection of hidden states."""
        return F.linear(hidden, self.head_weight)

    @property
    def head_weight(self) -> Tensor:
        """(V, D): what the head multiplies by."""
        return self.embed.weight if self.config.tie_embeddings else self.to_logits.weight

    @property
    def logit_softcap(self) -> float | None:
        """What the head bounds its logits by, if anything."""
        return None

    def num_parameters(self) -> int:
        """Numbers in the model, frozen ones too; a tied head counts once."""
        return sum(p.numel() for p in self.parameters())


def positions_in(documents_BT: Tensor) -> Tensor:
    """(B, T): each position counted from the beginning of its document."""
    place_T = torch.arange(documents_BT.shape[1], device=documents_BT.device)
    is_first = documents_BT.diff(dim=1, prepend=documents_BT[:, :1] - 1) != 0
    return place_T - torch.where(is_first, place_T, 0).cummax(dim=1).values


def make_model(config: AnyModelConfig) -> LanguageModel:
    """An untrained model of the kind that its configuration is of."""
    from model.decoder import Decoder
    from model.encoder import Encoder
    from model.lstm import Lstm

    match config:
        case LstmConfig():
            return Lstm(config)
        case EncoderConfig():
            return Encoder(config)
        case _:
            return Decoder(config)
