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
from tasks.duplicates.config import DuplicatesConfig
from tasks.duplicates.stage import STAGE as DUPLICATES
from tasks.extract.config import ExtractConfig
from tasks.extract.stage import STAGE as EXTRACT
from tasks.filter.config import FilterConfig
from tasks.filter.stage import STAGE as FILTER
from tasks.signatures.config import SignaturesConfig
from tasks.signatures.stage import STAGE as SIGNATURES


def main(archive: str, folder: str) -> None:
    """Take the archive through crawl, extract, filter and dedup, with one worker."""
    machine = Machine(store=folder, num_workers=1)
    steps: list[dict[str, object]] = []

    def make(stage: Stage, config: BaseModel, **inputs: ArtifactRef) -> ArtifactRef:
        given = {name: [inputs[name]] if name in inputs else [] for name in stage.inputs}
        manifest, _ = materialise(stage, config, given, machine)
        steps.append(_summary(manifest))
        return manifest.ref

    pages = make(CRAWL, SourceConfig(name="pages", type="warc", paths=[archive]))
    texts = make(EXTRACT, ExtractConfig(source="pages"), pages=pages)
    kept = make(FILTER, FilterConfig(languages=[], recipes=["fineweb-all"]), documents=texts)
    signed = make(SIGNATURES, SignaturesConfig(), documents=kept)
    verdicts = make(DUPLICATES, DuplicatesConfig(), signatures=signed)
    make(DEDUP, DedupConfig(), documents=kept, duplicates=verdicts)
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
