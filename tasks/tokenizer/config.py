"""What a tokenizer is made like."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class TokenizerConfig(BaseModel):
    """Byte-level BPE (Sennrich et al. 2016, arXiv:1508.07909; bytes as in GPT-2), or bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Tokenizer")

    kind: Literal["bpe", "bytes"] = Field(
        "bpe",
        title="Kind",
        description=(
            "bytes: no vocabulary, every byte a token (263 entries); the other fields then say "
            "nothing. Goes with the model bytes-demo, longer train.seq_len, mix.bytes_per_token = 1"
        ),
    )
    adopt: str = Field(
        "",
        title="Adopt",
        description="A tokenizer.json, or a checkpoint's folder, to use as it is; empty: learn "
        "one as the other fields say",
    )
    vocab_size: int = Field(
        4096, ge=320, le=262_144, title="Vocabulary size", description="Entries, special ones too"
    )
    max_train_bytes: int = Field(
        50_000_000,
        ge=1_000,
        title="Training text, bytes",
        description="Text to learn from, taken from each group by its share of the mixture",
    )
    split_digits: bool = Field(
        True, title="Split digits", description="One token a digit, so that numbers read alike"
    )

    @model_validator(mode="after")
    def _one_tokenizer(self) -> Self:
        if self.adopt and self.kind == "bytes":
            raise ValueError(
                "adopt brings a tokenizer, kind=bytes makes one: leave out one of the two"
            )
        return self
