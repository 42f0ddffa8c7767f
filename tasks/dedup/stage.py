"""The dedup stage: documents and the verdicts on them in; the same shards without copies out.

Verdict shards stand in the order of the documents' shards, row for row. A document that stays
learns how many copies of it there were; one that goes names the document that stays in its place.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.common.funnel import Funnel
from tasks.common.shard import ShardWriter, part_name, read_tables, set_column
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.common.verdict import VERDICT_SCHEMA
from tasks.dedup.config import DedupConfig

CLUSTER_METRICS = ("num_clusters", "largest_cluster_documents")


def run(context: StageContext, config: DedupConfig) -> Outcome:
    """Keep one version of each page, and one of each set of copies. Out: fewer rows."""
    documents, verdicts = context.shards("documents"), context.shards("duplicates")
    assert len(documents) == len(verdicts), "duplicates decided about other documents"
    funnels = context.map(
        write_shard,
        [
            (*shard, *verdict, context.path, index)
            for index, (shard, verdict) in enumerate(zip(documents, verdicts, strict=True))
        ],
        names=lambda index: [part_name(index), f"dropped/{part_name(index)}"],
    )
    metrics = context.input("duplicates").manifest.metrics
    return Outcome(
        funnel=Funnel.total(Funnel(**funnel) for funnel in funnels),
        metrics={name: metrics[name] for name in CLUSTER_METRICS},
    )


def write_shard(
    artifact: Artifact,
    name: str,
    duplicates: Artifact,
    verdict_name: str,
    folder: Path,
    index: int,
) -> dict[str, Any]:
    """Write one shard as the verdicts say."""
    verdicts = read_tables(duplicates.fetch(verdict_name))
    ahead = VERDICT_SCHEMA.empty_table()
    with ShardWriter(folder, index) as shard:
        for table in read_tables(artifact.fetch(name)):
            while len(ahead) < len(table):
                ahead = pa.concat_tables([ahead, next(verdicts)])
            found, ahead = ahead.slice(0, len(table)), ahead.slice(len(table))
            assert found["id"].equals(table["id"]), f"{name} is not the shard that was judged"
            for column in ("cluster_id", "cluster_size"):
                table = set_column(table, column, found[column].combine_chunks())
            details = pc.coalesce(found["detail"], found["kept_id"])
            shard.split(table, found["reason"].to_pylist(), details.to_pylist())
    return shard.funnel.model_dump()


STAGE = Stage(
    name="dedup", version=5, config=DedupConfig, inputs=("documents", "duplicates"), run=run
)
