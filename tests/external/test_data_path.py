"""Real archives, whole and damaged, through extract, filter and dedup.

Run with ``pytest tests/external --external-data=PATH``; PATH holds ``web/real-warc``.
"""

from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from tasks.common.manifest import ArtifactRef, Manifest
from tasks.common.stage import Machine, materialise
from tasks.extract.config import ExtractConfig
from tasks.extract.stage import STAGE as EXTRACT
from tasks.filter.config import FilterConfig
from tasks.filter.stage import STAGE as FILTER
from tests.stages import deduplicate
from tests.unit.extract.archive_fixtures import given_archives

pytestmark = pytest.mark.external
PAGES = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion


def archives(external_data: Path) -> dict[str, bytes]:
    folder = external_data / "web" / "real-warc"
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def extract(machine: Machine, files: dict[str, bytes]) -> Manifest:
    pages = given_archives(machine, files)
    config = ExtractConfig(source="real")
    return materialise(EXTRACT, config, {"pages": [pages]}, machine)[0]


def run_on(machine: Machine, extracted: ArtifactRef) -> Manifest:
    filtered, _ = materialise(FILTER, FilterConfig(), {"documents": [extracted]}, machine)
    return deduplicate(machine, [filtered.ref])


def test_whole_archives_lose_nothing(machine: Machine, external_data: Path, tmp_path: Path):
    files = archives(external_data)
    manifest = extract(machine, files)
    num_pages = 0
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with (tmp_path / name).open("rb") as file:
            num_pages += sum(1 for _ in ArchiveIterator(file, record_types=PAGES))
    assert manifest.funnel.num_in == num_pages
    assert "damaged_record" not in manifest.funnel.dropped
    assert "truncated_record" not in manifest.funnel.dropped
    final = run_on(machine, manifest.ref)
    assert 30 < final.funnel.num_kept < manifest.funnel.num_kept


def test_one_bad_byte_an_archive_costs_one_record_an_archive(machine: Machine, external_data: Path):
    files = {name: data for name, data in archives(external_data).items() if len(data) > 50_000}
    whole = extract(machine, files)
    damaged = {name: _flipped(data, len(data) // 2) for name, data in files.items()}
    manifest = extract(machine, damaged)
    assert manifest.funnel.dropped["damaged_record"] == len(files)
    lost = _records(whole) - _records(manifest)
    assert lost == 0, "a damaged record was not counted, or more than one was lost"
    assert run_on(machine, manifest.ref).funnel.num_kept > 20


def test_a_cut_archive_is_read_to_its_last_whole_record(machine: Machine, external_data: Path):
    files = {name: data for name, data in archives(external_data).items() if len(data) > 50_000}
    cut = {name: data[: len(data) * 2 // 3] for name, data in files.items()}
    manifest = extract(machine, cut)
    assert manifest.funnel.dropped["truncated_record"] == len(files)
    assert manifest.funnel.num_kept > 50


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def _records(manifest: Manifest) -> int:
    """All records of any type: what was damaged may have been a request."""
    assert manifest.funnel
    return manifest.funnel.num_in + sum(manifest.metrics["skipped_records"].values())
