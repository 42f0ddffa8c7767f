"""The filter stage: shards of documents in, the same shards with fewer rows out."""

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.common.files import checksums, sha256_of
from tasks.common.funnel import Funnel
from tasks.common.language import identify_paragraphs
from tasks.common.shard import ShardWriter, part_name, read_tables, set_column
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.common.url_list import UrlLists
from tasks.filter.bad_words import BadWordLists
from tasks.filter.cleaning import NEEDED, Cleaned, Cleaner, gather, identity, prepare, rows_name
from tasks.filter.config import FilterConfig
from tasks.filter.list_files import named_lists, read_bad_words, read_blocklists
from tasks.filter.outliers import Counts, Reference, count_by_language
from tasks.filter.rules import Candidate, Lists, Verdict, judge

LANGUAGE_COLUMNS = ("language", "language_score", "language_shares")
# How many documents each rule would drop, and how many nothing but it; what was changed in those
# that stay; what was noted.
COUNTED = (
    *("would_drop", "alone_drops", "removed_lines", "removed_paragraphs"),
    *("personal_data", "tags"),
)
COUNTS_FOLDER = ".counts"
COUNTS_FILE = "counts-{:05d}.npz"


def run(context: StageContext, config: FilterConfig) -> Outcome:
    """Drop low-quality documents. In: extracted documents. Out: same schema, fewer rows."""
    _load_lists(config)  # a list that is not right is told once, before any work
    shards = context.shards("documents")
    folder = context.path / COUNTS_FOLDER if "outliers" in config.chain else None
    if folder:
        folder.mkdir(exist_ok=True)
        context.map(
            count_shard,
            [(*shard, folder, index) for index, shard in enumerate(shards)],
            key="counts",
            names=lambda index: [f"{COUNTS_FOLDER}/{COUNTS_FILE.format(index)}"],
        )
    suites = prepare(context, config)
    results = context.map(
        filter_shard,
        [(*shard, context.path, index, config, folder) for index, shard in enumerate(shards)],
        names=lambda index: [
            part_name(index),
            f"dropped/{part_name(index)}",
            *([rows_name(index)] if suites else []),
        ],
    )
    counts = {
        name: dict(sorted(sum((Counter(result[name]) for result in results), Counter()).items()))
        for name in COUNTED
    }
    return Outcome(
        funnel=Funnel.total(Funnel(**result["funnel"]) for result in results),
        metrics=counts | gather(context.path, len(shards), suites),
    )


def count_shard(artifact: Artifact, name: str, folder: Path, index: int) -> list[str]:
    """Write how often words and characters occur in a shard; return its languages."""
    totals: dict[str, Counts] = {}
    for table in read_tables(artifact.fetch(name)):
        for language, counts in count_by_language(_candidates(_with_languages(table))).items():
            totals[language] = totals[language] + counts if language in totals else counts
    arrays = {language: np.stack([c.words, c.chars]) for language, c in totals.items()}
    np.savez_compressed(folder / COUNTS_FILE.format(index), allow_pickle=False, **arrays)
    return sorted(arrays)


def filter_shard(
    artifact: Artifact,
    name: str,
    folder: Path,
    index: int,
    config: FilterConfig,
    counts_folder: Path | None = None,
) -> dict[str, Any]:
    """Write one shard; return its ledger and what was counted in it."""
    counts = {name: Counter[str]() for name in COUNTED}
    lists = Lists(
        **_load_lists(config), references=_references(counts_folder) if counts_folder else {}
    )
    cleaner = Cleaner(config, folder, index)
    with ShardWriter(folder, index) as shard:
        for table in read_tables(artifact.fetch(name)):
            table = _with_languages(table)
            candidates = _candidates(table)
            verdicts = judge(candidates, config, lists)
            cleaned = _clean(cleaner, table, verdicts)
            for verdict, result in zip(verdicts, cleaned, strict=True):
                _count(counts, verdict, result)
            why = [_why(*both) for both in zip(verdicts, cleaned, strict=True)]
            changed = _changed(table, candidates, verdicts, cleaned, config)
            shard.split(changed, [reason for reason, _ in why], [detail for _, detail in why])
    cleaner.write_report(folder, index)
    return {"funnel": shard.funnel.model_dump(), **counts}


def _clean(cleaner: Cleaner, table: pa.Table, verdicts: Sequence[Verdict]) -> list[Cleaned | None]:
    """What cleaning makes of the documents that break no rule; None for the others."""
    stay = [at for at, verdict in enumerate(verdicts) if not verdict.broken]
    found: list[Cleaned | None] = [None] * len(verdicts)
    texts = [verdicts[at].text for at in stay]
    documents = table.select(NEEDED).take(pa.array(stay, pa.int64()))
    for at, result in zip(stay, cleaner.clean(documents, texts), strict=True):
        found[at] = result
    return found


def _why(verdict: Verdict, cleaned: Cleaned | None) -> tuple[str | None, str | None]:
    """Why a document goes, if it does, and the figures."""
    if cleaned:
        return cleaned.reason, cleaned.detail
    return verdict.broken[0].rule, verdict.broken[0].detail


def _count(counts: dict[str, Counter[str]], verdict: Verdict, cleaned: Cleaned | None) -> None:
    rules = {breach.rule for breach in verdict.broken}
    if cleaned and cleaned.reason:
        rules.add(cleaned.reason)
    counts["would_drop"].update(rules)
    counts["alone_drops"].update(rules if len(rules) == 1 else ())
    if cleaned and not cleaned.reason:
        counts["removed_lines"].update(verdict.removed_lines)
        counts["removed_paragraphs"].update(verdict.removed_paragraphs)
        counts["personal_data"].update(cleaned.found)
        counts["tags"].update({*verdict.tags, *cleaned.tags})


def _changed(
    table: pa.Table,
    candidates: Sequence[Candidate],
    verdicts: Sequence[Verdict],
    cleaned: Sequence[Cleaned | None],
    config: FilterConfig,
) -> pa.Table:
    """The table with what was found out and, of documents that stay, with their new texts."""
    texts, tags = [], []
    for candidate, verdict, result, had in zip(
        candidates, verdicts, cleaned, table["tags"].to_pylist(), strict=True
    ):
        # what is set aside is kept as it was
        texts.append(result.text if result and not result.reason else candidate.text)
        more = [*verdict.tags, *(result.tags if result else ())]
        tags.append(list(dict.fromkeys([*(had or ()), *more])) or None)
    table = set_column(table, "text", texts)
    table = set_column(table, "tags", tags)
    if config.signals:
        values = [list((verdict.signals or {}).items()) for verdict in verdicts]
        table = set_column(table, "signals", values)
    return table


def _with_languages(table: pa.Table) -> pa.Table:
    """Detect the language of the documents in prose where it is not known."""
    columns = {name: table[name].to_pylist() for name in LANGUAGE_COLUMNS}
    rows = zip(table["text"].to_pylist(), table["kind"].to_pylist(), strict=True)
    for row, (text, kind) in enumerate(rows):
        if kind != "code" and columns["language_score"][row] is None:
            for name, value in identify_paragraphs(text).columns().items():
                columns[name][row] = value
    for name, values in columns.items():
        table = set_column(table, name, values)
    return table


def _candidates(table: pa.Table) -> list[Candidate]:
    """The table's documents, whose languages are known."""
    names = ("text", "kind", "url", "licence", "opt_outs", "language", "language_score")
    columns = {name: table[name].to_pylist() for name in names}
    columns["opt_outs"] = [tuple(opt_outs or ()) for opt_outs in columns["opt_outs"]]
    return [
        Candidate(**dict(zip(names, row, strict=True)))
        for row in zip(*columns.values(), strict=True)
    ]


def _load_lists(config: FilterConfig) -> dict[str, Any]:
    """The user's lists, read once a process."""
    blocked, words = config.blocklists, config.bad_words
    wanted = tuple(sorted({*blocked.drop, *blocked.tag}))
    return {
        "blocked": _blocklists(_stamped(blocked.paths), wanted) if blocked.paths else None,
        "bad_words": _bad_words(_stamped(words.paths)) if words.paths else None,
    }


Stamped = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]


def _stamped(paths: Sequence[str]) -> Stamped:
    """Paths with what they hold, so that what was read before is not taken for what is there."""
    return tuple(paths), tuple(checksums(paths).items())


@functools.lru_cache(maxsize=1)
def _blocklists(stamped: Stamped, categories: tuple[str, ...]) -> UrlLists:
    return read_blocklists(stamped[0], categories)


@functools.lru_cache(maxsize=1)
def _bad_words(stamped: Stamped) -> BadWordLists:
    return read_bad_words(stamped[0])


@functools.lru_cache(maxsize=1)
def _references(folder: Path) -> dict[str, Reference]:
    """The statistics of all shards together, by language."""
    totals: dict[str, np.ndarray] = {}
    for language, counts in _stored_counts(folder):
        totals[language] = totals[language] + counts if language in totals else counts
    return {
        language: Reference.of(Counts(words=words, chars=chars))
        for language, (words, chars) in totals.items()
    }


def _stored_counts(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    for path in sorted(folder.iterdir()):
        with np.load(path) as arrays:
            for language in arrays.files:
                yield language, arrays[language]


def _identity(config: FilterConfig) -> Mapping[str, Any]:
    """Lists are what they hold, wherever they lie."""
    values = config.identity()
    for name in ("blocklists", "bad_words"):
        if values[name]:
            lists = named_lists(values[name]["paths"])
            values[name]["paths"] = {own: sha256_of(path) for own, path in lists.items()}
    return values | identity(config)


STAGE = Stage(
    name="filter",
    version=4,
    config=FilterConfig,
    inputs=("documents",),
    run=run,
    identity=_identity,
)
