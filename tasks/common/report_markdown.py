"""One stage's report as Markdown, for the orchestrator's UI: what it made, what left and why."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.common.funnel import Funnel
from tasks.common.manifest import Manifest
from tasks.common.store import Artifact

MAX_METRICS = 30


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
    if flat := list(_flatten(manifest.metrics)):
        lines += ["| metric | value |", "|---|---:|"]
        lines += [f"| {name} | {value} |" for name, value in flat[:MAX_METRICS]]
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
