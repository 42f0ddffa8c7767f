"""Everything a report shows, read from artifacts into plain values."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from tasks.common.manifest import Manifest
from tasks.common.mixture import read_mixture
from tasks.common.records import Record, read_records
from tasks.common.shard import read_tables
from tasks.common.store import Artifact
from tasks.common.training import METRICS_NAME
from tasks.common.training_log import TrainingLog
from tasks.report.config import ReportConfig

EXCERPT_CHARS = 300
TRAINING_STAGES = ("pretrain", "sft", "dpo")
ROWS_LOOKED_AT = 2_000

Values = dict[str, Any]


def funnel_table(data: Sequence[Artifact]) -> list[Values]:
    """One row a data stage: what came in, what stayed, and the reasons of what left."""
    return [
        {
            "stage": f"{artifact.ref.stage} {artifact.manifest.label}".strip(),
            "num_in": funnel.num_in,
            "num_kept": funnel.num_kept,
            "dropped": sorted(funnel.dropped.items(), key=lambda item: (-item[1], item[0])),
        }
        for artifact in data
        if (funnel := artifact.manifest.funnel)
    ]


def near_copies(data: Sequence[Artifact]) -> Values | None:
    """How near copies were looked for, and what clusters there are; None if they were not."""
    for artifact in data:
        if "near_copies" in artifact.manifest.metrics:
            return artifact.manifest.metrics
    return None


def dropped_samples(data: Sequence[Artifact], config: ReportConfig) -> list[Values]:
    """A few dropped documents, taking the reasons in turn, so that each is seen."""
    by_reason: dict[str, list[Values]] = {}
    for artifact in data:
        for name in artifact.names(".parquet", "dropped"):
            for row in _first_rows(artifact, name):
                found = by_reason.setdefault(f"{artifact.ref.stage}: {row['reason']}", [])
                if len(found) < config.num_dropped_samples:
                    found.append(
                        {
                            "reason": f"{artifact.ref.stage}: {row['reason']}",
                            "detail": row["detail"] or "",
                            "url": row["url"],
                            "text": row["text"][:EXCERPT_CHARS],
                        }
                    )
    turns = zip_longest(*(by_reason[reason] for reason in sorted(by_reason)))
    return [sample for turn in turns for sample in turn if sample][: config.num_dropped_samples]


def mixture_table(tokens: Artifact, seen: Mapping[str, int]) -> Any:
    """The GPT-3 table (Brown et al. 2020, table 2.2): quantity, weight, epochs elapsed."""
    return [
        {
            "group": row["group"],
            "documents": row["documents"],
            "tokens": row["tokens"],
            "weight": row["weight"],
            "seen": (taken := sum(seen.get(own["name"], 0) for own in row["portions"])),
            "epochs": taken / max(1, row["tokens"]),
        }
        for row in read_mixture(tokens)["groups"]
    ]


def training_logs(training: Sequence[Artifact]) -> dict[str, TrainingLog]:
    """What each training stage said, in the order of stages."""
    return {
        artifact.ref.stage: TrainingLog.read(artifact.fetch(METRICS_NAME))
        for artifact in training
        if artifact.ref.stage in TRAINING_STAGES
    }


def training_table(logs: Mapping[str, TrainingLog]) -> list[Values]:
    """One row a training stage: how long, how fast, how good."""
    rows = []
    for stage, log in logs.items():
        done = log.last("done")
        rows.append(
            {
                "stage": stage,
                "steps": done.get("step", 0),
                "best_step": done.get("best_step"),
                "stopped_early": done.get("stopped_early", False),
                "tokens": sum(done.get("tokens", {}).values()),
                "val_loss": done.get(log.held_out()),
                # The median of the speeds that were logged: all tokens over the last attempt's time
                # would count what earlier attempts trained.
                "tokens_per_second": log.usual("tokens_per_second") or 0.0,
                "mfu": log.usual("mfu"),
                "data_wait_share": log.usual("data_wait_share"),
                "peak_memory_bytes": log.last("step").get("peak_memory_bytes"),
            }
        )
    return rows


def held_out_groups(logs: Mapping[str, TrainingLog]) -> Values:
    """The base model's held-out groups: in what they are measured, and at each end of training."""
    unit, measured = logs["pretrain"].by_group() if "pretrain" in logs else ("", [])
    groups = measured[-1][1] if measured else {}
    return {
        "unit": unit,
        "rows": [
            {"group": group, "first": measured[0][1].get(group, last), "last": last}
            for group, last in groups.items()
        ],
    }


def training_samples(logs: Mapping[str, TrainingLog]) -> list[Values]:
    """What each model wrote at the end of its training."""
    return [
        {"stage": stage, "step": event["step"], "samples": event["samples"]}
        for stage, log in logs.items()
        if (event := log.last("samples"))
    ]


def answers(scores: Sequence[Artifact], num_samples: int) -> list[Values]:
    """The same questions answered by each model, in the order of the models.

    What was too long for one of them was not asked of all, and is not shown.
    """
    by_model = [
        {_question(record): record for record in read_records(score.fetch("answers.jsonl"))}
        for score in scores
    ]
    shared = [key for key in by_model[0] if all(key in answered for answered in by_model)]
    shown = [[answered[key] for answered in by_model] for key in shared[:num_samples]]
    return [
        {
            "question": records[0]["prompt"][-1]["content"],
            "reference": records[0]["reference"],
            "answers": [record["answer"] for record in records],
        }
        for records in shown
    ]


def stage_times(manifests: Sequence[Manifest]) -> list[Values]:
    """What each artifact cost when it was made, in the order of making."""
    return [
        {
            "stage": f"{m.ref.stage} {m.label}".strip(),
            "artifact": str(m.ref),
            "wall_seconds": m.provenance.wall_seconds,
            "cpu_seconds": m.provenance.cpu_seconds,
            "peak_mb": m.provenance.peak_memory_bytes / 1e6,
            "bytes": m.total_bytes,
            "started_at": m.provenance.started_at,
        }
        for m in sorted(manifests, key=lambda m: m.provenance.started_at)
    ]


def _question(record: Record) -> tuple[str, str]:
    return record["id"], record["reference"]


def _first_rows(artifact: Artifact, name: str) -> list[Values]:
    for table in read_tables(artifact.fetch(name), rows=ROWS_LOOKED_AT):
        if {"reason", "text"} <= set(table.column_names):
            return table.select(["reason", "detail", "url", "text"]).to_pylist()
    return []
