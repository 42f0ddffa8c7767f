"""The decoder: GPT-2, LLaMA and its kin as settings of one module.

In: token ids. Out: next-token logits, as ``LanguageModel`` says.

Shape suffixes: B batch, T positions in this call, S cached slots, D width, K key heads, E head
width.
"""

import math

import torch
from torch import Tensor, nn

from model.architectures import ModelConfig
from model.attention import Backend, Mask, make_mask
from model.language_model import Cache, LanguageModel, positions_in, run_block
from model.layers import Block, LayerCache, make_norm
from model.rope import rope_tables
from model.width import initial_std, times_wider

INIT_STD = 0.02


class Decoder(LanguageModel):
    """Embedding, blocks of attention and feed-forward, norm, head."""

    config: ModelConfig

    attention_backend: Backend = "sdpa"
    """Which kernel masks are made for, where no cache is in use."""

    rope_cos: Tensor
    rope_sin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = make_norm(config)
        if config.position == "learned":
            self.embed_position = nn.Embedding(config.max_seq_len, config.width)
        else:
            cos, sin = rope_tables(config)
            self.register_buffer("rope_cos", cos, persistent=False)
            self.register_buffer("rope_sin", sin, persistent=False)
        if config.value_embeddings:
            self.embed_values = nn.ModuleDict(
                {
                    str(layer): nn.Embedding(
                        config.vocab_size, config.n_kv_heads * config.head_width
                    )
                    for layer in range(1, config.n_layers, 2)
                }
            )
        if config.input_residual:
            self.stream_gains = nn.Parameter(torch.ones(config.n_layers))
            self.input_gains = nn.Parameter(torch.zeros(config.n_layers))
        if not config.tie_embeddings:
            self.to_logits = nn.Linear(config.width, config.vocab_size, bias=False)
        init_weights(self)

    def hidden(
        self,
        tokens_BT: Tensor,
        cache: Cache | None = None,
        documents_BT: Tensor | None = None,
    ) -> Tensor:
        """(B, T) to (B, T, D): everything but the head."""
        assert cache is None or (isinstance(cache, KVCache) and documents_BT is None)
        length, window = tokens_BT.shape[1], self.config.sliding_window
        if cache is not None:
            positions, mask = cache.positions(length), cache.mask(length)
            windowed = mask if window is None else cache.mask(length, window)
            # Never the compiled one: a cache is longer at every call.
            x_BTD = Decoder.stack(self, tokens_BT, positions, mask, windowed, cache)
            cache.advance(length)
            return x_BTD
        self._check_length(length)
        positions = torch.arange(length, device=tokens_BT.device)
        if documents_BT is not None and self.config.position == "learned":
            positions = positions_in(documents_BT)  # rotary ones are relative as they are
        return self.stack(tokens_BT, positions, *self._masks(tokens_BT, documents_BT))

    def stack(
        self,
        tokens_BT: Tensor,
        positions: Tensor,
        mask: Mask,
        windowed: Mask,
        cache: "KVCache | None" = None,
    ) -> Tensor:
        """(B, T) to (B, T, D): embedding, blocks and norm, all shapes known: what is compiled.

        ``windowed`` is the mask of the layers with a sliding window.
        """
        x_BTD, rope = self._embed(tokens_BT, positions)
        input_BTD = x_BTD
        start = 0 if cache is None else cache.start
        run = self.run_block if cache is None else run_block
        for index, block in enumerate(self.blocks):
            layer = None if cache is None else cache.layers[index]
            sees_all = index in self.config.full_attention_layers
            if self.config.input_residual:
                x_BTD = self.stream_gains[index] * x_BTD + self.input_gains[index] * input_BTD
            values_BTKE = self._values(index, tokens_BT)
            own_mask = mask if sees_all else windowed
            x_BTD = run(block, x_BTD, rope, own_mask, layer, start, values_BTKE)
        return self.norm(x_BTD)

    def _masks(self, tokens_BT: Tensor, documents_BT: Tensor | None) -> tuple[Mask, Mask]:
        """Of the layers that see all, and of those with a sliding window; each made once."""
        length, window = tokens_BT.shape[1], self.config.sliding_window
        if self.attention_backend == "sdpa":
            dense = None if documents_BT is None else within_documents(documents_BT)
            return dense, within_window(dense, length, window, tokens_BT.device)
        mask = None
        if documents_BT is not None:
            mask = make_mask(documents_BT, None, self.attention_backend)
        if window is None or window >= length:
            return mask, mask
        documents_BT = torch.zeros_like(tokens_BT) if documents_BT is None else documents_BT
        return mask, make_mask(documents_BT, window, self.attention_backend)

    def make_cache(self, slots: int, padding_B: Tensor) -> "KVCache":
        """Keys and values of every layer for ``slots`` positions."""
        return KVCache(self, slots, padding_B)

    def head(self, hidden: Tensor) -> Tensor:
        """(…, D) to (…, V): logits of any selection of hidden states."""
        logits = super().head(hidden)
        cap = self.logit_softcap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @property
    def logit_softcap(self) -> float | None:
        """Logits stay within ± this."""
        return self.config.logit_softcap

    def _values(self, layer: int, tokens_BT: Tensor) -> Tensor | None:
        """(B, T, K, E) of the layers that have value embeddings."""
        if not self.config.value_embeddings or str(layer) not in self.embed_values:
            return None
        return self.embed_values[str(layer)](tokens_BT).unflatten(-1, (-1, self.config.head_width))

    def _embed(
        self, tokens_BT: Tensor, positions: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        x_BTD = self.embed(tokens_BT)
        if self.config.position == "learned":
            return x_BTD + self.embed_position(positions), None
        # unsqueeze: one table row serves every head.
        return x_BTD, (
            self.rope_cos[positions].unsqueeze(-2),
            self.rope_sin[positions].unsqueeze(-2),
        )

    def _check_length(self, length: int) -> None:
        if length > self.config.max_seq_len:
            raise ValueError(
                f"{length} tokens do not fit the model's max_seq_len = {self.config.max_seq_len}"
            )


def within_documents(documents_BT: Tensor) -> Tensor:
    """(B, 1, T, T): what a position sees of its own document, itself included."""
    same_BTT = documents_BT[:, :, None] == documents_BT[:, None, :]
    return same_BTT.tril()[:, None]


def within_window(
    mask: Tensor | None, length: int, window: int | None, device: torch.device
) -> Tensor | None:
    """The mask of T = ``length`` positions, narrowed to a sliding window.

    None stands for the causal mask, and comes back where the window hides nothing.
    """
    if window is None or length <= window:
        return mask
    query_T = torch.arange(length, device=device)[:, None]
    key_S = torch.arange(length, device=device)
    near_TS = key_S > query_T - window
    return near_TS & ((key_S <= query_T) if mask is None else mask)


class KVCache:
    """What a batch of growing sequences has computed so far. Rows of unequal length are padded on
    the LEFT, so that all rows end, and grow, at the same slot."""

    layer_class = LayerCache

    def __init__(self, model: Decoder, slots: int, padding_B: Tensor) -> None:
        """``padding_B``: how many slots of each row, from slot 0, hold padding."""
        weight = model.embed.weight
        batch = len(padding_B)
        self.layers = [
            self.layer_class(model.config, batch, slots, weight)
            for _ in range(model.config.n_layers)
        ]
        self.padding_B = padding_B.to(weight.device)
        self.length = 0

    @property
    def start(self) -> int | Tensor:
        """The slot of the next position."""
        return self.length

    def advance(self, num_new: int) -> None:
        """That many slots are full now."""
        self.length += num_new

    def positions(self, num_new: int) -> Tensor:
        """(B, T): each row counts from its own first real token; padding says 0."""
        return (self._slots(num_new) - self.padding_B[:, None]).clamp(min=0)

    def mask(self, num_new: int, window: int | None = None) -> Tensor:
        """(B, 1, T, S) boolean: a slot sees the real slots up to itself, or the last ``window``
        of them."""
        query_T = self._slots(num_new)
        key_S = torch.arange(self._num_keys(num_new), device=query_T.device)
        causal_TS = key_S <= query_T[:, None]
        if window is not None:
            causal_TS &= key_S > query_T[:, None] - window
        real_BTS = (key_S >= self.padding_B[:, None])[:, None, :]
        # Padding sees itself: a softmax over nothing would be NaN, and NaN spreads.
        itself_TS = key_S == query_T[:, None]
        return ((causal_TS & real_BTS) | itself_TS)[:, None]

    def keep_rows(self, rows: Tensor) -> None:
        """Forget every row but these: finished sequences cost nothing more."""
        for layer in self.layers:
            layer.k_BKSE, layer.v_BKSE = layer.k_BKSE[rows], layer.v_BKSE[rows]
        self.padding_B = self.padding_B[rows]

    def _slots(self, num_new: int) -> Tensor:
        return torch.arange(self.length, self.length + num_new, device=self.padding_B.device)

    def _num_keys(self, num_new: int) -> int:
        return self.length + num_new


@torch.no_grad()
def init_weights(model: Decoder) -> None:
    """N(0, 0.02), and the projections that add to the residual stream smaller by √(2 · layers), so
    that its variance does not grow with depth (Radford et al. 2019, section 2.3). ``width.py`` says
    what a base width makes of it."""
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:
            continue  # norm gains start at one and biases (zeroed below) at nought
        residual = name.endswith("to_out.weight")
        if residual and model.config.zero_init:
            nn.init.zeros_(parameter)
            continue
        std = INIT_STD / math.sqrt(2 * model.config.n_layers) if residual else INIT_STD
        std = initial_std(std, name.startswith("blocks."), model.config)
        nn.init.normal_(parameter, std=std)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    model.norm.get_parameter("weight").div_(times_wider(model.config))
