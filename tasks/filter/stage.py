"""The filter stage: shards of documents in, the same shards with fewer rows out."""

from collections import Counter
from pathlib import Path
from typing import Any

from tasks.common.funnel import Funnel
from tasks.common.shard import ShardWriter, part_name, read_tables, set_column
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.filter.config import FilterConfig
from tasks.filter.language import identify
from tasks.filter.rules import broken_rules


def run(context: StageContext, config: FilterConfig) -> Outcome:
    """Drop low-quality documents. In: extracted documents. Out: same schema, fewer rows."""
    shards = context.shards("documents")
    results = context.map(
        filter_shard,
        [(*shard, context.path, index, config) for index, shard in enumerate(shards)],
        names=lambda index: [part_name(index), f"dropped/{part_name(index)}"],
    )
    would_drop = sum((Counter(result["would_drop"]) for result in results), Counter[str]())
    return Outcome(
        funnel=Funnel.total(Funnel(**result["funnel"]) for result in results),
        metrics={"would_drop": dict(sorted(would_drop.items()))},
    )


def filter_shard(
    artifact: Artifact, name: str, folder: Path, index: int, config: FilterConfig
) -> dict[str, Any]:
    """Write one shard; return its ledger and how many documents each rule alone would drop."""
    would_drop: Counter[str] = Counter()
    with ShardWriter(folder, index) as shard:
        for table in read_tables(artifact.fetch(name)):
            rows = table.select(["text", "kind"]).to_pylist()
            found = [identify(r["text"]) if r["kind"] != "code" else (None, None) for r in rows]
            broken = [
                broken_rules(row["text"], row["kind"], language, score, config)
                for row, (language, score) in zip(rows, found, strict=True)
            ]
            would_drop.update(rule for rules in broken for rule in rules)
            table = set_column(table, "language", [language for language, _ in found])
            table = set_column(table, "language_score", [score for _, score in found])
            shard.split(table, [rules[0] if rules else None for rules in broken])
    return {"funnel": shard.funnel.model_dump(), "would_drop": would_drop}


STAGE = Stage(name="filter", version=1, config=FilterConfig, inputs=("documents",), run=run)
