"""What a user may say about extraction."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ExtractRules(BaseModel):
    """How pages become text, and what one page may cost; the same for every source."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Extract")

    min_chars: int = Field(
        50, title="Shortest text", ge=1, description="Characters; shorter texts are set aside"
    )
    output: Literal["text", "markdown"] = Field(
        "text",
        title="Output",
        description="Plain text, or Markdown: headings, lists, quotes, tables, code and emphasis",
    )
    keep_comments: bool = Field(
        False, title="Keep comments", description="Readers' comments below an article, too"
    )
    drop_site_boilerplate: bool = Field(
        True,
        title="Drop what a site repeats",
        description="Leave out paragraphs that stand on many pages of the same host",
    )
    min_repeats: int = Field(
        5,
        title="Fewest repeats",
        ge=2,
        description="Pages of a host that a paragraph must be on to be taken for the site's own",
    )
    min_repeat_share: float = Field(
        0.2,
        title="Least share of repeats (0 to 1)",
        gt=0,
        le=1,
        description="Share of a host's pages that it must be on as well",
    )
    max_page_bytes: int = Field(
        20_000_000,
        title="Largest page",
        ge=1_000,
        description="Bytes of one page, packed or unpacked; larger ones are set aside",
    )
    page_timeout_seconds: float = Field(
        10.0,
        title="Time per page",
        gt=0,
        description="Seconds after which a page's child process is killed and the page set aside",
    )
    max_memory_bytes: int = Field(
        2_000_000_000,
        title="Memory per page process",
        ge=200_000_000,
        description="Bytes of address space of the process that parses pages",
    )


class ExtractConfig(ExtractRules):
    """How the records of one source's archives become documents."""

    source: str = Field(
        title="Source",
        min_length=1,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Name of the source; every document carries it",
    )
    kind: Literal["prose", "code"] = Field(
        "prose", title="Kind", description="Which rules apply later: prose or source code"
    )
    domain: str | None = Field(
        None,
        title="Domain",
        description="Subject label of all the source's documents, if known; else classify guesses",
    )
    licence: str | None = Field(
        None, title="Licence", description="SPDX name of the source's licence, if known"
    )

    @property
    def learns_sites(self) -> bool:
        """Whether paragraphs that a site repeats are taken out; code repeats itself by right."""
        return self.drop_site_boilerplate and self.kind == "prose"
