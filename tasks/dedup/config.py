"""What a user may say about deduplication."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DedupConfig(BaseModel):
    """How alike two documents must be for one of them to go, and which one stays.

    With the defaults (FineWeb's) a pair of Jaccard similarity s is found with probability
    1 - (1 - s^8)^14: 0.56 at 0.7, 0.92 at 0.8, 0.9996 at 0.9.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Dedup")

    newest_per_url: bool = Field(
        True,
        title="Newest version of a page",
        description="Of documents with the same URL in one source only the one fetched last "
        "stays; where no fetch time is known, all do",
    )
    drop_withdrawn: bool = Field(
        True,
        title="Drop withdrawn pages",
        description="What is there of a page that a later crawl found gone (404, 410, 451) or "
        "closed by robots.txt, noindex or an opt-out from machine learning",
    )
    exact: bool = Field(
        True, title="Exact copies", description="Equal but for letter case and white space"
    )
    minhash: bool = Field(
        True, title="Near copies", description="Alike in most runs of words, found by MinHash"
    )
    ngram_words: int = Field(
        5, title="Shingle", ge=1, le=50, description="Words a shingle; shorter texts have none"
    )
    num_bands: int = Field(14, title="Bands", ge=1, le=512, description="One equal band is enough")
    rows_per_band: int = Field(
        8, title="Rows a band", ge=1, le=64, description="Hashes that must all agree in a band"
    )
    keep: Literal["first", "longest"] = Field(
        "first",
        title="Which copy stays",
        description="The one fetched first, or the longest; ties go to the smaller id",
    )
    takedown: list[str] = Field(
        default_factory=list,
        title="Takedown lists",
        description="Files of hosts and URLs, one a line, whose documents must go",
    )
    takedown_copies: bool = Field(
        True,
        title="Take down copies",
        description="Also what is a copy of a document that is taken down, wherever it is from",
    )
    seed: int = Field(1, title="Seed", ge=0, lt=2**32, description="Of the hash permutations")
