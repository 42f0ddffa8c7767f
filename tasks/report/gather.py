"""Everything a report shows, read from artifacts into plain values."""

import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from tasks.common.manifest import Manifest
from tasks.common.mixture import MIXTURE_NAME
from tasks.common.shard import read_tables
from tasks.common.store import Artifact
from tasks.common.training import METRICS_NAME, read_curve
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


def mixture_table(tokens: Artifact, epochs: Mapping[str, float], seen: Mapping[str, int]) -> Any:
    """The GPT-3 table (Brown et al. 2020, table 2.2): quantity, weight, epochs elapsed."""
    groups = json.loads(tokens.fetch(MIXTURE_NAME).read_text())["groups"]
    return [
        {
            "group": row["group"],
            "documents": row["documents"],
            "tokens": row["train_tokens"],
            "weight": row["weight"],
            "seen": seen.get(row["group"], 0),
            "epochs": epochs.get(row["group"], 0.0),
        }
        for row in groups
    ]


def curves(training: Sequence[Artifact]) -> list[Values]:
    """Loss by step of each training stage, with the held-out loss beside it."""
    found = []
    for artifact in training:
        if artifact.ref.stage not in TRAINING_STAGES:
            continue
        path = artifact.fetch(METRICS_NAME)
        steps, evals = read_curve(path, "step"), read_curve(path, "eval")
        seconds = artifact.manifest.provenance.wall_seconds
        found.append(
            {
                "stage": artifact.ref.stage,
                "steps": [entry["step"] for entry in steps],
                "loss": [entry["loss"] for entry in steps],
                "eval_steps": [entry["step"] for entry in evals],
                "eval_loss": [entry["val_loss"] for entry in evals],
                "tokens_per_second": steps[-1]["tokens"] / seconds if steps and seconds else 0.0,
            }
        )
    return found


def answers(scores: Sequence[Artifact], num_samples: int) -> list[Values]:
    """The same questions answered by each model, in the order of the models."""
    by_model = [
        [json.loads(line) for line in score.fetch("answers.jsonl").read_text().splitlines()]
        for score in scores
    ]
    return [
        {
            "question": records[0]["prompt"][-1]["content"],
            "reference": records[0]["reference"],
            "answers": [record["answer"] for record in records],
        }
        for records in list(zip(*by_model, strict=True))[:num_samples]
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


def _first_rows(artifact: Artifact, name: str) -> list[Values]:
    for table in read_tables(artifact.fetch(name), rows=ROWS_LOOKED_AT):
        if {"reason", "text"} <= set(table.column_names):
            return table.select(["reason", "detail", "url", "text"]).to_pylist()
    return []
