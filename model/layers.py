"""The parts of a decoder: norms, attention, feed-forward.

In: activations of one block. Out: activations of the same shape and dtype. How blocks are stacked,
and everything about tokens, is ``decoder.py``'s.

Shape suffixes: B batch, T query positions, S key positions, P prefix positions, D width, H query
heads, K key heads, E head width, F feed-forward width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.architectures import ModelConfig
from model.attention import Mask, attend
from model.elementwise import LayerNorm, RmsNorm, rotate, silu_gate


def make_norm(config: ModelConfig) -> nn.Module:
    """RMSNorm or LayerNorm, over the last dimension."""
    if config.norm == "rmsnorm":
        return RmsNorm(config.width, eps=config.norm_eps)
    return LayerNorm(config.width, eps=config.norm_eps, bias=config.bias)


class LayerCache:
    """Keys and values that one layer has already computed, in slots 0..S-1."""

    def __init__(self, config: ModelConfig, batch: int, slots: int, like: Tensor) -> None:
        shape = (batch, config.n_kv_heads, slots, config.head_width)
        self.k_BKSE = torch.zeros(shape, device=like.device, dtype=like.dtype)
        self.v_BKSE = torch.zeros_like(self.k_BKSE)

    def extend(self, start: int | Tensor, k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        """Write T new slots at ``start``; give back all slots up to their end."""
        assert isinstance(start, int)
        stop = start + k_BKTE.shape[2]
        self.k_BKSE[:, :, start:stop] = k_BKTE
        self.v_BKSE[:, :, start:stop] = v_BKTE
        return self.k_BKSE[:, :, :stop], self.v_BKSE[:, :, :stop]


class Prefix(nn.Module):
    """Learned keys and values before every text (Li & Liang 2021, arXiv:2101.00190, eq. 3).

    They are attended to apart from the text, and what they say comes in through a gate that is
    nought at first (Zhang et al. 2023, arXiv:2303.16199, eq. 7), so that training begins at the
    model as it is.
    """

    def __init__(self, config: ModelConfig, num_tokens: int) -> None:
        super().__init__()
        shape = (config.n_kv_heads, num_tokens, config.head_width)
        self.k_KPE = nn.Parameter(0.02 * torch.randn(shape))
        self.v_KPE = nn.Parameter(0.02 * torch.randn(shape))
        self.gate_H = nn.Parameter(torch.zeros(config.n_heads))

    def forward(self, q_BHTE: Tensor) -> Tensor:
        """(B, H, T, E): what queries see in the prefix."""
        batch, heads = q_BHTE.shape[:2]
        k, v = (x.expand(batch, -1, -1, -1) for x in (self.k_KPE, self.v_KPE))
        enable_gqa = heads != len(self.k_KPE)
        seen = F.scaled_dot_product_attention(q_BHTE, k, v, enable_gqa=enable_gqa)
        return torch.tanh(self.gate_H)[:, None, None] * seen


class Attention(nn.Module):
    """Causal grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.head_width = config.head_width
        heads = config.n_heads + 2 * config.n_kv_heads
        # One matmul for queries, keys and values: on small models launches cost more than flops.
        with_bias = config.bias or config.qkv_bias
        self.to_qkv = nn.Linear(config.width, heads * config.head_width, bias=with_bias)
        self.to_out = nn.Linear(config.n_heads * config.head_width, config.width, bias=config.bias)
        self.prefix: Prefix | None = None
        self.has_qk_norm = config.qk_norm
        if config.qk_norm:
            self.q_norm = RmsNorm(config.head_width, eps=config.norm_eps)
            self.k_norm = RmsNorm(config.head_width, eps=config.norm_eps)

    def forward(
        self,
        x_BTD: Tensor,
        rope: tuple[Tensor, Tensor] | None,
        mask: Mask = None,
        cache: LayerCache | None = None,
        start: int | Tensor = 0,
        values_BTKE: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D) to (B, T, D); without a mask, position t sees positions <= t only.

        A boolean ``mask`` (True = may look) broadcasts to (B, 1, T, S); the other kinds are
        ``attention.py``'s. ``values_BTKE`` is added to the values.
        """
        q_BHTE, k_BKTE, v_BKTE = self._heads(x_BTD, rope)
        if values_BTKE is not None:
            v_BKTE = v_BKTE + values_BTKE.transpose(1, 2)
        if cache is not None:
            k_BKTE, v_BKTE = cache.extend(start, k_BKTE, v_BKTE)
        y_BHTE = attend(q_BHTE, k_BKTE, v_BKTE, mask)
        if self.prefix is not None:
            y_BHTE = y_BHTE + self.prefix(q_BHTE)
        return self.to_out(y_BHTE.transpose(1, 2).flatten(2))

    def _heads(
        self, x_BTD: Tensor, rope: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, length, _ = x_BTD.shape
        heads = self.to_qkv(x_BTD).view(batch, length, -1, self.head_width)
        qk, v = heads.split([self.n_heads + self.n_kv_heads, self.n_kv_heads], dim=2)
        if self.has_qk_norm:
            q, k = qk.split([self.n_heads, self.n_kv_heads], dim=2)
            qk = torch.cat([self.q_norm(q), self.k_norm(k)], dim=2)
        if rope is not None:
            qk = rotate(qk, *rope)  # queries and keys turn together
        q, k = qk.split([self.n_heads, self.n_kv_heads], dim=2)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


class SwiGLU(nn.Module):
    """down(silu(gate(x)) · up(x)) (Shazeer 2020, arXiv:2002.05202, eq. 6)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.width, 2 * config.mlp_width, bias=config.bias)
        self.to_out = nn.Linear(config.mlp_width, config.width, bias=config.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        return self.to_out(silu_gate(self.gate_up(x_BTD)))


class Gelu(nn.Module):
    """down(gelu(up(x))), with GPT-2's tanh approximation."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.mlp_width, bias=config.bias)
        self.to_out = nn.Linear(config.mlp_width, config.width, bias=config.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        return self.to_out(F.gelu(self.up(x_BTD), approximate="tanh"))


class Relu2(nn.Module):
    """down(relu(up(x))²) (So et al. 2021, arXiv:2109.08668, section 4.2)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.mlp_width, bias=config.bias)
        self.to_out = nn.Linear(config.mlp_width, config.width, bias=config.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        return self.to_out(F.relu(self.up(x_BTD)).square())


MLPS: dict[str, type[nn.Module]] = {"swiglu": SwiGLU, "gelu": Gelu, "relu2": Relu2}


class Block(nn.Module):
    """Pre-norm residual block: attention, then feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = Attention(config)
        self.mlp_norm = make_norm(config)
        self.mlp = MLPS[config.mlp](config)

    def forward(
        self,
        x_BTD: Tensor,
        rope: tuple[Tensor, Tensor] | None,
        mask: Mask = None,
        cache: LayerCache | None = None,
        start: int | Tensor = 0,
        values_BTKE: Tensor | None = None,
    ) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        normed_BTD = self.attention_norm(x_BTD)
        x_BTD = x_BTD + self.attention(normed_BTD, rope, mask, cache, start, values_BTKE)
        return x_BTD + self.mlp(self.mlp_norm(x_BTD))
