"""The filter stage: shards of documents in, the same shards with fewer rows out."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.funnel import Funnel
from tasks.common.language import identify
from tasks.common.shard import ShardWriter, part_name, read_tables, set_column
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.filter.config import FilterConfig
from tasks.filter.rules import Candidate, judge

# How many documents each rule alone would drop; what was changed in those that stay.
COUNTED = ("would_drop", "removed_lines", "masked")


def run(context: StageContext, config: FilterConfig) -> Outcome:
    """Drop low-quality documents. In: extracted documents. Out: same schema, fewer rows."""
    shards = context.shards("documents")
    results = context.map(
        filter_shard,
        [(*shard, context.path, index, config) for index, shard in enumerate(shards)],
        names=lambda index: [part_name(index), f"dropped/{part_name(index)}"],
    )
    counts = {
        name: dict(sorted(sum((Counter(result[name]) for result in results), Counter()).items()))
        for name in COUNTED
    }
    return Outcome(
        funnel=Funnel.total(Funnel(**result["funnel"]) for result in results), metrics=counts
    )


def filter_shard(
    artifact: Artifact, name: str, folder: Path, index: int, config: FilterConfig
) -> dict[str, Any]:
    """Write one shard; return its ledger and what was counted in it."""
    counts = {name: Counter[str]() for name in COUNTED}
    with ShardWriter(folder, index) as shard:
        for table in read_tables(artifact.fetch(name)):
            candidates = _candidates(table)
            verdicts = judge(candidates, config)
            for verdict in verdicts:
                counts["would_drop"].update(verdict.broken)
                counts["removed_lines"].update(verdict.removed_lines)
                counts["masked"].update(verdict.masked)
            table = set_column(table, "text", [verdict.text for verdict in verdicts])
            table = set_column(table, "language", [c.language for c in candidates])
            table = set_column(table, "language_score", [c.language_score for c in candidates])
            shard.split(table, [v.broken[0] if v.broken else None for v in verdicts])
    return {"funnel": shard.funnel.model_dump(), **counts}


def _candidates(table: pa.Table) -> list[Candidate]:
    """The table's documents; the language of those in prose is detected where it is not known."""
    names = ("text", "kind", "language", "language_score")
    candidates = []
    for text, kind, language, score in zip(*(table[n].to_pylist() for n in names), strict=True):
        if kind != "code" and score is None:
            language, score = identify(text)
        candidates.append(Candidate(text=text, kind=kind, language=language, language_score=score))
    return candidates


STAGE = Stage(name="filter", version=3, config=FilterConfig, inputs=("documents",), run=run)
