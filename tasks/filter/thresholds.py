"""The recipes' thresholds, one model a recipe, each with the values that its authors published.

Gopher: Rae et al. 2021, arXiv:2112.11446, appendix A.1. C4: Raffel et al. 2019, arXiv:1910.10683,
section 2.2. FineWeb: Penedo et al. 2024, arXiv:2406.17557. RefinedWeb: Penedo et al. 2023,
arXiv:2306.01116, appendix G.2. Dolma: Soldaini et al. 2024, arXiv:2402.00159. Code: The Stack,
Kocetkov et al. 2022, arXiv:2211.15533, after Chen et al. 2021. Outliers: ours.
"""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

RecipeName = Literal[
    "gopher-quality",
    "gopher-repetition",
    "c4",
    "c4-strict",
    "fineweb",
    "refinedweb",
    "dolma",
    "outliers",
    "code",
    "gopher-all",
    "fineweb-all",
    "refinedweb-all",
]
# What papers ran one after another, in their order; and, as theirs are for prose, ours for code.
BUNDLES: dict[str, tuple[RecipeName, ...]] = {
    "gopher-all": ("gopher-quality", "gopher-repetition", "code"),
    "fineweb-all": ("gopher-repetition", "gopher-quality", "c4", "fineweb", "code"),
    "refinedweb-all": ("gopher-repetition", "gopher-quality", "refinedweb", "code"),
}


def share(default: float, title: str, description: str) -> Any:
    """A field for a share of something."""
    return Field(default, title=title, ge=0, le=1, description=f"{description} (share, 0 to 1)")


class Thresholds(BaseModel):
    """Thresholds of one recipe; of those that name a lower and an upper bound, in this order."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    ordered: ClassVar[tuple[tuple[str, str], ...]] = ()

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> "Thresholds":
        for low, high in self.ordered:
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} must not exceed {high}; no document could pass")
        return self


class WordThresholds(Thresholds):
    """How many words, how long, and what else there is beside them."""

    ordered = (("min_words", "max_words"), ("min_mean_word_chars", "max_mean_word_chars"))

    min_words: int = Field(50, title="Fewest words", ge=1, description="Words")
    max_words: int = Field(100_000, title="Most words", ge=1, description="Words")
    min_mean_word_chars: float = Field(
        3.0, title="Shortest mean word", ge=0, description="Characters a word"
    )
    max_mean_word_chars: float = Field(
        10.0, title="Longest mean word", ge=0, description="Characters a word"
    )
    max_symbol_ratio: float = Field(
        0.1, title="Most symbols", ge=0, description="Hash signs, or ellipses, a word"
    )
    max_bullet_lines: float = share(0.9, "Most bullet lines", "Lines that begin with a bullet")
    max_ellipsis_lines: float = share(0.3, "Most ellipsis lines", "Lines that end in an ellipsis")
    min_alphabetic_words: float = share(0.8, "Least alphabetic words", "Words that hold a letter")
    min_stop_words: int = Field(
        2,
        title="Fewest stop words",
        ge=0,
        le=8,
        description="Different ones of: the be to of and that have with; English documents only",
    )


class GopherQuality(WordThresholds):
    """Rules for prose that Gopher's authors call quality filtering."""

    model_config = ConfigDict(title="Gopher quality")


class NgramThresholds(Thresholds):
    """How much of a text may stand in n-grams that recur."""

    max_top_2gram_chars: float = share(0.20, "Most frequent word pair", "Characters in it")
    max_top_3gram_chars: float = share(0.18, "Most frequent word triple", "Characters in it")
    max_top_4gram_chars: float = share(0.16, "Most frequent four words", "Characters in it")
    max_duplicate_5gram_chars: float = share(0.15, "Most repeated 5-grams", "Characters in them")
    max_duplicate_6gram_chars: float = share(0.14, "Most repeated 6-grams", "Characters in them")
    max_duplicate_7gram_chars: float = share(0.13, "Most repeated 7-grams", "Characters in them")
    max_duplicate_8gram_chars: float = share(0.12, "Most repeated 8-grams", "Characters in them")
    max_duplicate_9gram_chars: float = share(0.11, "Most repeated 9-grams", "Characters in them")
    max_duplicate_10gram_chars: float = share(0.10, "Most repeated 10-grams", "Characters in them")


class GopherRepetition(NgramThresholds):
    """Rules for prose that repeats itself."""

    model_config = ConfigDict(title="Gopher repetition")

    max_duplicate_lines: float = share(0.30, "Most repeated lines", "Lines seen before")
    max_duplicate_paragraphs: float = share(
        0.30, "Most repeated paragraphs", "Paragraphs seen before"
    )
    max_duplicate_line_chars: float = share(
        0.20, "Most text in repeated lines", "Characters in lines seen before"
    )
    max_duplicate_paragraph_chars: float = share(
        0.20, "Most text in repeated paragraphs", "Characters in paragraphs seen before"
    )


class C4(Thresholds):
    """Rules for prose that take lines out, and refuse texts that show code with braces.

    ``c4-strict`` is the recipe as published: it also takes out lines that end in no full stop or
    the like, and refuses a text in which a word of the bad-word lists stands.
    """

    model_config = ConfigDict(title="C4")

    min_sentences: int = Field(5, title="Fewest sentences", ge=0, description="Sentences")
    min_line_words: int = Field(
        3, title="Fewest words a line", ge=1, description="Words; lines with fewer are taken out"
    )
    max_word_chars: int = Field(
        1_000,
        title="Longest word",
        ge=1,
        description="Characters; lines with a longer word are taken out",
    )


class FineWeb(Thresholds):
    """Rules for prose that FineWeb adds to Gopher's and C4's."""

    model_config = ConfigDict(title="FineWeb")

    min_punctuated_lines: float = share(
        0.12, "Least punctuated lines", "Lines that end in a full stop or the like"
    )
    short_line_chars: int = Field(
        30, title="Short line", ge=0, description="Characters up to which a line is short"
    )
    max_short_lines: float = share(0.67, "Most short lines", "Lines that are short")
    max_duplicate_line_chars: float = share(
        0.01, "Most text in repeated lines", "Characters in lines seen before"
    )
    max_newline_ratio: float = Field(
        0.3, title="Most line ends", ge=0, description="Line ends a word"
    )


class RefinedWeb(Thresholds):
    """Corrections line by line: menus, counters and calls to act leave the text."""

    model_config = ConfigDict(title="RefinedWeb")

    max_uppercase: float = share(
        0.5, "Most capitals in a line", "Characters that are capitals; lines with more go"
    )
    max_edited_line_words: int = Field(
        10,
        title="Longest line to correct",
        ge=0,
        description="Words up to which phrases such as Sign in or Read more leave a line",
    )
    max_removed_words: float = share(
        0.05, "Most words to take out", "Words that the corrections take; texts with more go"
    )


class Dolma(WordThresholds, NgramThresholds):
    """Gopher's rules as Dolma states them, and its rule on words repeated without end.

    The median word's length is bounded, not the mean; stop words are counted each time.
    """

    model_config = ConfigDict(title="Dolma")

    max_duplicate_lines: float = share(0.30, "Most repeated lines", "Lines seen before")
    max_duplicate_line_chars: float = share(
        0.30, "Most text in repeated lines", "Characters in lines seen before"
    )
    max_repeats: int = Field(
        100,
        title="Longest repetition",
        ge=2,
        description="Times that up to 13 words may come one after another",
    )


class Outliers(Thresholds):
    """Texts that are very short, very long, or unlike the rest of their source.

    Unlikeness is what a text's words, or its characters, cost in bits under the distribution of all
    prose of the same input and language, above or below what that prose itself costs on average.
    """

    model_config = ConfigDict(title="Outliers")
    ordered = (("min_chars", "max_chars"),)

    min_chars: int = Field(200, title="Shortest text", ge=0, description="Characters")
    max_chars: int = Field(2_000_000, title="Longest text", ge=1, description="Characters")
    max_rare_word_bits: float = Field(
        4.0, title="Rarest words", ge=0, description="Bits a word above the average"
    )
    max_common_word_bits: float = Field(
        4.0, title="Commonest words", ge=0, description="Bits a word below the average"
    )
    max_rare_char_bits: float = Field(
        1.5, title="Rarest characters", ge=0, description="Bits a character above the average"
    )
    max_common_char_bits: float = Field(
        1.5, title="Commonest characters", ge=0, description="Bits a character below the average"
    )
    min_reference_words: int = Field(
        100_000,
        title="Smallest reference",
        ge=1,
        description="Words of a language in the input, from which on its texts are compared",
    )


class Code(Thresholds):
    """Rules for source code."""

    model_config = ConfigDict(title="Code")
    ordered = (("min_chars", "max_chars"),)

    min_chars: int = Field(100, title="Shortest code", ge=0, description="Characters")
    max_chars: int = Field(1_000_000, title="Longest code", ge=1, description="Characters")
    max_line_chars: int = Field(1_000, title="Longest line", ge=1, description="Characters")
    max_mean_line_chars: float = Field(
        100.0, title="Longest mean line", ge=1, description="Characters a line"
    )
    min_alphanumeric: float = share(
        0.25, "Least alphanumeric", "Characters that are letters or digits"
    )
