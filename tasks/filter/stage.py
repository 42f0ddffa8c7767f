"""The filter stage: shards of documents in, the same shards with fewer rows out."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.common.funnel import Funnel
from tasks.common.language import identify_paragraphs
from tasks.common.shard import ShardWriter, part_name, read_tables, set_column
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.filter.config import FilterConfig
from tasks.filter.rules import Candidate, judge

LANGUAGE_COLUMNS = ("language", "language_score", "language_shares")
# How many documents each rule alone would drop; what was changed in those that stay.
COUNTED = ("would_drop", "removed_lines", "removed_paragraphs", "masked")


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
            table = _with_languages(table)
            verdicts = judge(_candidates(table), config)
            for verdict in verdicts:
                counts["would_drop"].update(verdict.broken)
                counts["removed_lines"].update(verdict.removed_lines)
                counts["removed_paragraphs"].update(verdict.removed_paragraphs)
                counts["masked"].update(verdict.masked)
            table = set_column(table, "text", [verdict.text for verdict in verdicts])
            shard.split(table, [v.broken[0] if v.broken else None for v in verdicts])
    return {"funnel": shard.funnel.model_dump(), **counts}


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
    names = ("text", "kind", "language", "language_score")
    columns = (table[name].to_pylist() for name in names)
    return [
        Candidate(**dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)
    ]


STAGE = Stage(name="filter", version=3, config=FilterConfig, inputs=("documents",), run=run)
