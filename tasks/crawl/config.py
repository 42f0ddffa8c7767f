"""The configuration of one source of raw material, which becomes one crawl artifact.

In: what a user writes in a preset or fills in a form; flat, so that the form stays one. Out: a
checked, frozen model. A field that the chosen type does not read is left alone, except where
ignoring it would hide a mistake.
"""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.crawl.urls import normalise

MIB = 1024 * 1024
DEFAULT_USER_AGENT = "BloomeryBot/1.0 (collects pages to train language models; obeys robots.txt)"

SourceType = Literal["web", "warc", "files", "code", "python-docs"]
Kind = Literal["prose", "code"]
Fact = Literal["text", "id", "url", "title", "author", "date", "language", "licence"]


class SourceConfig(BaseModel):
    """One source of raw pages: a web site, web archives, files, or the demo's web site."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Source")

    name: str = Field(
        title="Name",
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        max_length=64,
        description="What the source is called in every document: a-z, 0-9 and hyphens",
    )
    type: SourceType = Field(
        title="Type",
        description="web: crawl sites; warc: archives on disk; files: texts, PDF, LaTeX, HTML, "
        "tables of texts and wiki dumps, each known by its suffix; code: folders of source code, "
        "with the licence of each file; python-docs: "
        "the demo, this machine's Python documentation served as a site",
    )
    kind: Kind = Field(
        "prose",
        title="Kind",
        description="Which filter rules apply later; of a source of type code always code",
    )
    domain: str | None = Field(
        None, title="Domain", description="A known label, e.g. documentation; empty to classify"
    )
    licence: str | None = Field(
        None, title="Licence", description="The licence of the whole source, e.g. CC-BY-4.0"
    )

    seeds: list[str] = Field([], title="Seeds", description="web: URLs to start from")
    include: list[str] = Field(
        [],
        title="Include",
        description="Regular expressions; a URL (or file name) must match one. "
        "Empty: web stays on the hosts of the seeds",
    )
    exclude: list[str] = Field(
        [], title="Exclude", description="Regular expressions of URLs (or file names) to leave out"
    )
    snapshot: str = Field(
        "",
        title="Snapshot",
        description="web: a label of this crawl, best its date (2026-11-21); "
        "a new label crawls again; today: the date on which the run starts",
    )
    max_pages: int = Field(1000, ge=1, title="Most pages", description="Pages kept at most")
    max_page_bytes: int = Field(
        2 * MIB,
        ge=1024,
        le=64 * MIB,
        title="Largest page (bytes)",
        description="A page or file larger than this, unpacked, is refused",
    )
    max_total_bytes: int = Field(
        1024 * MIB, ge=1024, title="Most bytes", description="Bytes of kept pages at most"
    )
    max_depth: int = Field(
        8, ge=0, title="Depth (links)", description="Links followed from a seed at most"
    )
    delay_seconds: float = Field(
        1.0,
        ge=0,
        le=300,
        title="Delay (seconds)",
        description="Pause between two requests to one host; a larger robots.txt delay wins",
    )
    max_connections_per_host: int = Field(
        2, ge=1, le=32, title="Connections per host", description="Requests at the same time"
    )
    timeout_seconds: float = Field(
        30.0, gt=0, le=600, title="Timeout (seconds)", description="For one request, whole"
    )
    user_agent: str = Field(
        DEFAULT_USER_AGENT,
        min_length=1,
        title="User agent",
        description="Who asks; add a way to reach you. Its first word is looked up in robots.txt",
    )
    allow_private_addresses: bool = Field(
        False,
        title="Allow private addresses",
        description="Fetch from loopback, link-local and private networks too",
    )

    paths: list[str] = Field(
        [], title="Paths", description="warc, files, code: files, folders or globs on this machine"
    )
    patterns: list[str] = Field(
        [], title="Patterns", description="files, code: names to take, e.g. *.py; empty takes all"
    )
    max_pdf_bytes: int = Field(
        16 * MIB,
        ge=1024,
        le=1024 * MIB,
        title="Largest PDF (bytes)",
        description="files: a PDF larger than this is refused; extract has a limit of its own",
    )
    columns: dict[Fact, str] = Field(
        {},
        title="Columns",
        description="files: which column of JSONL, Parquet and CSV files holds the text, id, url, "
        "title, author, date, language or licence, e.g. text: body; else the usual names count",
    )
    wiki_namespaces: list[int] = Field(
        [0],
        title="Wiki namespaces",
        description="files: numbers of the namespaces to take from wiki dumps; 0 is the articles",
    )

    @model_validator(mode="before")
    @classmethod
    def _code_is_code(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("type") == "code":
            return values | {"kind": "code"}
        return values

    @field_validator("include", "exclude")
    @classmethod
    def _compiles(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"{pattern!r} is not a regular expression ({error}); "
                    "escape dots and brackets with a backslash"
                ) from None
        return patterns

    @field_validator("seeds")
    @classmethod
    def _are_urls(cls, seeds: list[str]) -> list[str]:
        for seed in seeds:
            if normalise(seed) is None:
                raise ValueError(
                    f"the seed {seed!r} is not a web address; write http://… or https://…"
                )
        return seeds

    @field_validator("user_agent")
    @classmethod
    def _is_one_line(cls, user_agent: str) -> str:
        if not (user_agent.isascii() and user_agent.isprintable() and user_agent.strip()):
            raise ValueError(f"user_agent {user_agent!r} must be one line of ASCII text")
        return user_agent

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> "SourceConfig":
        if self.type == "web" and not self.seeds:
            raise ValueError(f"source {self.name!r} has no seeds; a web source needs at least one")
        if self.type == "web" and not self.snapshot:
            raise ValueError(
                f"source {self.name!r} has no snapshot; label the crawl, best with today's date"
            )
        if self.type in ("warc", "files", "code") and not self.paths:
            raise ValueError(f"source {self.name!r} has no paths; a {self.type} source needs some")
        if self.type in ("web", "python-docs") and self.paths:
            raise ValueError(
                f"source {self.name!r} has paths, which only warc, files and code read"
            )
        return self
