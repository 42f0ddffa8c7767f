"""The configuration of one source of raw material, which becomes one crawl artifact.

In: what a user writes in a preset or fills in a form; flat, so that the form stays one. Out: a
checked, frozen model. A field that the chosen type does not read is left alone, except where
ignoring it would hide a mistake.
"""

import ipaddress
import re
from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.crawl.urls import normalise

MIB = 1024 * 1024
DEFAULT_USER_AGENT = "BloomeryBot/1.0 (collects pages to train language models; obeys robots.txt)"

# Set by analytics, mail campaigns, advertisers and session handling; none says what a page shows.
VISITOR_PARAMETERS = (
    "utm_*",
    "gclid",
    "gclsrc",
    "dclid",
    "gbraid",
    "wbraid",
    "fbclid",
    "msclkid",
    "yclid",
    "igshid",
    "mc_cid",
    "mc_eid",
    "_ga",
    "_gl",
    "_hsenc",
    "_hsmi",
    "jsessionid",
    "phpsessid",
    "aspsessionid*",
    "sessionid",
    "session_id",
    "cfid",
    "cftoken",
)

LATEST = "latest"  # a refresh of whatever was made last; a run resolves it when it starts

COMMON_CRAWL_URL = "https://data.commoncrawl.org/"

# Read by common-crawl for crawl_part=pages alone, and empty unless a user sets them.
INDEX_FILTERS = ("registered_domains", "hosts", "tlds", "languages", "include", "exclude")

SourceType = Literal["web", "warc", "files", "code", "python-docs", "common-crawl"]
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
        "with the licence of each file; common-crawl: archives or pages of one of its crawls; "
        "python-docs: the demo, this machine's Python documentation served as a site",
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
    max_connections: int = Field(
        64, ge=1, le=1000, title="Connections", description="web: to all hosts at the same time"
    )
    timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=600,
        title="Timeout (seconds)",
        description="For one request, from its first byte to the last of the answer",
    )
    user_agent: str = Field(
        DEFAULT_USER_AGENT,
        min_length=1,
        title="User agent",
        description="Who asks; add a way to reach you. Its first word is looked up in robots.txt",
    )
    follow_sitemaps: bool = Field(
        True,
        title="Follow sitemaps",
        description="web: also visit what the sites' sitemaps list, within scope and limits",
    )
    max_sitemap_urls: int = Field(
        50_000,
        ge=1,
        le=1_000_000,
        title="Sitemap entries",
        description="web: read from one host's sitemaps at most",
    )
    strip_parameters: list[str] = Field(
        list(VISITOR_PARAMETERS),
        title="Parameters to strip",
        description="web: query parameters that name a visitor or a campaign, not a page; "
        "* stands for anything",
    )
    max_urls_per_host: int = Field(
        100_000,
        ge=1,
        title="URLs per host",
        description="web: asked for at most, whatever comes of them; bounds endless sites",
    )
    max_urls_per_pattern: int = Field(
        10_000,
        ge=1,
        title="URLs per pattern",
        description="web: asked for at most of those that differ only in numbers and in the "
        "values of their query; bounds calendars and searches",
    )
    max_known_urls: int = Field(
        5_000_000,
        ge=1,
        title="Known URLs",
        description="web: remembered at most, at 0.2 to 0.3 kB of memory each; "
        "links beyond them are counted, not followed",
    )
    respect_robots_txt: bool = Field(
        True,
        title="Obey robots.txt",
        description="web: switch off only for sites that are yours",
    )
    robots_agents: list[str] = Field(
        [],
        title="Side with robots",
        description="web: also obey robots.txt's rules for these, e.g. GPTBot, CCBot: sites often "
        "name only the best-known crawlers of machine learning",
    )
    respect_robots_tags: bool = Field(
        True,
        title="Obey noindex and nofollow",
        description="web: in X-Robots-Tag headers, meta elements and links",
    )
    respect_opt_out: bool = Field(
        True,
        title="Obey opt-outs from machine learning",
        description="web: noai in X-Robots-Tag and meta elements; TDM reservation (TDMRep) in "
        "/.well-known/tdmrep.json, headers and meta elements; ai-train=no and train-ai=n in "
        "robots.txt's Content-Signal and Content-Usage",
    )
    allow_private_addresses: bool = Field(
        False,
        title="Allow private addresses",
        description="Fetch from loopback, link-local and private networks too: from all of them",
    )
    private_hosts: list[str] = Field(
        [],
        title="Private hosts",
        description="web: hosts (wiki.intranet) and networks (10.1.0.0/16) that may be fetched "
        "from though they are private",
    )
    refresh_of: str = Field(
        "",
        title="Refresh of",
        pattern=r"^(latest|crawl/[0-9a-f]{16})?$",
        description="web: an earlier crawl (crawl/…) of which to bring in only what is new or "
        "changed; latest: this source's newest earlier snapshot; empty: every page anew",
    )
    min_recrawl_days: float = Field(
        1.0,
        ge=0,
        le=3650,
        title="Recrawl at soonest (days)",
        description="web, refresh: a page that changed is asked for again after half the time, "
        "one that did not after twice the time; never sooner than this",
    )
    max_recrawl_days: float = Field(
        32.0,
        ge=0,
        le=3650,
        title="Recrawl at latest (days)",
        description="web, refresh: however seldom it changes, a page is asked for after this time",
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

    # common-crawl
    crawl_id: str = Field(
        "",
        title="Crawl id",
        pattern=r"^(CC-[A-Z]+(-[0-9]+)*(/[0-9]{4}/[0-9]{2})?)?$",
        description="common-crawl: which crawl, e.g. CC-MAIN-2026-43 or CC-NEWS/2026/10",
    )
    crawl_part: Literal["pages", "warc", "wet", "wat"] = Field(
        "pages",
        title="Part of the crawl",
        description="common-crawl: pages: single pages that the URL index finds; warc, wet, wat: "
        "whole archive files of pages, of their texts, or of their links and metadata",
    )
    num_files: int | None = Field(
        None, ge=1, title="Files", description="common-crawl: whole archive files to take"
    )
    share: float | None = Field(
        None,
        gt=0,
        le=1,
        title="Share (0 to 1)",
        description="common-crawl: of the archive files to take, or of the URL index to read",
    )
    sample_seed: int = Field(
        0,
        ge=0,
        title="Sample seed",
        description="common-crawl: another number chooses other files and pages; "
        "under one seed a smaller choice is part of a greater one",
    )
    registered_domains: list[str] = Field(
        [],
        title="Registered domains",
        description="common-crawl, pages: of which domains, all their hosts, e.g. python.org",
    )
    hosts: list[str] = Field(
        [], title="Hosts", description="common-crawl, pages: of which hosts, e.g. docs.python.org"
    )
    tlds: list[str] = Field(
        [], title="Top-level domains", description="common-crawl, pages: e.g. de, org"
    )
    languages: list[str] = Field(
        [],
        title="Languages",
        description="common-crawl, pages: main language, by ISO 639-3 code, e.g. deu, eng",
    )
    mime_types: list[str] = Field(
        ["text/html", "application/xhtml+xml"],
        title="Media types",
        description="common-crawl, pages: as detected by content; empty takes any",
    )
    statuses: list[int] = Field(
        [200], title="HTTP statuses", description="common-crawl, pages: empty takes any"
    )
    requests_per_second: float = Field(
        5.0,
        gt=0,
        le=1000,
        title="Requests per second",
        description="common-crawl: begun at most; they ask for less than 10 over HTTPS",
    )
    base_url: str = Field(
        COMMON_CRAWL_URL,
        title="Base URL",
        pattern=r"^(https?|s3)://[^\s?#]+$",
        description="common-crawl: where its files are read: HTTPS, a mirror, or s3://commoncrawl/",
    )

    @model_validator(mode="before")
    @classmethod
    def _code_is_code(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("type") == "code":
            return values | {"kind": "code"}
        return values

    @field_validator("snapshot", mode="before")
    @classmethod
    def _is_text(cls, snapshot: object) -> object:
        """In YAML, a date without quotes is no text."""
        return snapshot.isoformat() if isinstance(snapshot, date) else snapshot

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

    @field_validator("private_hosts")
    @classmethod
    def _are_places(cls, places: list[str]) -> list[str]:
        for place in places:
            if "/" in place:
                try:
                    ipaddress.ip_network(place)
                except ValueError as error:
                    raise ValueError(
                        f"{place!r} is not a network ({error}); write 10.1.0.0/16, "
                        "or a host's name without a path"
                    ) from None
        return places

    @model_validator(mode="after")
    def _recrawls_at_some_time(self) -> "SourceConfig":
        if self.max_recrawl_days < self.min_recrawl_days:
            raise ValueError(
                f"max_recrawl_days is {self.max_recrawl_days}, below min_recrawl_days, "
                f"{self.min_recrawl_days}; make it as large at least"
            )
        return self

    @field_validator("registered_domains", "hosts", "tlds")
    @classmethod
    def _are_host_names(cls, names: list[str]) -> list[str]:
        return [_host_name(name) for name in names]

    @field_validator("languages")
    @classmethod
    def _are_language_codes(cls, languages: list[str]) -> list[str]:
        for language in languages:
            if not re.fullmatch(r"[a-z]{3}", language):
                raise ValueError(
                    f"{language!r} is no ISO 639-3 code; write three letters, e.g. deu for German"
                )
        return languages

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
        if self.type != "web" and self.refresh_of:
            raise ValueError(f"source {self.name!r} has refresh_of, which only web reads")
        if self.type == "common-crawl":
            _check_common_crawl(self)
        return self


def _host_name(name: str) -> str:
    """A host or domain as the URL index spells it: lower case, IDNA, no dots around it."""
    try:
        host = name.strip().strip(".").encode("idna").decode("ascii").lower()
    except UnicodeError:
        host = ""
    if not re.fullmatch(r"[a-z0-9_.-]+", host):
        raise ValueError(f"{name!r} is no host name; write e.g. python.org, without http:// or /")
    return host


def _check_common_crawl(source: SourceConfig) -> None:
    """Refuse a source that names no crawl, no measure, or filters that would not be applied."""
    if not source.crawl_id:
        raise ValueError(
            f"source {source.name!r} has no crawl_id; https://index.commoncrawl.org lists them"
        )
    if source.crawl_part == "pages":
        if source.num_files:
            raise ValueError(
                f"source {source.name!r} takes single pages, not num_files={source.num_files}; "
                "use max_pages, or crawl_part=warc, wet or wat for whole archive files"
            )
        if dotted := [tld for tld in source.tlds if "." in tld]:
            raise ValueError(f"the top-level domain of {dotted[0]!r} is what follows its last dot")
        if not (source.registered_domains or source.hosts or source.tlds or source.share):
            raise ValueError(
                f"source {source.name!r} would read the whole URL index, some 150 GB; name "
                "registered_domains, hosts or tlds, or the share of it to read"
            )
    elif (source.num_files is None) == (source.share is None):
        raise ValueError(
            f"source {source.name!r} takes whole archive files of some 0.1 to 1 GB; "
            "say how many with either num_files or share"
        )
    else:
        unread = [name for name in INDEX_FILTERS if getattr(source, name)]
        if unread:
            raise ValueError(
                f"source {source.name!r} takes whole archives, to which {', '.join(unread)} do "
                "not apply; use crawl_part=pages"
            )
