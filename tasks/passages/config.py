"""What a user may say about passages that repeat, each rule with the defaults of its paper.

All rules look at the text as it comes in, and what they name is cut at once. Documents are ordered
by a hash of their ids, so that no rule depends on shards; the first of equal passages is the one in
the first document of that order. If that document is dropped, as it repeats too much else, what it
had first goes with it.

On its own output a rule for lines or paragraphs finds nothing more. Cutting runs of words or
sentences makes new neighbours, so there a run over a joint may stand twice by chance.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Scope = Literal["corpus", "source", "host"]
Keep = Literal["first", "none"]
Kind = Literal["prose", "code"]
FROZEN = ConfigDict(frozen=True, extra="forbid")


def _on() -> bool:
    return Field(False, title="On")


def _scope(default: Scope) -> Scope:
    return Field(
        default,
        title="Within",
        description="Where a passage must come again: anywhere, in one source, or on one host "
        "(documents without a host belong to that of their source)",
    )


def _keep(default: Keep) -> Keep:
    return Field(default, title="Keep", description="The first of equal passages, or none")


def _chars(default: int) -> int:
    return Field(
        default, title="Shortest", ge=0, description="Characters; shorter passages are left alone"
    )


class SiteLines(BaseModel):
    """Lines that a site repeats on page after page: its headers and footers.

    Lines are alike if they differ in case, digits and punctuation only. Short ones that come again
    (``Backwards compatibility``) are headings of content more often than not.
    """

    model_config = FROZEN | ConfigDict(title="Lines of sites")

    on: bool = _on()
    scope: Literal["source", "host"] = Field(
        "host", title="Within", description="Whose pages are counted: a host's, or a source's"
    )
    min_pages: int = Field(10, title="Pages", ge=2, description="A line on so many pages goes …")
    min_share: float = Field(
        0.5,
        title="Share of pages",
        gt=0,
        le=1,
        description="… and so does one on three pages or more and such a share of all pages",
    )
    min_chars: int = _chars(40)
    keep: Keep = _keep("none")


class Paragraphs(BaseModel):
    """Lines or paragraphs that stand anywhere else (CCNet, Wenzek et al. 2020, arXiv:1911.00359).

    Two are alike if they differ in case, digits and punctuation only.
    """

    model_config = FROZEN | ConfigDict(title="Paragraphs")

    on: bool = _on()
    unit: Literal["line", "paragraph"] = Field(
        "line",
        title="Unit",
        description="CCNet's paragraphs are lines; others are what stands between blank lines",
    )
    scope: Scope = _scope("corpus")
    min_chars: int = _chars(0)
    keep: Keep = _keep("first")


class Spans(BaseModel):
    """Runs of sentences that stand anywhere else (C4, Raffel et al. 2020, arXiv:1910.10683).

    Sentences are alike if they differ in white space only.
    """

    model_config = FROZEN | ConfigDict(title="Spans of sentences")

    on: bool = _on()
    num_sentences: int = Field(3, title="Span", ge=1, le=50, description="Sentences")
    scope: Scope = _scope("corpus")
    keep: Keep = _keep("first")


class Substrings(BaseModel):
    """Runs of words that stand anywhere else (Lee et al. 2022, arXiv:2107.06499).

    A word is what stands between two blanks, its punctuation with it; in scripts without blanks
    (Chinese, Japanese, Thai …) each character is one. White space makes no difference, all else
    does. From a run only whole words are cut.
    """

    model_config = FROZEN | ConfigDict(title="Exact substrings")

    on: bool = _on()
    num_words: int = Field(50, title="Length", ge=2, le=1000, description="Words")
    scope: Scope = _scope("corpus")
    keep: Keep = _keep("first")


class NearParagraphs(BaseModel):
    """Paragraphs like one elsewhere, of which only the first is kept (MinHash, Broder 1997).

    A paragraph is found with probability 1 - (1 - s^r)^b if it shares s of its runs of words with
    another one: with the defaults 0.07 at 0.5, 0.54 at 0.7, 0.88 at 0.8, 0.997 at 0.9.
    """

    model_config = FROZEN | ConfigDict(title="Near-duplicate paragraphs")

    on: bool = _on()
    unit: Literal["paragraph", "segment"] = Field(
        "segment",
        title="Unit",
        description="What stands between blank lines; or stretches of about four sentences that "
        "end where certain words do, so that copies set in other paragraphs, or in none, have "
        "the same",
    )
    scope: Scope = _scope("corpus")
    min_words: int = Field(
        20, title="Shortest", ge=1, description="Words; shorter paragraphs are left alone"
    )
    ngram_words: int = Field(3, title="Shingle", ge=1, le=50, description="Words a shingle")
    num_bands: int = Field(9, title="Bands", ge=1, le=64, description="One equal band is enough")
    rows_per_band: int = Field(
        7, title="Rows a band", ge=1, le=64, description="Hashes that must all agree in a band"
    )
    seed: int = Field(1, title="Seed", ge=0, lt=2**32, description="Of the hash permutations")


class PassagesConfig(BaseModel):
    """Which repeated passages are cut, and what becomes of documents that lose too much."""

    model_config = FROZEN | ConfigDict(title="Passages")

    site_lines: SiteLines = SiteLines()
    paragraphs: Paragraphs = Paragraphs()
    spans: Spans = Spans()
    substrings: Substrings = Substrings()
    near_paragraphs: NearParagraphs = NearParagraphs()
    kinds: list[Kind] = Field(
        ["prose"],
        title="Kinds",
        min_length=1,
        description="Which documents are looked at; the others are left alone",
    )
    min_left_words: int = Field(
        50,
        title="Fewest words left",
        ge=0,
        description="A document that was cut and has fewer is dropped",
    )
    max_cut_share: float = Field(
        1.0,
        title="Most to cut",
        ge=0,
        le=1,
        description="A document that would lose more is dropped whole (share of its characters)",
    )

    @property
    def is_on(self) -> bool:
        """Whether there is anything to do."""
        rules = (
            self.site_lines,
            self.paragraphs,
            self.spans,
            self.substrings,
            self.near_paragraphs,
        )
        return any(rule.on for rule in rules)

    def identity(self) -> dict[str, Any]:
        """What decides the output: without the settings of rules that are off."""
        values = self.model_dump(mode="json")
        return {
            name: value
            for name, value in values.items()
            if not isinstance(value, dict) or value["on"]
        }
