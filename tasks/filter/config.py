"""What a user may say about filtering: recipes in their order, lists, rights, personal data."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.filter.decontamination.config import DecontaminationRules
from tasks.filter.personal.config import PersonalDataRules
from tasks.filter.thresholds import (
    BUNDLES,
    C4,
    Code,
    Dolma,
    FineWeb,
    GopherQuality,
    GopherRepetition,
    Outliers,
    RecipeName,
    RefinedWeb,
    Thresholds,
    share,
)

DEFAULT_RECIPES: list[RecipeName] = ["gopher-quality", "gopher-repetition", "fineweb", "code"]


class Blocklists(BaseModel):
    """Lists of hosts and addresses, such as UT1's, and what to do with pages on them."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Blocklists")

    paths: list[str] = Field(
        [],
        title="Lists",
        description="Folders, or .tar, .tar.gz, .tar.zst archives of them, with CATEGORY/domains "
        "and CATEGORY/urls; or files of hosts and addresses, whose names are their categories",
    )
    drop: list[str] = Field(
        [], title="Drop", description="Categories whose pages are dropped; * for all"
    )
    tag: list[str] = Field(
        ["*"], title="Tag", description="Categories whose pages get a tag; * for all"
    )


class BadWords(BaseModel):
    """Lists of words by language, such as LDNOOBW's, and what to do with texts that use them."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Bad words")

    paths: list[str] = Field(
        [],
        title="Lists",
        description="Folders, or archives of them, of files named by language (en, de, zh …), "
        "one word or phrase a line",
    )
    action: Literal["tag", "drop"] = Field(
        "tag", title="Action", description="What becomes of texts with more than the most"
    )
    max_chars: float = share(0.005, "Most text in bad words", "Characters in them, without blanks")


class Licences(BaseModel):
    """What becomes of documents by their licence, in SPDX's words.

    Patterns are identifiers with ``*``: ``CC-BY-NC*``. Of licences joined by OR the user may
    choose; those joined by AND all bind.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Licences")

    keep: list[str] = Field(
        [], title="Keep only", description="Patterns, of which one must fit; empty keeps all"
    )
    drop: list[str] = Field([], title="Drop", description="Patterns, of which none may fit")
    tag: list[str] = Field([], title="Tag", description="Patterns that give a tag")
    unknown: Literal["keep", "tag", "drop"] = Field(
        "keep", title="Unknown licences", description="Documents without one, or with NOASSERTION"
    )


class OptOuts(BaseModel):
    """What becomes of pages that reserve their use: noai, noindex, tdm-reservation, train-ai=n."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Opt-outs")

    drop: list[str] = Field([], title="Drop", description="Opt-outs that are dropped; * for all")
    tag: list[str] = Field(["*"], title="Tag", description="Opt-outs that give a tag; * for all")


class FilterConfig(BaseModel):
    """Which documents stay; a document must pass every rule of every recipe that is named."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Filter")

    languages: list[str] = Field(
        ["en"], title="Languages", description="ISO 639-1 codes to keep; empty keeps all"
    )
    min_language_score: float = share(
        0.5, "Least language score", "Probability that a prose text is in the language detected"
    )
    keep_paragraphs: Literal["all", "wanted"] = Field(
        "all",
        title="Keep paragraphs",
        description="Of the prose that stays: all of it, or not the lines that are surely in a "
        "language other than those to keep",
    )

    recipes: list[RecipeName] = Field(
        DEFAULT_RECIPES,
        title="Recipes",
        description="In their order; one that edits the text (c4, c4-strict, refinedweb) is seen "
        "by those after it. Names that end in -all stand for the chain of a paper, with code at "
        "its end. Source code is judged by code alone: without it none is dropped",
    )
    gopher_quality: GopherQuality = Field(GopherQuality(), title="Gopher quality")
    gopher_repetition: GopherRepetition = Field(GopherRepetition(), title="Gopher repetition")
    c4: C4 = Field(C4(), title="C4")
    fineweb: FineWeb = Field(FineWeb(), title="FineWeb")
    refinedweb: RefinedWeb = Field(RefinedWeb(), title="RefinedWeb")
    dolma: Dolma = Field(Dolma(), title="Dolma")
    outliers: Outliers = Field(Outliers(), title="Outliers")
    code: Code = Field(Code(), title="Code")

    signals: bool = Field(
        False,
        title="Signals",
        description="Keep RedPajama-v2's measures of each prose text, as the recipes leave it, in "
        "the column signals",
    )
    blocklists: Blocklists = Field(Blocklists(), title="Blocklists")
    bad_words: BadWords = Field(BadWords(), title="Bad words")
    licences: Licences = Field(Licences(), title="Licences")
    opt_outs: OptOuts = Field(OptOuts(), title="Opt-outs")

    personal_data: PersonalDataRules = Field(PersonalDataRules(), title="Personal data")
    decontamination: DecontaminationRules = Field(DecontaminationRules(), title="Decontamination")

    @property
    def chain(self) -> list[RecipeName]:
        """The recipes without bundles, each once, where it comes first."""
        names = (name for given in self.recipes for name in BUNDLES.get(given, (given,)))
        return list(dict.fromkeys(names))

    @model_validator(mode="after")
    def _strict_needs_lists(self) -> "FilterConfig":
        if "c4-strict" in self.chain and not self.bad_words.paths:
            raise ValueError(
                "recipe c4-strict needs lists of bad words: name them in bad_words.paths, "
                "or use recipe c4"
            )
        return self

    @model_validator(mode="after")
    def _what_is_asked_has_its_files(self) -> "FilterConfig":
        """Refuse settings that would do nothing, as nobody gave the lists that they are about."""
        if self.blocklists.drop and not self.blocklists.paths:
            raise ValueError("blocklists.drop needs lists: name them in blocklists.paths")
        if self.bad_words.action == "drop" and not self.bad_words.paths:
            raise ValueError(
                "bad_words.action=drop needs lists of bad words: name them in bad_words.paths"
            )
        suites = self.decontamination
        if not suites.suites and suites != DecontaminationRules():
            raise ValueError(
                "decontamination needs evaluation suites: name them in decontamination.suites"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """What decides the output: without the thresholds of recipes that are not asked, nor
        rules on lists that nobody gave. Files are to be named by what they hold.
        """
        values = self.model_dump(mode="json") | {"recipes": self.chain}
        asked = {name.removesuffix("-strict").replace("-", "_") for name in self.chain}
        for name in type(self).model_fields:
            if isinstance(getattr(self, name), Thresholds) and name not in asked:
                del values[name]
        for name, files in (
            ("blocklists", self.blocklists.paths),
            ("bad_words", self.bad_words.paths),
            ("decontamination", self.decontamination.suites),
        ):
            if not files:
                values[name] = None
        return values
