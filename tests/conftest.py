"""Flags and fixtures that all tests share."""

import os
from pathlib import Path

import pytest

# Tests run side by side: threads of torch that wait for one another by spinning would stop both.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tasks.common.stage import Machine
from tasks.common.store import Store


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--external-data", metavar="PATH", help="run tests on the real data there")
    parser.addoption("--browser", action="store_true", help="run tests in a headless Chromium")
    parser.addoption("--screenshots", metavar="DIR", help="where browser tests leave pictures")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    skips = []
    if not config.getoption("--external-data"):
        skips.append(("external", pytest.mark.skip(reason="needs --external-data=PATH")))
    if not config.getoption("--browser"):
        skips.append(("browser", pytest.mark.skip(reason="needs --browser")))
    for item in items:
        for marker, skip in skips:
            if marker in item.keywords:
                item.add_marker(skip)


@pytest.fixture
def external_data(request: pytest.FixtureRequest) -> Path:
    folder = Path(request.config.getoption("--external-data")).resolve()
    assert folder.is_dir(), f"--external-data={folder} is not a folder"
    return folder


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A throw-away store and one worker."""
    return Machine(store=str(tmp_path / "store"), num_workers=1)


@pytest.fixture
def store(machine: Machine) -> Store:
    return Store(machine.store)
