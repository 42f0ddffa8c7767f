"""The demo's site: enough pages, the same bytes each time, nothing of this machine in them."""

import http.client
import socket
from pathlib import Path

import pyarrow.parquet as pq

from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.crawl import python_docs
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE

SAMPLE = ("json.decoder", "configparser", "sys", "os", "ctypes", "site", "unittest")


def sample_pages() -> dict[str, tuple[int, bytes]]:
    with python_docs.serving() as address:
        return {path: _get(address, path) for path in ("/", *(f"/{n}.html" for n in SAMPLE))}


def _get(address: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=30)
    connection.request("GET", path)
    response = connection.getresponse()
    return response.status, response.read()


def test_the_list_of_modules_is_long_and_safe():
    names = python_docs.module_names()
    assert len(names) > 300
    assert {"json.decoder", "os.path", "concurrent.futures.thread", "email.message"} & set(names)
    assert not {name.partition(".")[0] for name in names} & python_docs.UNSAFE
    assert not any(part.startswith("_") for name in names for part in name.split("."))


def test_the_site_serves_the_same_bytes_each_time_and_nothing_of_this_machine(monkeypatch):
    monkeypatch.setenv("A_SECRET", "hunter2")
    first, second = sample_pages(), sample_pages()
    assert first == second
    assert {status for status, _ in first.values()} == {200}
    assert first["/"][1].count(b"<li>") > 300
    everything = b"".join(body for _, body in first.values())
    for private in ("hunter2", f"{Path.home()}/", socket.gethostname() + "'"):
        assert private.encode() not in everything
    assert b"0x7f" not in everything


def test_it_is_an_ordinary_crawl_that_obeys_its_robots_txt(tmp_path):
    config = SourceConfig(name="docs", type="python-docs", include=[r"/(_?json|private)"])
    machine = Machine(store=str(tmp_path), num_workers=1)
    manifest, _ = materialise(STAGE, config, {}, machine)
    table = pq.read_table(Store(machine.store).open(manifest.ref).fetch("pages.parquet"))
    reasons = {
        row["url"].removeprefix(python_docs.BASE_URL): row["reason"] for row in table.to_pylist()
    }
    assert reasons[""] is reasons["json.html"] is reasons["json.decoder.html"] is None
    assert reasons["private/"] == "robots"
    assert manifest.funnel.num_kept >= 6
