"""The filter's verdicts. Pure: documents in, verdicts out.

Recipes are asked in the order in which the user names them; one that edits the text is seen by
those after it. Each yields every rule that a text breaks, so that a funnel can count drops by
their first reason and also say how many each rule would have dropped. Documents are judged some at
a time, because their words are measured together; none depends on its neighbours.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tasks.common.language import without_other_languages
from tasks.common.url_list import UrlLists
from tasks.common.words import batches
from tasks.filter.bad_words import BadWordLists
from tasks.filter.breach import NONE, Breach, Breaches, above, below
from tasks.filter.c4 import clean_page
from tasks.filter.config import FilterConfig
from tasks.filter.dolma import dolma
from tasks.filter.edited import Edited
from tasks.filter.fineweb import fineweb
from tasks.filter.gopher import gopher_quality, gopher_repetition
from tasks.filter.origin import Ruling, judge_origin
from tasks.filter.outliers import Reference, outliers
from tasks.filter.refinedweb import correct_lines
from tasks.filter.signals import Signals, signals
from tasks.filter.source_code import code
from tasks.filter.thresholds import RecipeName
from tasks.filter.view import Candidate, View, look, look_again

COUNTS_NGRAMS = {"gopher-repetition", "dolma"}
BAD_WORDS_SIGNALS = ("rps_doc_ldnoobw_words", "bad_word_chars")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """What rules look up that stands in no configuration: the user's lists, the input's counts."""

    blocked: UrlLists | None = None
    bad_words: BadWordLists | None = None
    references: Mapping[str, Reference] = field(default_factory=dict)  # by language


NO_LISTS = Lists()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the rules say of a document."""

    broken: list[Breach]  # every rule that it breaks, the first one first; empty to keep it
    text: str  # what stays of its text: as recipes have edited it
    tags: list[str] = field(default_factory=list)
    signals: Signals | None = None
    removed_lines: Counter[str] = field(default_factory=Counter)
    removed_paragraphs: Counter[str] = field(default_factory=Counter)  # by language


def judge(
    documents: Sequence[Candidate], config: FilterConfig, lists: Lists = NO_LISTS
) -> list[Verdict]:
    """A verdict on each document."""
    verdicts: list[Verdict] = []
    for part in batches([document.text for document in documents]):
        batch = documents[part]
        rulings = [judge_origin(document, config, lists.blocked) for document in batch]
        both = list(zip(batch, rulings, strict=True))
        of_prose = _judge_prose([(d, r) for d, r in both if d.kind != "code"], config, lists)
        verdicts += [
            _judge_code(document, ruling, config) if document.kind == "code" else next(of_prose)
            for document, ruling in both
        ]
    return verdicts


def _judge_code(document: Candidate, ruling: Ruling, config: FilterConfig) -> Verdict:
    broken, tags = ruling
    if "code" in config.chain:
        broken = [*broken, *code(document.text, config.code)]
    return Verdict(broken=broken, text=document.text, tags=tags)


def _judge_prose(
    ruled: Sequence[tuple[Candidate, Ruling]], config: FilterConfig, lists: Lists
) -> Iterator[Verdict]:
    """The verdicts on some prose: recipe after recipe; then what changes the texts that stay."""
    documents = [document for document, _ in ruled]
    passed = _pass_recipes(documents, config, lists)
    texts = [passage.view.text for passage in passed]
    signals_of = signals(texts) if config.signals else [None] * len(documents)
    for (document, ruling), passage, noted in zip(ruled, passed, signals_of, strict=True):
        broken = [*ruling[0], *_language(document, config), *passage.broken]
        tags = list(ruling[1])
        if lists.bad_words:
            found, more_tags, more_signals = _bad_words(passage.view, config, lists.bad_words)
            broken += found
            tags += more_tags
            noted = noted | more_signals if noted is not None else None
        if broken:
            yield Verdict(broken=broken, text=document.text, tags=tags, signals=noted)
            continue
        # Only what stays is changed, so that what is set aside can be looked at as it was.
        text, foreign = _wanted_paragraphs(passage.view.text, config)
        yield Verdict(
            broken=[],
            text=text,
            tags=tags,
            signals=noted,
            removed_lines=passage.removed,
            removed_paragraphs=foreign,
        )


@dataclass(slots=True)
class _Passage:
    """A document on its way through the recipes."""

    view: View
    broken: list[Breach] = field(default_factory=list)
    removed: Counter[str] = field(default_factory=Counter)


def _pass_recipes(
    documents: Sequence[Candidate], config: FilterConfig, lists: Lists
) -> list[_Passage]:
    """Send documents through the recipes, one recipe after another."""
    chain = [name for name in config.chain if name != "code"]
    with_ngrams = not COUNTS_NGRAMS.isdisjoint(chain)
    passages = [_Passage(view) for view in look(documents, with_ngrams=with_ngrams)]
    for at, name in enumerate(chain):
        if edit := _editor(name, config, lists):
            edited = [edit(passage.view) for passage in passages]
            with_ngrams = not COUNTS_NGRAMS.isdisjoint(chain[at + 1 :])
            views = look_again(
                [passage.view for passage in passages],
                [e.text for e in edited],
                with_ngrams=with_ngrams,
            )
            for passage, view, one in zip(passages, views, edited, strict=True):
                passage.view = view
                passage.broken += one.breaches
                passage.removed += one.removed
        else:
            ask = _asker(name, config, lists)
            for passage in passages:
                passage.broken += ask(passage.view)
    return passages


def _editor(
    name: RecipeName, config: FilterConfig, lists: Lists
) -> Callable[[View], Edited] | None:
    """The recipe of this name, if it edits texts."""
    if name == "c4":
        return lambda view: clean_page(view.text, config.c4)
    if name == "c4-strict":
        return lambda view: _strict_page(view, config, lists)
    if name == "refinedweb":
        return lambda view: correct_lines(view.text, config.refinedweb)
    return None


def _asker(
    name: RecipeName, config: FilterConfig, lists: Lists
) -> Callable[[View], Iterable[Breach]]:
    """The recipe of this name, if it only asks."""
    askers: dict[str, Callable[[View], Iterable[Breach]]] = {
        "gopher-quality": lambda view: gopher_quality(view, config.gopher_quality),
        "gopher-repetition": lambda view: gopher_repetition(view, config.gopher_repetition),
        "fineweb": lambda view: fineweb(view, config.fineweb),
        "dolma": lambda view: dolma(view, config.dolma),
        "outliers": lambda view: outliers(view, config.outliers, lists.references),
    }
    return askers[name]


def _strict_page(view: View, config: FilterConfig, lists: Lists) -> Edited:
    """C4 as published; its bad words are looked for in the lines that are left."""
    page = clean_page(view.text, config.c4, strict=True)
    assert lists.bad_words is not None, "c4-strict without lists"
    use = lists.bad_words.find(page.text, view.document.language)
    if not use.num_words:
        return page
    breach = Breach("c4_bad_words", f"bad_words {use.num_words} > 0, first {use.first!r}")
    return replace(page, breaches=(*page.breaches, breach))


def _bad_words(
    view: View, config: FilterConfig, lists: BadWordLists
) -> tuple[Breaches, list[str], Signals]:
    """The breach or the tag for a text's bad words, and how many they are."""
    use = lists.find(view.text, view.document.language)
    found = above("bad_words", "bad_word_chars", use.share, config.bad_words.max_chars)
    counts = dict(zip(BAD_WORDS_SIGNALS, (float(use.num_words), use.share), strict=True))
    if config.bad_words.action == "drop":
        return found, [], counts
    return NONE, ["bad-words"] if found else [], counts


def _wanted_paragraphs(text: str, config: FilterConfig) -> tuple[str, Counter[str]]:
    if config.keep_paragraphs == "all" or not config.languages:
        return text, Counter()
    return without_other_languages(text, config.languages)


def _language(document: Candidate, config: FilterConfig) -> Breaches:
    if not config.languages:
        return NONE
    if document.language not in config.languages:
        wanted = ", ".join(config.languages)
        return (Breach("language", f"language {document.language} not in {wanted}"),)
    score = document.language_score or 0.0
    return below("language_score", "language_score", score, config.min_language_score)
