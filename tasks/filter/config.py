"""Thresholds of the filter, each as its recipe published it.

Gopher: Rae et al. 2021, arXiv:2112.11446, appendix A.1. FineWeb: Penedo et al. 2024,
arXiv:2406.17557. C4: Raffel et al. 2019, arXiv:1910.10683. Code: The Stack, Kocetkov et al. 2022,
arXiv:2211.15533, after Chen et al. 2021.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PersonalData = Literal["email", "ip"]


def _share(default: float, title: str, description: str) -> float:
    return Field(default, title=title, ge=0, le=1, description=f"{description} (share, 0 to 1)")


class FilterConfig(BaseModel):
    """Which documents stay; a document must pass every rule of every recipe that is on."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Filter")

    languages: list[str] = Field(
        ["en"], title="Languages", description="ISO 639-1 codes to keep; empty keeps all"
    )
    min_language_score: float = _share(
        0.5, "Least language score", "Probability that a prose text is in the language detected"
    )
    keep_paragraphs: Literal["all", "wanted"] = Field(
        "all",
        title="Keep paragraphs",
        description="Of the prose that stays: all of it, or not the lines that are surely in a "
        "language other than those to keep",
    )

    gopher_quality: bool = Field(True, title="Gopher quality", description="Rules for prose")
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
    max_bullet_lines: float = _share(0.9, "Most bullet lines", "Lines that begin with a bullet")
    max_ellipsis_lines: float = _share(0.3, "Most ellipsis lines", "Lines that end in an ellipsis")
    min_alphabetic_words: float = _share(0.8, "Least alphabetic words", "Words that hold a letter")
    min_stop_words: int = Field(
        2,
        title="Fewest stop words",
        ge=0,
        le=8,
        description="Different ones of: the be to of and that have with; English documents only",
    )

    gopher_repetition: bool = Field(True, title="Gopher repetition", description="Rules for prose")
    max_duplicate_lines: float = _share(0.30, "Most repeated lines", "Lines seen before")
    max_duplicate_paragraphs: float = _share(
        0.30, "Most repeated paragraphs", "Paragraphs seen before"
    )
    max_duplicate_line_chars: float = _share(
        0.20, "Most text in repeated lines", "Characters in lines seen before"
    )
    max_duplicate_paragraph_chars: float = _share(
        0.20, "Most text in repeated paragraphs", "Characters in paragraphs seen before"
    )
    max_top_2gram_chars: float = _share(0.20, "Most frequent word pair", "Characters in it")
    max_top_3gram_chars: float = _share(0.18, "Most frequent word triple", "Characters in it")
    max_top_4gram_chars: float = _share(0.16, "Most frequent four words", "Characters in it")
    max_duplicate_5gram_chars: float = _share(0.15, "Most repeated 5-grams", "Characters in them")
    max_duplicate_6gram_chars: float = _share(0.14, "Most repeated 6-grams", "Characters in them")
    max_duplicate_7gram_chars: float = _share(0.13, "Most repeated 7-grams", "Characters in them")
    max_duplicate_8gram_chars: float = _share(0.12, "Most repeated 8-grams", "Characters in them")
    max_duplicate_9gram_chars: float = _share(0.11, "Most repeated 9-grams", "Characters in them")
    max_duplicate_10gram_chars: float = _share(0.10, "Most repeated 10-grams", "Characters in them")

    fineweb: bool = Field(True, title="FineWeb", description="Rules for prose")
    min_punctuated_lines: float = _share(
        0.12, "Least punctuated lines", "Lines that end in a full stop or the like"
    )
    short_line_chars: int = Field(
        30, title="Short line", ge=0, description="Characters up to which a line is short"
    )
    max_short_lines: float = _share(0.67, "Most short lines", "Lines that are short")
    max_fineweb_duplicate_line_chars: float = _share(
        0.01, "Most text in repeated lines (FineWeb)", "Characters in lines seen before"
    )
    max_newline_ratio: float = Field(
        0.3, title="Most line ends", ge=0, description="Line ends a word"
    )

    c4: bool = Field(
        False,
        title="C4",
        description="Rules for prose; they refuse any text that shows code with braces, and take "
        "lines of one or two words, or about cookies and JavaScript, out of the others",
    )
    min_sentences: int = Field(5, title="Fewest sentences", ge=0, description="Sentences")

    code: bool = Field(True, title="Code", description="Rules for source code")
    code_min_chars: int = Field(100, title="Shortest code", ge=0, description="Characters")
    code_max_chars: int = Field(1_000_000, title="Longest code", ge=1, description="Characters")
    code_max_line_chars: int = Field(1_000, title="Longest line", ge=1, description="Characters")
    code_max_mean_line_chars: float = Field(
        100.0, title="Longest mean line", ge=1, description="Characters a line"
    )
    code_min_alphanumeric: float = _share(
        0.25, "Least alphanumeric", "Characters that are letters or digits"
    )

    mask: list[PersonalData] = Field(
        ["email", "ip"],
        title="Mask",
        description="Personal data to replace by examples in the prose that stays: e-mail "
        "addresses, public IP addresses; empty leaves all of it in",
    )

    @model_validator(mode="after")
    def _bounds_are_ordered(self) -> "FilterConfig":
        for low, high in (
            ("min_words", "max_words"),
            ("min_mean_word_chars", "max_mean_word_chars"),
            ("code_min_chars", "code_max_chars"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} must not exceed {high}; no document could pass")
        return self
