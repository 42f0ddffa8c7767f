"""Quality rules on documents. Pure: documents in, verdicts out.

Each recipe yields the rules that a text breaks, in the recipe's order, so that a funnel can count
drops by their first reason and also say how many each rule alone would have dropped. Documents are
judged some at a time, because their words are measured together; none depends on its neighbours.

FineWeb (arXiv:2406.17557) runs its rules after C4's, so they see the lines that C4 leaves.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tasks.common.language import without_other_languages
from tasks.common.words import batches
from tasks.filter.c4 import C4Page, clean_page
from tasks.filter.config import FilterConfig
from tasks.filter.lines import BULLETS, ELLIPSES, TERMINALS, Lines
from tasks.filter.measure import DUPLICATE_NGRAMS, TOP_NGRAMS, Measures, measure
from tasks.filter.pii import mask

STOP_WORD = re.compile(
    r"(?<!\S)(?:[^\w\s]|_){0,8}(the|be|to|of|and|that|have|with)(?:[^\w\s]|_){0,8}(?!\S)", re.I
)
ALPHANUMERIC = re.compile(r"[^\W_]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A document before the rules."""

    text: str
    kind: str  # "prose" or "code"
    language: str | None = None
    language_score: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the rules say of a document."""

    broken: list[str]  # every rule that it breaks, the first one first; empty to keep it
    text: str  # what stays of its text: without C4's unwanted lines, personal data masked
    removed_lines: Counter[str] = field(default_factory=Counter)
    removed_paragraphs: Counter[str] = field(default_factory=Counter)  # by language
    masked: Counter[str] = field(default_factory=Counter)


def judge(documents: Sequence[Candidate], config: FilterConfig) -> list[Verdict]:
    """A verdict on each document."""
    verdicts: list[Verdict] = []
    for part in batches([document.text for document in documents]):
        batch = documents[part]
        of_prose = _judge_prose([d for d in batch if d.kind != "code"], config)
        verdicts += [
            _judge_code(document, config) if document.kind == "code" else next(of_prose)
            for document in batch
        ]
    return verdicts


def _judge_code(document: Candidate, config: FilterConfig) -> Verdict:
    broken = list(_code(document.text, config)) if config.code else []
    return Verdict(broken=broken, text=document.text)


def _judge_prose(documents: Sequence[Candidate], config: FilterConfig) -> Iterator[Verdict]:
    texts = [document.text for document in documents]
    whole = measure(texts, with_ngrams=config.gopher_repetition)
    pages = [clean_page(text) if config.c4 else None for text in texts]
    left_texts = [page.text if page else text for page, text in zip(pages, texts, strict=True)]
    left = measure(left_texts, with_ngrams=False) if config.c4 else whole
    for document, m, page, left_text, left_m in zip(
        documents, whole, pages, left_texts, left, strict=True
    ):
        lines = Lines(document.text)
        broken = list(_language(document, config))
        if config.gopher_quality:
            broken += _gopher_quality(document, m, lines, config)
        if config.gopher_repetition:
            broken += _gopher_repetition(m, lines, config)
        if page:
            broken += _c4(page, config)
        if config.fineweb:
            broken += _fineweb(Lines(left_text) if page else lines, left_m, config)
        if broken:
            yield Verdict(broken=broken, text=document.text)
        else:
            text, foreign = _wanted_paragraphs(left_text, config)
            text, masked = mask(text, config.mask)
            removed = page.removed if page else Counter[str]()
            yield Verdict(
                broken=[],
                text=text,
                removed_lines=removed,
                removed_paragraphs=foreign,
                masked=masked,
            )


def _wanted_paragraphs(text: str, config: FilterConfig) -> tuple[str, Counter[str]]:
    if config.keep_paragraphs == "all" or not config.languages:
        return text, Counter()
    return without_other_languages(text, config.languages)


def _language(document: Candidate, config: FilterConfig) -> Iterator[str]:
    if not config.languages:
        return
    if document.language not in config.languages:
        yield "language"
    elif (document.language_score or 0.0) < config.min_language_score:
        yield "language_score"


def _gopher_quality(
    document: Candidate, m: Measures, lines: Lines, config: FilterConfig
) -> Iterator[str]:
    text, num_words = document.text, max(1, m.num_words)
    if not config.min_words <= m.num_words <= config.max_words:
        yield "word_count"
    if not config.min_mean_word_chars <= m.mean_word_chars <= config.max_mean_word_chars:
        yield "mean_word_length"
    if text.count("#") / num_words > config.max_symbol_ratio:
        yield "hash_signs"
    if sum(map(text.count, ELLIPSES)) / num_words > config.max_symbol_ratio:
        yield "ellipses"
    if lines.share_beginning(BULLETS) > config.max_bullet_lines:
        yield "bullet_lines"
    if lines.share_ending(ELLIPSES) > config.max_ellipsis_lines:
        yield "ellipsis_lines"
    if m.alphabetic_share < config.min_alphabetic_words:
        yield "alphabetic_words"
    if document.language in (None, "en") and not _has_stop_words(text, config.min_stop_words):
        yield "stop_words"


def _has_stop_words(text: str, wanted: int) -> bool:
    """Whether ``wanted`` different stop words occur; most texts show them in their first line."""
    seen: set[str] = set()
    if not wanted:
        return True
    for match in STOP_WORD.finditer(text):
        seen.add(match.group(1).lower())
        if len(seen) >= wanted:
            return True
    return False


def _gopher_repetition(m: Measures, lines: Lines, config: FilterConfig) -> Iterator[str]:
    line_share, line_chars = lines.duplicates
    paragraph_share, paragraph_chars = lines.duplicate_paragraphs
    if line_share > config.max_duplicate_lines:
        yield "duplicate_lines"
    if paragraph_share > config.max_duplicate_paragraphs:
        yield "duplicate_paragraphs"
    if line_chars > config.max_duplicate_line_chars:
        yield "duplicate_line_chars"
    if paragraph_chars > config.max_duplicate_paragraph_chars:
        yield "duplicate_paragraph_chars"
    for n in TOP_NGRAMS:
        if m.top_ngram_shares[n] > getattr(config, f"max_top_{n}gram_chars"):
            yield f"top_{n}gram"
    for n in DUPLICATE_NGRAMS:
        if m.duplicate_ngram_shares[n] > getattr(config, f"max_duplicate_{n}gram_chars"):
            yield f"duplicate_{n}gram"


def _c4(page: C4Page, config: FilterConfig) -> Iterator[str]:
    if page.has_lorem_ipsum:
        yield "lorem_ipsum"
    if page.has_curly_bracket:
        yield "curly_bracket"
    if page.num_sentences < config.min_sentences:
        yield "sentences"


def _fineweb(lines: Lines, m: Measures, config: FilterConfig) -> Iterator[str]:
    if lines.share_ending(TERMINALS) < config.min_punctuated_lines:
        yield "punctuated_lines"
    if lines.share_up_to(config.short_line_chars) > config.max_short_lines:
        yield "short_lines"
    num_newlines = lines.text.count("\n")
    repeated_chars = lines.duplicates[1] * len(lines.text)
    num_chars = max(1, len(lines.text) - num_newlines)  # unlike Gopher, without line ends
    if repeated_chars / num_chars > config.max_fineweb_duplicate_line_chars:
        yield "fineweb_duplicate_line_chars"
    if num_newlines / max(1, m.num_words) > config.max_newline_ratio:
        yield "newline_ratio"


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
