"""One stage's report as Markdown, for the orchestrator's UI: what it made, what left and why."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.common.funnel import Funnel
from tasks.common.manifest import Manifest
from tasks.common.store import Artifact

MAX_METRICS = 30
RULE_METRICS = {"would_drop", "alone_drops"}


def plots_of(artifact: Artifact) -> dict[str, bytes]:
    """The plots that a stage drew: the PNG files at the top of its artifact."""
    return {name: artifact.fetch(name).read_bytes() for name in artifact.names(".png")}


def stage_markdown(
    manifest: Manifest, *, was_cached: bool, plots: Mapping[str, bytes] | None = None
) -> str:
    """Describe an artifact: its address, its funnel, its metrics, its plots and its cost."""
    cost = manifest.provenance
    made = "Found in the store; made" if was_cached else "Made"
    lines = [
        f"**`{manifest.ref}`** {manifest.label}",
        "",
        f"{made} at {cost.started_at} in {cost.wall_seconds:.1f} s "
        f"({cost.cpu_seconds:.1f} s of CPU, {cost.peak_memory_bytes / 2**20:.0f} MiB at peak): "
        f"{len(manifest.files)} files, {size_text(manifest.total_bytes)}.",
        "",
    ]
    if manifest.funnel:
        lines += [*funnel_rows(manifest.funnel), ""]
    metrics = dict(manifest.metrics)
    if manifest.funnel and metrics.keys() >= RULE_METRICS:
        would_drop, alone_drops = (metrics.pop(name) for name in ("would_drop", "alone_drops"))
        lines += [*rule_rows(manifest.funnel.dropped, would_drop, alone_drops), ""]
    if flat := list(_flatten(metrics)):
        lines += ["| metric | value |", "|---|---:|"]
        lines += [f"| {name} | {value} |" for name, value in flat[:MAX_METRICS]]
    for name, rows in manifest.metrics.items():
        if _is_table(rows):
            lines += ["", *table_rows(name, rows[:MAX_METRICS])]
    for name, png in (plots or {}).items():
        lines += ["", f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})"]
    if refs := manifest.input_refs:
        lines += ["", "Made from " + ", ".join(f"`{ref}`" for ref in refs)]
    return "\n".join(lines)


def funnel_rows(funnel: Funnel) -> list[str]:
    """The ledger as a Markdown table, the commonest reason first."""
    total = max(funnel.num_in, 1)
    rows = ["| documents | number | share |", "|---|---:|---:|"]
    rows.append(f"| in | {funnel.num_in:,} | |")
    for reason, count in sorted(funnel.dropped.items(), key=lambda item: (-item[1], item[0])):
        rows.append(f"| dropped: {reason} | {count:,} | {count / total:.1%} |")
    rows.append(f"| **kept** | **{funnel.num_kept:,}** | {funnel.num_kept / total:.1%} |")
    return rows


def rule_rows(
    first: Mapping[str, int], would_drop: Mapping[str, int], alone_drops: Mapping[str, int]
) -> list[str]:
    """What each rule does, as a Markdown table, the rule that would drop most first.

    Args:
        first: documents that a rule drops, being the first that they break.
        would_drop: documents that break it.
        alone_drops: documents that break it and no other.
    """
    if not would_drop:
        return []
    rows = ["| rule | drops first | would drop | and no other would |", "|---|---:|---:|---:|"]
    for rule, count in sorted(would_drop.items(), key=lambda item: (-item[1], item[0])):
        rows.append(
            f"| {rule} | {first.get(rule, 0):,} | {count:,} | {alone_drops.get(rule, 0):,} |"
        )
    return rows


def table_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Metrics that come as records of the same fields, as a Markdown table."""
    fields = list(rows[0])
    lines = [f"**{title}**", "", f"| {' | '.join(fields)} |", "|---" * len(fields) + "|"]
    return lines + [f"| {' | '.join(str(row[field]) for field in fields)} |" for row in rows]


def _is_table(rows: Any) -> bool:
    return (
        isinstance(rows, list)
        and len(rows) > 0
        and all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows)
    )


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        elif value is None:
            yield prefix + name, "—"
        elif isinstance(value, float):
            yield prefix + name, f"{value:.4g}"
        elif not isinstance(value, list):
            yield prefix + name, value


def size_text(num_bytes: int) -> str:
    """Bytes as people read them."""
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.1f} kB"
