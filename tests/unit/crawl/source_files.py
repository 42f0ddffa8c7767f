"""What tests of sources share: take a folder in, and see the page table and the records."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from warcio.archiveiterator import ArchiveIterator

from tasks.common.manifest import Manifest
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE


def source(*paths: Path, **fields: Any) -> SourceConfig:
    return SourceConfig(name="notes", **{"type": "files", "paths": [*map(str, paths)], **fields})


def taken(machine: Machine, config: SourceConfig) -> tuple[Manifest, list[dict], list[dict]]:
    """The manifest, the page table's rows, and the records: their headers and their body."""
    manifest, _ = materialise(STAGE, config, {}, machine)
    artifact = Store(machine.store).open(manifest.ref)
    rows = pq.read_table(artifact.fetch("pages.parquet")).to_pylist()
    records = []
    for name in artifact.names(".warc.gz"):
        with artifact.fetch(name).open("rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type == "resource":
                    body = record.content_stream().read()
                    records.append({**dict(record.rec_headers.headers), "body": body, "in": name})
    return manifest, rows, records
