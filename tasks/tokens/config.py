"""How a corpus becomes token shards."""

from pydantic import BaseModel, ConfigDict


class TokensConfig(BaseModel):
    """Nothing to choose: the tokenizer and the corpus decide."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Token shards")
