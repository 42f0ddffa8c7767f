"""What a user may say about signatures."""

from pydantic import BaseModel, ConfigDict, Field


class SignaturesConfig(BaseModel):
    """How a document's text is summed up; a change signs every source anew."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Signatures")

    minhash: bool = Field(
        True, title="Near copies", description="Alike in most runs of words, found by MinHash"
    )
    ngram_words: int = Field(
        5, title="Shingle", ge=1, le=50, description="Words a shingle; shorter texts have none"
    )
    num_permutations: int = Field(
        112,
        title="Permutations",
        ge=1,
        le=4096,
        description="Hashes a signature, 4 bytes of disk each; at least bands × rows a band",
    )
    seed: int = Field(1, title="Seed", ge=0, lt=2**32, description="Of the hash permutations")
