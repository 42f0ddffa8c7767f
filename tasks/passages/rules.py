"""The rules of a configuration in one form: which units, how many in a run, and what is kept.

Pure. All rules are one: texts are cut into units, each run of so many units has a key (or some, of
which one must agree), and a run goes if its key stands elsewhere.
"""

from dataclasses import dataclass
from typing import Literal

from tasks.passages.config import Keep, NearParagraphs, PassagesConfig, Scope

Unit = Literal["word", "sentence", "line", "paragraph", "segment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule that is on."""

    name: str
    unit: Unit
    num_units: int  # in a run
    scope: Scope
    keep: Keep
    is_folded: bool = False  # whether case, digits, punctuation and blanks make no difference
    min_chars: int = 0  # of a unit
    min_pages: int | None = None  # None: coming again is enough, be it in the same document
    min_share: float = 1.0  # of the pages of the scope, instead
    near: NearParagraphs | None = None  # None: equal runs only


def rules_of(config: PassagesConfig) -> list[Rule]:
    """The rules that are on, in the order of the configuration."""
    rules = []
    if (site := config.site_lines).on:
        rules.append(
            Rule(
                name="site_lines",
                unit="line",
                num_units=1,
                scope=site.scope,
                keep=site.keep,
                is_folded=True,
                min_chars=site.min_chars,
                min_pages=site.min_pages,
                min_share=site.min_share,
            )
        )
    if (paragraphs := config.paragraphs).on:
        rules.append(
            Rule(
                name="paragraphs",
                unit=paragraphs.unit,
                num_units=1,
                scope=paragraphs.scope,
                keep=paragraphs.keep,
                is_folded=True,
                min_chars=paragraphs.min_chars,
            )
        )
    if (spans := config.spans).on:
        rules.append(
            Rule(
                name="spans",
                unit="sentence",
                num_units=spans.num_sentences,
                scope=spans.scope,
                keep=spans.keep,
            )
        )
    if (substrings := config.substrings).on:
        rules.append(
            Rule(
                name="substrings",
                unit="word",
                num_units=substrings.num_words,
                scope=substrings.scope,
                keep=substrings.keep,
            )
        )
    if (near := config.near_paragraphs).on:
        rules.append(
            Rule(
                name="near_paragraphs",
                unit=near.unit,
                num_units=1,
                scope=near.scope,
                keep="first",
                near=near,
            )
        )
    return rules
