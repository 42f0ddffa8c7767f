"""Our pipeline as its users run it; started by ``pipeline.py`` in a process of its own.

In: an archive file and an empty folder. Out: a store in that folder, and on stdout one JSON line:
documents and CPU seconds of each stage.
"""

import json
import sys

from pydantic import BaseModel

from tasks.common.manifest import ArtifactRef, Manifest
from tasks.common.stage import Machine, Stage, materialise
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE as CRAWL
from tasks.dedup.config import DedupConfig
from tasks.dedup.stage import STAGE as DEDUP
from tasks.extract.config import ExtractConfig
from tasks.extract.stage import STAGE as EXTRACT
from tasks.filter.config import FilterConfig
from tasks.filter.stage import STAGE as FILTER


def main(archive: str, folder: str) -> None:
    """Take the archive through crawl, extract, filter and dedup, with one worker."""
    machine = Machine(store=folder, num_workers=1)
    stages: list[tuple[Stage, BaseModel, str | None]] = [
        (CRAWL, SourceConfig(name="pages", type="warc", paths=[archive]), None),
        (EXTRACT, ExtractConfig(source="pages"), "pages"),
        (FILTER, FilterConfig(languages=[], c4=True), "documents"),
        (DEDUP, DedupConfig(), "documents"),
    ]
    steps = []
    made: list[ArtifactRef] = []
    for stage, config, reads in stages:
        inputs: dict[str, list[ArtifactRef]] = {name: [] for name in stage.inputs}
        if reads:
            inputs[reads] = made
        manifest, _ = materialise(stage, config, inputs, machine)
        made = [manifest.ref]
        steps.append(_summary(manifest))
    print(json.dumps(steps))


def _summary(manifest: Manifest) -> dict[str, object]:
    return {
        "step": manifest.identity.stage,
        "seconds": manifest.provenance.cpu_seconds,
        "documents": manifest.funnel.num_kept if manifest.funnel else None,
        "num_in": manifest.funnel.num_in if manifest.funnel else None,
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
