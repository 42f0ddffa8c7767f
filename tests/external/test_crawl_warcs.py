"""Real archives, as other crawlers made them, come in unchanged."""

import hashlib
from pathlib import Path

import pytest

from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE


@pytest.mark.external
def test_real_archives_come_in_byte_for_byte(external_data: Path, machine: Machine):
    folder = external_data / "web" / "real-warc"
    config = SourceConfig(name="real", type="warc", paths=[str(folder)])
    manifest, _ = materialise(STAGE, config, {}, machine)
    taken = {entry.name: entry.sha256 for entry in manifest.files if entry.rows is None}
    assert taken == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()
    }
    assert manifest.funnel is not None
    assert manifest.funnel.num_kept == len(taken) > 0
    assert Store(machine.store).verify(manifest.ref) == []
