"""Quality rules on one document. Pure: measures in, names of broken rules out.

Each recipe yields the rules that a text breaks, in the recipe's order, so that a funnel can count
drops by their first reason and also say how many each rule alone would have dropped.
"""

import re
from collections.abc import Iterator

from tasks.filter.config import FilterConfig
from tasks.filter.measure import Measures

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
BULLET = re.compile(r"^[•●‣*-]")
ELLIPSIS_END = re.compile(r"(?:\.\.\.|…)$")
PUNCTUATED = re.compile(r"[.?!\"'”’…。？！]$")
ELLIPSIS = re.compile(r"\.\.\.|…")
ALPHANUMERIC = re.compile(r"[^\W_]")


def broken_rules(
    text: str, kind: str, language: str | None, language_score: float | None, config: FilterConfig
) -> list[str]:
    """Every rule that one document breaks, the first one first; empty to keep it."""
    if kind == "code":
        return list(_code(text, config)) if config.code else []
    measures = Measures(text)
    broken = list(_language(language, language_score, config))
    if config.gopher_quality:
        broken += _gopher_quality(measures, language, config)
    if config.gopher_repetition:
        broken += _gopher_repetition(measures, config)
    if config.fineweb:
        broken += _fineweb(measures, config)
    if config.c4:
        broken += _c4(measures, config)
    return broken


def _language(language: str | None, score: float | None, config: FilterConfig) -> Iterator[str]:
    if not config.languages:
        return
    if language not in config.languages:
        yield "language"
    elif (score or 0.0) < config.min_language_score:
        yield "language_score"


def _gopher_quality(m: Measures, language: str | None, config: FilterConfig) -> Iterator[str]:
    num_words = max(1, len(m.words))
    if not config.min_words <= len(m.words) <= config.max_words:
        yield "word_count"
    if not config.min_mean_word_chars <= m.mean_word_chars <= config.max_mean_word_chars:
        yield "mean_word_length"
    if m.text.count("#") / num_words > config.max_symbol_ratio:
        yield "hash_signs"
    if len(ELLIPSIS.findall(m.text)) / num_words > config.max_symbol_ratio:
        yield "ellipses"
    if m.lines_share(BULLET) > config.max_bullet_lines:
        yield "bullet_lines"
    if m.lines_share(ELLIPSIS_END) > config.max_ellipsis_lines:
        yield "ellipsis_lines"
    if m.alphabetic_share < config.min_alphabetic_words:
        yield "alphabetic_words"
    if language in (None, "en") and len(STOP_WORDS & m.bare_words) < config.min_stop_words:
        yield "stop_words"


def _gopher_repetition(m: Measures, config: FilterConfig) -> Iterator[str]:
    line_share, line_chars = m.duplicate_lines
    paragraph_share, paragraph_chars = m.duplicate_paragraphs
    if line_share > config.max_duplicate_lines:
        yield "duplicate_lines"
    if paragraph_share > config.max_duplicate_paragraphs:
        yield "duplicate_paragraphs"
    if line_chars > config.max_duplicate_line_chars:
        yield "duplicate_line_chars"
    if paragraph_chars > config.max_duplicate_paragraph_chars:
        yield "duplicate_paragraph_chars"
    for n in (2, 3, 4):
        if m.top_ngram_share(n) > getattr(config, f"max_top_{n}gram_chars"):
            yield f"top_{n}gram"
    for n in (5, 6, 7, 8, 9, 10):
        if m.duplicate_ngram_share(n) > getattr(config, f"max_duplicate_{n}gram_chars"):
            yield f"duplicate_{n}gram"


def _fineweb(m: Measures, config: FilterConfig) -> Iterator[str]:
    if m.lines_share(PUNCTUATED) < config.min_punctuated_lines:
        yield "punctuated_lines"
    num_short = sum(len(line) <= config.short_line_chars for line in m.lines)
    if num_short / max(1, len(m.lines)) > config.max_short_lines:
        yield "short_lines"
    if m.duplicate_lines[1] > config.max_fineweb_duplicate_line_chars:
        yield "fineweb_duplicate_line_chars"
    if m.text.count("\n") / max(1, len(m.words)) > config.max_newline_ratio:
        yield "newline_ratio"


def _c4(m: Measures, config: FilterConfig) -> Iterator[str]:
    if "lorem ipsum" in m.text.lower():
        yield "lorem_ipsum"
    if "{" in m.text:
        yield "curly_bracket"
    if m.num_sentences < config.min_sentences:
        yield "sentences"


def _code(text: str, config: FilterConfig) -> Iterator[str]:
    lengths = list(map(len, text.split("\n")))
    if not config.code_min_chars <= len(text) <= config.code_max_chars:
        yield "code_length"
    if max(lengths) > config.code_max_line_chars:
        yield "code_longest_line"
    if sum(lengths) / len(lengths) > config.code_max_mean_line_chars:
        yield "code_mean_line"
    if len(ALPHANUMERIC.findall(text)) / max(1, len(text)) < config.code_min_alphanumeric:
        yield "code_alphanumeric"
