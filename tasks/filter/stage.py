"""The filter stage: shards of documents in, the same shards with fewer rows out."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.funnel import Funnel
from tasks.common.language import identify
from tasks.common.shard import ShardWriter, part_name, read_tables, set_column
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.filter.cleaning import NEEDED, Cleaner, gather, identity, prepare, rows_name
from tasks.filter.config import FilterConfig
from tasks.filter.rules import Candidate, judge

# How many documents each rule alone would drop; what was changed in those that stay.
COUNTED = ("would_drop", "removed_lines", "personal_data")


def run(context: StageContext, config: FilterConfig) -> Outcome:
    """Drop low-quality documents. In: extracted documents. Out: same schema, fewer rows."""
    shards = context.shards("documents")
    suites = prepare(context, config)
    results = context.map(
        filter_shard,
        [(*shard, context.path, index, config) for index, shard in enumerate(shards)],
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


def filter_shard(
    artifact: Artifact, name: str, folder: Path, index: int, config: FilterConfig
) -> dict[str, Any]:
    """Write one shard; return its ledger and what was counted in it."""
    counts = {name: Counter[str]() for name in COUNTED}
    cleaner = Cleaner(config, folder, index)
    with ShardWriter(folder, index) as shard:
        for table in read_tables(artifact.fetch(name)):
            candidates = _candidates(table)
            verdicts = judge(candidates, config)
            for verdict in verdicts:
                counts["would_drop"].update(verdict.broken)
                counts["removed_lines"].update(verdict.removed_lines)
            table = set_column(table, "text", [verdict.text for verdict in verdicts])
            table = set_column(table, "language", [c.language for c in candidates])
            table = set_column(table, "language_score", [c.language_score for c in candidates])
            reasons = [v.broken[0] if v.broken else None for v in verdicts]
            table, reasons = _clean(cleaner, table, candidates, reasons, counts)
            shard.split(table, reasons)
    cleaner.write_report(folder, index)
    return {"funnel": shard.funnel.model_dump(), **counts}


def _clean(
    cleaner: Cleaner,
    table: pa.Table,
    candidates: list[Candidate],
    reasons: list[str | None],
    counts: dict[str, Counter[str]],
) -> tuple[pa.Table, list[str | None]]:
    """Clean the documents that have no reason to go; some have one then."""
    texts, tags = table["text"].to_pylist(), table["tags"].to_pylist()
    stay = [at for at, reason in enumerate(reasons) if reason is None]
    cleaned = cleaner.clean(table.select(NEEDED).take(stay), [texts[at] for at in stay])
    for at, result in zip(stay, cleaned, strict=True):
        counts["personal_data"].update(result.found)
        reasons[at] = result.reason
        if result.reason:
            counts["would_drop"].update([result.reason])
            texts[at] = candidates[at].text  # what is set aside is kept as it was
            continue
        texts[at] = result.text
        if result.tags:
            tags[at] = [*(tags[at] or []), *result.tags]
    return set_column(set_column(table, "text", texts), "tags", tags), reasons


def _candidates(table: pa.Table) -> list[Candidate]:
    """The table's documents; the language of those in prose is detected where it is not known."""
    names = ("text", "kind", "language", "language_score")
    candidates = []
    for text, kind, language, score in zip(*(table[n].to_pylist() for n in names), strict=True):
        if kind != "code" and score is None:
            language, score = identify(text)
        candidates.append(Candidate(text=text, kind=kind, language=language, language_score=score))
    return candidates


def _identity(config: FilterConfig) -> Mapping[str, Any]:
    return config.model_dump(mode="json") | identity(config)


STAGE = Stage(
    name="filter",
    version=3,
    config=FilterConfig,
    inputs=("documents",),
    run=run,
    identity=_identity,
)
