"""Real archives behind a data host: each page is found by an index and comes in as it is."""

import io
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
from warcio.archiveiterator import ArchiveIterator

from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE
from tests.unit.crawl.archive_host import (
    CRAWL_ID,
    WARC_FOLDER,
    Fault,
    Located,
    Page,
    hosting,
    locate,
    write_index,
    write_listing,
)


def responses(data: bytes) -> list[str]:
    records = ArchiveIterator(io.BytesIO(data), arc2warc=True)
    urls = [
        record.rec_headers.get_header("WARC-Target-URI")
        for record in records
        if record.rec_type == "response"
    ]
    return [url for url in urls if urlsplit(url).hostname]


def build(folder: Path, root: Path) -> list[Located]:
    """Serve the real archives under Common Crawl's paths, and index them as warcio reads them."""
    located: list[Located] = []
    paths = {"warc": [], "wet": [], "wat": []}
    for file in sorted(folder.iterdir()):
        kind = next((k for k in ("wet", "wat") if f".{k}." in file.name), "warc")
        paths[kind].append(f"{WARC_FOLDER}/{kind}/{file.name}")
        target = root / paths[kind][-1]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        if kind == "warc":
            data = file.read_bytes()
            pages = {url: Page(url, 0) for url in responses(data)}
            located += locate(paths[kind][-1], data, pages)
    for kind, found in paths.items():
        write_listing(root, f"{kind}.paths.gz", found)
    write_index(root, located)
    return located


def source(url: str, **fields: object) -> SourceConfig:
    return SourceConfig(
        name="real",
        type="common-crawl",
        crawl_id=CRAWL_ID,
        base_url=url,
        requests_per_second=1000,
        **fields,
    )


@pytest.mark.external
def test_real_archives_by_listing_and_their_pages_by_index(
    external_data: Path, machine: Machine, tmp_path: Path
):
    folder = external_data / "web" / "real-warc"
    located = build(folder, tmp_path)
    with hosting(tmp_path) as host:
        for kind in ("warc", "wet", "wat"):
            config = source(host.url, crawl_part=kind, share=1)
            manifest, _ = materialise(STAGE, config, {}, machine)
            artifact = Store(machine.store).open(manifest.ref)
            for name in artifact.names(".gz"):
                assert artifact.fetch(name).read_bytes() == (folder / name).read_bytes()
        for path in {one.path for one in located}:
            host.faults[path] = [Fault(429, {"Retry-After": "0"}), Fault(after_bytes=1000)]
        config = source(host.url, share=1, max_pages=10_000, max_page_bytes=1 << 26)
        manifest, _ = materialise(STAGE, config, {}, machine)
    artifact = Store(machine.store).open(manifest.ref)
    rows = pq.read_table(artifact.fetch("pages.parquet")).to_pylist()
    assert len(rows) == len(located) > 200
    assert {row["reason"] for row in rows} == {None}
    located.sort(key=lambda one: (one.path, one.offset))
    for row, one in zip(rows, located, strict=True):
        member = (tmp_path / one.path).read_bytes()[one.offset :][: one.length]
        shard = artifact.fetch(row["shard"]).read_bytes()
        assert row["url"] == one.page.url
        assert shard[row["offset_bytes"] :][: one.length] == member
