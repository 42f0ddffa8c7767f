"""Golden digests: a stage whose output changes without a new version is caught.

``golden.json`` holds, for each stage, its version and a digest of what it makes of a small fixture.
When you meant the change: raise the stage's ``version``, then write the new digests with

    GOLDEN_REFRESH=1 python -m pytest tests/golden
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.common.manifest import Manifest
from tasks.common.stage import Stage
from tasks.common.store import Store

GOLDEN_FILE = Path(__file__).parent / "golden.json"


# What a classifier says, to the last digits, belongs to the machine it was trained or is asked on.
MACHINE_COLUMNS = {
    *("domain_score", "domain_scores", "language_score"),
    *("quality_score", "toxicity_score"),
}
MACHINE_METRICS = {"quality", "domain", "toxicity", "quality_thresholds"}
MACHINE_FILES = {"classifiers.json", "held-out.json"}
MACHINE_SUFFIXES = {".bin", ".npz", ".png"}


def content_digest(store: Store, manifest: Manifest) -> str:
    """What an artifact says, independent of how its Parquet files are packed."""
    artifact = store.open(manifest.ref)
    digest = hashlib.sha256()
    for entry in manifest.files:
        digest.update(f"{entry.name}\n".encode())
        digest.update(_content(artifact.fetch(entry.name)))
    metrics = {k: v for k, v in manifest.metrics.items() if k not in MACHINE_METRICS}
    digest.update(json.dumps(metrics, sort_keys=True).encode())
    return digest.hexdigest()


def check_golden(stage: Stage, store: Store, manifest: Manifest) -> None:
    """Compare with the stored digest; fail if it differs under the same version."""
    known: dict[str, dict[str, Any]] = json.loads(GOLDEN_FILE.read_text())
    found = {"version": stage.version, "digest": content_digest(store, manifest)}
    before = known.get(stage.name)
    if before == found:
        return
    if before and before["version"] == stage.version and before["digest"] != found["digest"]:
        raise AssertionError(
            f"{stage.name} makes something else of the same input, but is still version "
            f"{stage.version}. If you meant that, raise `version` in tasks/{stage.name}/stage.py "
            "and run: GOLDEN_REFRESH=1 python -m pytest tests/golden"
        )
    if os.environ.get("GOLDEN_REFRESH"):
        known[stage.name] = found
        GOLDEN_FILE.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n")
        return
    raise AssertionError(
        f"{stage.name} version {stage.version} has no golden digest; "
        "run: GOLDEN_REFRESH=1 python -m pytest tests/golden"
    )


def _content(path: Path) -> bytes:
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
        rows = [{k: v for k, v in row.items() if k not in MACHINE_COLUMNS} for row in rows]
        return json.dumps(rows, sort_keys=True, default=bytes.hex).encode()
    if path.suffix in MACHINE_SUFFIXES or path.name in MACHINE_FILES:
        return b""
    return path.read_bytes()
