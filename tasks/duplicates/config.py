"""What a user may say about duplicates."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Keep = Literal["first", "newest", "longest", "quality", "source"]


class DuplicatesConfig(BaseModel):
    """How alike two documents must be for one of them to go, and which one stays.

    With the defaults (FineWeb's) a pair of Jaccard similarity s is found with probability
    1 - (1 - s^8)^14: 0.56 at 0.7, 0.92 at 0.8, 0.9996 at 0.9.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Duplicates")

    newest_per_url: bool = Field(
        True,
        title="Newest version of a page",
        description="Of documents with the same URL in one source only the one fetched last "
        "stays; where no fetch time is known, all do",
    )
    one_per_url: bool = Field(
        False,
        title="One document a URL",
        description="Whatever the source, the spelling (http or https, www., port, last slash) "
        "and whether a fetch time is known: the newest, or else the one that is kept of copies",
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
    num_bands: int = Field(14, title="Bands", ge=1, le=512, description="One equal band is enough")
    rows_per_band: int = Field(
        8, title="Rows a band", ge=1, le=64, description="Hashes that must all agree in a band"
    )
    threshold: float = Field(
        0.0,
        title="Wanted similarity",
        ge=0,
        lt=1,
        description="Jaccard; chooses bands and rows for it among the permutations there are; "
        "0: as given above",
    )
    min_similarity: float = Field(
        0.0,
        title="Least similarity",
        ge=0,
        le=1,
        description="Jaccard, estimated from whole signatures: what bands find below it is no "
        "copy; 0: bands decide alone",
    )
    keep: Keep = Field(
        "first",
        title="Which copy stays",
        description="The one fetched first, or last, the longest, the best, or that of the "
        "source preferred; ties go to the smaller id",
    )
    quality: str = Field(
        "quality_score",
        title="Best by",
        description="For keep=quality: the name of a signal that filter measures with "
        "filter.signals=true, or quality_score of documents that come with one (none do that a "
        "flow extracts); more is better, none is last",
    )
    preferred_sources: list[str] = Field(
        default_factory=list,
        title="Preferred sources",
        description="For keep=source: the most preferred first; those not named come last",
    )
    takedown: list[str] = Field(
        default_factory=list,
        title="Takedown lists",
        description="Files of hosts and URLs, one a line, whose documents must go",
    )
    takedown_copies: bool = Field(
        True,
        title="Take down copies",
        description="Also what is a copy of a document that is taken down, wherever it is from; "
        "of old versions and withdrawn pages only exact copies",
    )

    @model_validator(mode="after")
    def _sources_can_be_preferred(self) -> "DuplicatesConfig":
        if self.keep == "source" and not self.preferred_sources:
            raise ValueError(
                "keep=source needs to know which: name sources in preferred_sources, the best first"
            )
        return self
