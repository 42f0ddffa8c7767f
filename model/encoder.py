"""The encoder: BERT (Devlin et al. 2019, arXiv:1810.04805), read in both directions.

In: token ids, some of them masked. Out: what stands at each position, or, with a classification
head, what the whole text is.

Shape suffixes: B batch, T positions, D width, H heads, E head width, V vocabulary, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.architectures import EncoderConfig
from model.elementwise import LayerNorm
from model.language_model import Cache, LanguageModel, positions_in

INIT_STD = 0.02


class Encoder(LanguageModel):
    """Post-norm blocks of bidirectional attention; position t sees the whole text."""

    config: EncoderConfig

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.width)
        self.embed_position = nn.Embedding(config.max_seq_len, config.width)
        self.embed_type = nn.Embedding(config.num_types, config.width)
        self.embed_norm = _norm(config)
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(config.n_layers))
        if config.num_classes:
            self.pool = nn.Linear(config.width, config.width)
            self.to_classes = nn.Linear(config.width, config.num_classes)
        else:
            self.transform = nn.Linear(config.width, config.width)
            self.transform_norm = _norm(config)
            self.head_bias = nn.Parameter(torch.zeros(config.vocab_size))
        _init_weights(self)

    def hidden(
        self,
        tokens_BT: Tensor,
        cache: Cache | None = None,
        documents_BT: Tensor | None = None,
        types_BT: Tensor | None = None,
    ) -> Tensor:
        """(B, T) to (B, T, D).

        ``documents_BT`` numbers the documents packed into a row, or tells a text from its padding:
        positions see those of their own number. ``types_BT`` is BERT's first or second segment.
        """
        assert cache is None, "an encoder does not generate"
        length = tokens_BT.shape[1]
        if length > self.config.max_seq_len:
            raise ValueError(
                f"{length} tokens do not fit the model's max_seq_len = {self.config.max_seq_len}"
            )
        mask = None
        if documents_BT is not None:
            mask = (documents_BT[:, :, None] == documents_BT[:, None, :])[:, None]
        types_BT = torch.zeros_like(tokens_BT) if types_BT is None else types_BT
        positions = torch.arange(length, device=tokens_BT.device)
        if documents_BT is not None:
            positions = positions_in(documents_BT)
        x_BTD = self.embed(tokens_BT) + self.embed_type(types_BT) + self.embed_position(positions)
        x_BTD = self.embed_norm(x_BTD)
        for block in self.blocks:
            x_BTD = self.run_block(block, x_BTD, mask)
        return x_BTD

    def head(self, hidden: Tensor) -> Tensor:
        """(…, D) to (…, V): logits of the token at each position, the embedding's transpose."""
        if self.config.num_classes:
            raise ValueError("this encoder classifies; it does not fill masks")
        x = self.transform_norm(F.gelu(self.transform(hidden)))
        return F.linear(x, self.embed.weight, self.head_bias)

    def classify(self, hidden_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, C): logits of the classes, read off the first position."""
        if not self.config.num_classes:
            raise ValueError("this encoder fills masks; give it num_classes to classify")
        return self.to_classes(torch.tanh(self.pool(hidden_BTD[:, 0])))

    def make_cache(self, slots: int, padding_B: Tensor) -> Cache:
        """None: an encoder does not generate."""
        raise ValueError("an encoder does not generate text; it fills masks")


class EncoderBlock(nn.Module):
    """Attention, then feed-forward, a norm after each sum."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.head_width = config.width // config.n_heads
        self.to_qkv = nn.Linear(config.width, 3 * config.width)
        self.to_out = nn.Linear(config.width, config.width)
        self.attention_norm = _norm(config)
        self.up = nn.Linear(config.width, config.mlp_width)
        self.down = nn.Linear(config.mlp_width, config.width)
        self.mlp_norm = _norm(config)

    def forward(self, x_BTD: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        q_BHTE, k_BHTE, v_BHTE = (
            part.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for part in self.to_qkv(x_BTD).chunk(3, dim=-1)
        )
        y_BHTE = F.scaled_dot_product_attention(q_BHTE, k_BHTE, v_BHTE, attn_mask=mask)
        x_BTD = self.attention_norm(x_BTD + self.to_out(y_BHTE.transpose(1, 2).flatten(2)))
        return self.mlp_norm(x_BTD + self.down(F.gelu(self.up(x_BTD))))


def _norm(config: EncoderConfig) -> LayerNorm:
    return LayerNorm(config.width, eps=config.norm_eps)


@torch.no_grad()
def _init_weights(model: Encoder) -> None:
    """N(0, 0.02) for every matrix, as BERT's."""
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            nn.init.normal_(parameter, std=INIT_STD)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
