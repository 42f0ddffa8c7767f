"""Our passages stage with one rule on; started by ``passages.py`` in a process of its own.

In: a store, an artifact of documents in it, and a rule's name. Out: on stdout one JSON line: CPU
seconds and peak memory as the manifest has them, and what was cut.
"""

import json
import sys

from tasks.common.manifest import ArtifactRef
from tasks.common.shard import read_tables
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.passages.config import PassagesConfig
from tasks.passages.stage import STAGE


def main(store: str, given: str, rule: str) -> None:
    """Run it and tell."""
    config = PassagesConfig.model_validate({rule: {"on": True}, "min_left_words": 0})
    ref = ArtifactRef.parse(given)
    machine = Machine(store=store, num_workers=1)
    manifest, _ = materialise(STAGE, config, {"documents": [ref]}, machine)
    before, after = _lengths(store, ref), _lengths(store, manifest.ref)
    found = {
        "ref": str(manifest.ref),
        "cpu_seconds": manifest.provenance.cpu_seconds,
        "peak_bytes": manifest.provenance.peak_memory_bytes,
        "metrics": manifest.metrics,
        "characters": sum(before.values()),
        "left": {url: after.get(url, 0) / max(1, num) for url, num in before.items()},
    }
    print(json.dumps(found))


def _lengths(store: str, ref: ArtifactRef) -> dict[str, int]:
    artifact = Store(store).open(ref)
    tables = (t for name in artifact.names(".parquet") for t in read_tables(artifact.fetch(name)))
    return {
        url: len(text)
        for table in tables
        for url, text in zip(table["url"].to_pylist(), table["text"].to_pylist(), strict=True)
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
