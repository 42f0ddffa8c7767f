"""A crawl of a real site on loopback: what it keeps, what it refuses, and what it asks for."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from warcio.archiveiterator import ArchiveIterator as SlowIterator

from tasks.common.manifest import Manifest
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.crawl import fetch
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE
from tests.unit.crawl.crawl_site import (
    HOST,
    Site,
    html,
    links,
    numbered_site,
    serving,
    trap_site,
)

BASE = f"http://{HOST}"
PROJECT = Path(__file__).parents[3]
CRAWL_SCRIPT = """
import json, sys
from tasks.common.stage import Machine, materialise
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE
machine, config = map(json.loads, sys.argv[1:])
materialise(STAGE, SourceConfig(**config), {}, Machine(**machine))
"""


def source(**fields: object) -> SourceConfig:
    given = {"seeds": [f"{BASE}/"], "snapshot": "2026-11-21", "delay_seconds": 0, **fields}
    return SourceConfig(name="site", type="web", **given)


def reaching(site: Site, machine: Machine) -> Machine:
    return machine.model_copy(update={"connect_to": {HOST: site.address}})


def crawl(site: Site, machine: Machine, **fields: object) -> tuple[Manifest, dict[str, dict]]:
    """The manifest and the page table, by URL without the site's own prefix."""
    manifest, _ = materialise(STAGE, source(**fields), {}, reaching(site, machine))
    table = pq.read_table(Store(machine.store).open(manifest.ref).fetch("pages.parquet"))
    return manifest, {row["url"].removeprefix(BASE): row for row in table.to_pylist()}


def checksums(manifest: Manifest) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in manifest.files}


@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple]:
    """One crawl of the site of traps, and the site that remembers it."""
    machine = Machine(store=str(tmp_path_factory.mktemp("store")), num_workers=1)
    patience = fetch.RETRY_SECONDS
    fetch.RETRY_SECONDS = 0.05
    with serving(trap_site()) as site:
        manifest, rows = crawl(
            site, machine, max_page_bytes=100_000, timeout_seconds=1, delay_seconds=0.001
        )
        yield site, machine, manifest, rows
    fetch.RETRY_SECONDS = patience


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/secret/plan", "robots"),
        ("/moved", "redirect"),
        ("/loop", "redirect"),
        ("/loop2", "redirect"),
        ("/to-private", "redirect"),
        ("http://10.0.0.1/metadata", "off_site"),
        ("http://elsewhere.test/", "off_site"),
        ("/huge", "too_large"),
        ("/bomb", "too_large"),
        ("/never", "status_503"),
        ("/slow", "timeout"),
        ("/picture", "content_type"),
        ("/noindex", "noindex"),
        ("/gone", "status_404"),
        *[
            (path, None)
            for path in (
                "/",
                "/page.html",
                "/arrived",
                "/busy",
                "/plain",
                "/packed",
                "/behind-noindex",
            )
        ],
        ("/other/child", None),
        ("/other/?q=2&q=1", None),
    ],
)
def test_each_url_is_kept_or_refused_for_the_right_reason(trapped, path, reason):
    assert trapped[3][path]["reason"] == reason


def test_links_that_ask_not_to_be_followed_are_not_known(trapped):
    unknown = {"/sold", "/commented", "/behind-nofollow", "/from-plain", "mailto:a@b.test"}
    assert not unknown & trapped[3].keys()


def test_the_site_is_asked_once_for_a_page_and_never_for_what_it_forbids(trapped):
    site = trapped[0]
    assert site.asked["/secret/plan"] == 0
    assert site.asked["/robots.txt"] == 1
    assert site.asked["/page.html"] == 1
    assert site.asked["/busy"] == 2  # it said to come back at once
    assert site.asked["/never"] == 1  # it said to come back in hours


def test_requests_carry_the_logical_host_and_an_honest_name(trapped):
    assert trapped[0].hosts == {HOST}
    assert all(agent.startswith("BloomeryBot") for agent in trapped[0].agents)


def test_the_ledger_balances_with_the_page_table(trapped):
    _, _, manifest, rows = trapped
    kept = [row for row in rows.values() if row["reason"] is None]
    assert manifest.funnel.num_in == len(rows)
    assert manifest.funnel.num_kept == manifest.metrics["pages"] == len(kept)
    assert manifest.metrics["bytes"] == sum(row["bytes"] for row in kept)


def test_two_readers_find_the_same_pages_in_the_archive(trapped):
    _, machine, manifest, rows = trapped
    artifact = Store(machine.store).open(manifest.ref)
    fast, slow = {}, {}
    for name in artifact.names(".warc.gz"):
        with artifact.fetch(name).open("rb") as file:
            for record in FastIterator(file):
                fast[record.headers.get("WARC-Target-URI")] = record.reader.read()
        with artifact.fetch(name).open("rb") as file:
            for record in SlowIterator(file, check_digests="raise"):
                url = record.rec_headers.get_header("WARC-Target-URI")
                slow[url] = record.content_stream().read()
    fast.pop(None), slow.pop(None)  # the records that open the files
    assert fast == slow
    assert {url.removeprefix(BASE) for url in fast} == {
        url for url, row in rows.items() if row["reason"] is None
    }
    assert fast[f"{BASE}/packed"] == b"<p>unpacked</p>"


def test_private_addresses_are_refused_by_number_by_name_and_after_a_redirect(machine):
    pages = {"/": (302, {"Location": "http://[::ffff:127.0.0.1]:1/"}, b""), "/open": html("")}
    with serving(Site(pages)) as site:
        port = site.address.rpartition(":")[2]
        private = [f"http://127.0.0.1:{port}/", f"http://localhost:{port}/", "http://0x7f.1/"]
        seeds = [f"{BASE}/", f"{BASE}/open", *private]
        _, rows = crawl(site, machine, seeds=seeds, include=["."])
    reasons = {url: row["reason"] for url, row in rows.items()}
    assert (reasons.pop("/"), reasons.pop("/open")) == ("redirect", None)
    assert set(reasons.values()) == {"private_address"}
    assert set(site.hosts) == {HOST}  # nothing was asked of the others


def test_private_addresses_can_be_allowed(machine):
    with serving(numbered_site(2)) as site:
        seeds = [f"http://{site.address}/"]
        config = source(seeds=seeds, allow_private_addresses=True)
        manifest, _ = materialise(STAGE, config, {}, machine)
    assert manifest.funnel.num_kept == 3


def test_a_calendar_without_end_is_left_at_the_depth_or_the_number_of_pages(machine):
    days = {f"/{day}": html(links(f"/{day + 1}")) for day in range(50)}
    with serving(Site({"/": html(links("/0")), **days})) as site:
        _, by_depth = crawl(site, machine, max_depth=4)
        manifest, by_pages = crawl(site, machine, max_pages=7)
    assert sum(row["reason"] is None for row in by_depth.values()) == 5
    assert by_depth["/4"]["reason"] == "max_depth"
    assert manifest.funnel.num_kept == 7
    assert by_pages["/6"]["reason"] == "max_pages"


def test_the_measure_of_bytes_is_kept_in_order(machine):
    with serving(numbered_site(20, pause_seconds=0.002)) as site:
        manifest, rows = crawl(site, machine, max_total_bytes=2000)
    kept = [row["bytes"] for row in rows.values() if row["reason"] is None]
    assert sum(kept) >= 2000 > sum(kept[:-1])
    assert manifest.funnel.dropped["max_total_bytes"] == 21 - len(kept)


@pytest.mark.parametrize("status", [404, 401])
def test_a_missing_robots_txt_allows(machine, status):
    site = numbered_site(0)
    site.pages["/robots.txt"] = (status, {}, b"")
    with serving(site):
        _, rows = crawl(site, machine)
    assert rows["/"]["reason"] is None


def test_a_failing_robots_txt_forbids_and_a_crawl_of_nothing_is_not_kept(machine, store):
    site = numbered_site(0)
    site.pages["/robots.txt"] = (503, {"Retry-After": "999"}, b"")
    with serving(site), pytest.raises(ValueError, match="robots_unreachable"):
        crawl(site, machine)
    assert site.asked["/"] == 0
    assert list(store.manifests()) == []
    site.pages["/robots.txt"] = (404, {}, b"")
    with serving(site):  # the refusal was not remembered
        manifest, _ = crawl(site, machine)
    assert manifest.funnel.num_kept == 1


def test_robots_txt_is_found_behind_a_redirect(machine):
    site = numbered_site(1)
    site.pages["/robots.txt"] = (301, {"Location": "/elsewhere.txt"}, b"")
    site.pages["/elsewhere.txt"] = (200, {}, b"User-agent: bloomerybot\nDisallow: /0")
    with serving(site):
        _, rows = crawl(site, machine)
    assert rows["/0"]["reason"] == "robots"


def test_the_larger_of_two_delays_is_kept(machine):
    site = numbered_site(3)
    site.pages["/robots.txt"] = (200, {}, b"User-agent: *\nCrawl-delay: 0.3")
    with serving(site):
        started = time.monotonic()
        crawl(site, machine, delay_seconds=0.01, max_connections_per_host=8)
    assert time.monotonic() - started >= 3 * 0.3  # four pages, three pauses between them


def test_an_unreachable_host_is_refused_by_name(machine, monkeypatch):
    monkeypatch.setattr(fetch, "RETRY_SECONDS", 0.01)
    with serving(numbered_site(0)) as site:
        pass
    with pytest.raises(ValueError, match="robots_unreachable"):
        crawl(site, machine)


def test_equal_crawls_make_equal_bytes_whatever_the_order_of_answers(tmp_path):
    made = []
    for pause in (0.0, 0.004):
        with serving(numbered_site(30, pause)) as site:
            machine = Machine(store=str(tmp_path / str(pause)), num_workers=1)
            made.append(checksums(crawl(site, machine, max_connections_per_host=8)[0]))
    assert made[0] == made[1]


def test_a_new_snapshot_is_another_artifact_and_pace_is_not(machine):
    def ref(**fields: object) -> object:
        return STAGE.identify(source(**fields), {}).ref()

    assert ref(snapshot="2026-11-22") != ref()
    assert ref(delay_seconds=9, max_connections_per_host=1) == ref()
    assert ref(seeds=["HTTP://Site.test:80"]) == ref()


def test_a_killed_crawl_goes_on_where_it_was_and_ends_the_same(tmp_path):
    num_pages = 250
    with serving(numbered_site(num_pages)) as site:
        whole = Machine(store=str(tmp_path / "whole"), num_workers=1)
        undisturbed = checksums(crawl(site, whole)[0])
    with serving(numbered_site(num_pages, pause_seconds=0.005)) as site:
        machine = reaching(site, Machine(store=str(tmp_path / "killed"), num_workers=1))
        config = source()
        child = subprocess.Popen(
            [sys.executable, "-c", CRAWL_SCRIPT]
            + [model.model_dump_json() for model in (machine, config)],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )
        while sum(site.asked.values()) < 150:  # in the midst of the third round
            assert child.poll() is None, "the crawl ended before it could be killed"
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        child.wait()
        time.sleep(0.1)  # answers that are under way
        before = dict(site.asked)
        committed = _committed_urls(tmp_path / "killed")
        assert len(committed) >= 101
        manifest, _ = materialise(STAGE, config, {}, machine)
    assert checksums(manifest) == undisturbed
    again = {path for path in before if site.asked[path] > before[path]}
    assert not again & committed
    assert len(again - {"/robots.txt"}) <= 100


def test_a_crawl_that_is_told_to_stop_stops_and_says_how_to_go_on(machine):
    with serving(numbered_site(30)) as site:
        with pytest.raises(RuntimeError, match="run it again"):
            materialise(
                STAGE,
                source(),
                {},
                reaching(site, machine),
                should_stop=lambda: sum(site.asked.values()) > 2,
            )
        assert sum(site.asked.values()) < 30
        manifest, _ = crawl(site, machine)
    assert site.asked["/"] == 1
    assert manifest.funnel.num_kept == 31


def test_a_mistake_in_connect_to_is_named(machine):
    with pytest.raises(ValueError, match="write address:port"):
        materialise(STAGE, source(), {}, machine.model_copy(update={"connect_to": {HOST: "x"}}))


def _committed_urls(store: Path) -> set[str]:
    records = store.glob(".scratch/crawl/*/.commits/round-*.json")
    return {
        row["url"].removeprefix(BASE)
        for record in records
        for row in json.loads(record.read_text())["result"]["rows"]
    }
