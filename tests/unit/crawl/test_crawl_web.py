"""A crawl of a real site on loopback: what it keeps, what it refuses, and what it asks for."""

import asyncio
import gzip
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from warcio.archiveiterator import ArchiveIterator as SlowIterator

from tasks.common.manifest import Manifest
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.crawl import fetch
from tasks.crawl.addresses import Allowance, GuardedResolver, PrivateAddressError
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE
from tests.unit.crawl.crawl_site import (
    HOST,
    Site,
    html,
    links,
    numbered_site,
    serving,
    sitemap,
    sitemap_index,
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
            site,
            machine,
            max_page_bytes=100_000,
            timeout_seconds=1,
            delay_seconds=0.001,
            max_urls_per_pattern=20,
        )
        yield site, machine, manifest, rows
    fetch.RETRY_SECONDS = patience


REFUSED = {
    "robots": ["/secret/plan"],
    "redirect": ["/moved", "/loop", "/loop2", "/to-private", *(f"/hop/{n}" for n in range(1, 7))],
    "too_many_redirects": ["/hop/7"],
    "bad_redirect": ["/to-nowhere"],
    "off_site": ["http://10.0.0.1/metadata", "http://elsewhere.test/", "http://127.0.0.1:9/"],
    "too_large": [
        "/huge",
        "/endless",
        "/bomb-gzip",
        "/bomb-deflate",
        "/bomb-br",
        "/bomb-zstd",
        "/bomb-twice",
    ],
    "content_encoding": ["/layers", "/unpackable", "/cut", "/unknown"],
    "timeout": ["/slow", "/drip"],
    "connection": ["/many-headers"],
    "status_503": ["/never"],
    "status_404": ["/gone"],
    "content_type": ["/picture"],
    "noindex": ["/noindex"],
    "noai": ["/noai", "/noai-meta", "/noai-to-us", "/two-headers"],
    "tdm_reservation": ["/tdm", "/tdm-meta", "/mine/gold"],
    "duplicate": ["/print", "/amp"],
    "repeating_path": ["/again/again/again/"],
    "long_query": ["/find?" + "&".join(f"key{n}=value" for n in range(20))],
}
KEPT = [
    "/",
    "/page.html",
    "/arrived",
    "/busy",
    "/plain",
    "/packed-gzip",
    "/packed-deflate",
    "/packed-br",
    "/packed-zstd",
    "/nofollow",
    "/behind-noindex",
    "/noimageai",
    "/to-others",
    "/tdm-not",
    "/mine/open",
    "/syndicated",
    "/template",
    "/deep/base",
    "/other/child",
    "/other/?q=2&q=1",
    "/shop",
    "/again/",
    "/again/again/",
]


def test_each_url_is_kept_or_refused_for_the_right_reason(trapped):
    rows = {path: row["reason"] for path, row in trapped[3].items()}
    expected = {path: reason for reason, paths in REFUSED.items() for path in paths}
    expected |= dict.fromkeys(KEPT)
    assert {path: rows.get(path, "unknown") for path in expected} == expected
    endless = {path: why for path, why in rows.items() if path not in expected}
    assert all(path.startswith(("/calendar/", "/search?q=")) for path in endless)
    assert set(endless.values()) == {None, "pattern_budget"}


def test_endless_pages_cost_their_budget_and_no_more(trapped):
    asked = trapped[0].asked
    for prefix in ("/calendar/", "/search"):
        assert sum(n for path, n in asked.items() if path.startswith(prefix)) == 20
    assert sum(n for path, n in asked.items() if path.startswith("/shop")) == 1


def test_what_a_site_reserves_is_not_even_asked_for(trapped):
    assert trapped[0].asked["/mine/gold"] == 0
    assert trapped[0].asked["/.well-known/tdmrep.json"] == 1


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


@pytest.mark.parametrize(
    ("switched_off", "kept"),
    [
        ("respect_robots_txt", {"/secret/plan"}),
        ("respect_robots_tags", {"/noindex", "/behind-nofollow", "/sold"}),
        ("respect_opt_out", {"/noai", "/noai-meta", "/noai-to-us", "/tdm", "/tdm-meta", "/mine/x"}),
    ],
)
def test_each_signal_can_be_switched_off_for_a_site_that_is_ones_own(machine, switched_off, kept):
    site = trap_site()
    site.pages |= dict.fromkeys(["/secret/plan", "/mine/x", "/sold", "/behind-nofollow"], html(""))
    shown = [*sorted(kept - {"/behind-nofollow", "/sold"}), "/nofollow"]
    site.pages["/"] = html(links(*shown) + '<a rel="nofollow" href="/sold">ad</a>')
    with serving(site):
        _, rows = crawl(site, machine)
        assert {path for path in kept if path in rows and rows[path]["reason"] is None} == set()
        _, rows = crawl(site, machine, **{switched_off: False})
    assert {path for path in kept if rows[path]["reason"] is None} == kept


def test_a_site_that_forbids_training_is_not_asked_for_its_pages(machine):
    site = numbered_site(2)
    site.pages["/robots.txt"] = (200, {}, b"User-agent: *\nContent-Signal: /1 ai-train=no")
    with serving(site):
        _, rows = crawl(site, machine)
        assert site.asked["/1"] == 0
        _, mine = crawl(site, machine, respect_opt_out=False)
    assert (rows["/1"]["reason"], mine["/1"]["reason"]) == ("no_training", None)


def test_sides_can_be_taken_with_robots_that_sites_name(machine):
    site = numbered_site(2)
    site.pages["/robots.txt"] = (200, {}, b"User-agent: GPTBot\nDisallow: /1")
    with serving(site):
        _, rows = crawl(site, machine)
        _, sided = crawl(site, machine, robots_agents=["GPTBot", "CCBot"])
    assert (rows["/1"]["reason"], sided["/1"]["reason"]) == (None, "robots_others")


def test_sitemaps_lead_to_pages_that_nobody_links_to(machine):
    laughs = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><urlset>&b;</urlset>'
    site = Site(
        {
            "/": html("alone"),
            "/robots.txt": (200, {}, b"Disallow:\nSitemap: /maps/index.xml\nSitemap: /laughs.xml"),
            "/maps/index.xml": (200, {}, sitemap_index("/maps/a.xml.gz", "/maps/index.xml", "b")),
            "/maps/a.xml.gz": (200, {}, gzip.compress(sitemap("/a1", "/a2?utm_medium=x"))),
            "/maps/b": (200, {}, b"http://site.test/b1\nhttp://elsewhere.test/\nnoise"),
            "/laughs.xml": (200, {}, laughs),
            **{path: html(path) for path in ("/a1", "/a2", "/b1")},
        }
    )
    with serving(site):
        manifest, rows = crawl(site, machine)
        none, _ = crawl(site, machine, follow_sitemaps=False)
        few, _ = crawl(site, machine, max_sitemap_urls=1)
    assert {path for path, row in rows.items() if row["reason"] is None} == {
        *("/", "/a1", "/a2", "/b1"),
    }
    assert rows["http://elsewhere.test/"]["reason"] == "off_site"
    assert rows["/a1"]["depth"] == 1
    assert manifest.metrics["sitemaps"] == {"doctype": 1, "files": 4, "urls": 4}
    assert none.metrics["sitemaps"] == {}
    assert few.metrics["sitemaps"]["urls"] == 1


def test_links_beyond_the_memory_of_a_crawl_are_counted(machine):
    with serving(numbered_site(30)) as site:
        manifest, rows = crawl(site, machine, max_known_urls=10)
    assert len(rows) == 10
    assert manifest.metrics["links_beyond_max_known_urls"] == 21


def test_a_host_that_only_makes_errors_is_left_at_its_budget(machine):
    site = Site({"/": html(links(*(f"/x{n}y" for n in range(50))))})
    with serving(site):
        manifest, _ = crawl(site, machine, max_urls_per_host=21)
    assert manifest.funnel.dropped == {"host_budget": 30, "status_404": 20}


def test_two_readers_find_the_same_pages_in_the_archive(trapped):
    _, machine, manifest, rows = trapped
    artifact = Store(machine.store).open(manifest.ref)
    fast, slow = {}, {}
    for name in artifact.names(".warc.gz"):
        with artifact.fetch(name).open("rb") as file:
            for record in FastIterator(file, parse_http=True):
                has_page = record.headers["WARC-Type"] == "response"
                assert not has_page or record.verify_payload_digest(consume=False)
                fast[record.headers.get("WARC-Target-URI")] = record.reader.read()
        with artifact.fetch(name).open("rb") as file:
            for record in SlowIterator(file, check_digests="raise"):
                url = record.rec_headers.get_header("WARC-Target-URI")
                assert record.rec_headers.get_header("WARC-Block-Digest")
                slow[url] = record.content_stream().read()
    fast.pop(None), slow.pop(None)  # the records that open the files
    assert fast == slow
    assert {url.removeprefix(BASE) for url in fast} == {
        url for url, row in rows.items() if row["reason"] is None
    }
    assert fast[f"{BASE}/packed-zstd"] == b"<p>unpacked</p>"


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


def test_a_name_that_changes_its_address_gains_nothing(monkeypatch):
    """DNS rebinding: whatever the name server says, no private address is connected to."""
    answers = itertools.cycle(["127.0.0.1", "192.0.2.1", "10.0.0.1", "::1", "169.254.169.254"])

    def rebinding(host, port, *_args, **_kwargs):
        address = next(answers)
        if ":" in address:
            return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)

    async def resolve_all() -> list[str]:
        resolver = GuardedResolver({}, Allowance())
        refused = []
        for _ in range(15):
            try:
                refused.append(await resolver.resolve("rebinding.test", 80))
            except PrivateAddressError:
                refused.append("private")
        return refused

    assert asyncio.run(resolve_all()) == ["private"] * 15


def test_only_the_private_places_that_are_named_can_be_reached(machine):
    with serving(numbered_site(2)) as site:
        port = site.address.rpartition(":")[2]
        seeds = [f"http://{site.address}/", f"http://localhost:{port}/", "http://10.0.0.1/"]
        kept = []
        for places in (["127.0.0.0/8"], ["localhost"], ["127.0.0.1"]):
            config = source(seeds=seeds, private_hosts=places, max_depth=0)
            manifest, _ = materialise(STAGE, config, {}, machine)
            table = pq.read_table(Store(machine.store).open(manifest.ref).fetch("pages.parquet"))
            rows = table.to_pylist()
            kept.append({row["url"] for row in rows if row["reason"] is None})
            assert {row["reason"] for row in rows} == {None, "private_address", "max_depth"}
    assert kept == [set(seeds[:2]), {seeds[1]}, set(seeds[:2])]
    with pytest.raises(ValueError, match=r"write 10\.1\.0\.0/16"):
        source(private_hosts=["10.1.2.3/16"])


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


def test_requests_to_one_host_keep_the_larger_of_two_delays_and_hosts_do_not_wait_for_each_other(
    machine,
):
    hosts = ("slow.test", "fast.test")
    with serving(numbered_site(4)) as site:
        machine = machine.model_copy(update={"connect_to": dict.fromkeys(hosts, site.address)})
        robots = (200, {}, b"User-agent: *\nCrawl-delay: 0.2")
        site.by_host["slow.test"] = {"/robots.txt": robots}
        seeds = [f"http://{host}/" for host in hosts]
        config = source(seeds=seeds, delay_seconds=0.05, max_connections_per_host=8)
        materialise(STAGE, config, {}, machine)
    spent = {}
    for host, delay in zip(hosts, (0.2, 0.05), strict=True):
        times = [request.started for request in site.requests if request.host == host]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert len(gaps) == 7  # robots.txt, reservations, sitemap and five pages
        assert min(gaps[1:]) > 0.9 * delay  # the first gap: the site had not yet been asked
        spent[host] = times[-1] - times[0]
    assert spent["fast.test"] < spent["slow.test"]


def test_a_host_that_waited_for_a_connection_is_not_asked_in_a_burst_after_it(machine):
    site = numbered_site(4)
    site.by_host["slow.test"] = {"/0": lambda _: time.sleep(0.6) or html("slow")}
    with serving(site):
        hosts = dict.fromkeys(["quick.test", "slow.test"], site.address)
        machine = machine.model_copy(update={"connect_to": hosts})
        seeds = ["http://slow.test/0", *(f"http://quick.test/{number}" for number in range(4))]
        config = source(seeds=seeds, delay_seconds=0.1, max_connections=1, max_depth=0)
        materialise(STAGE, config, {}, machine)
    times = [request.started for request in site.requests if request.host == "quick.test"]
    assert max(after - before for before, after in itertools.pairwise(times)) > 0.5  # it waited
    assert min(after - before for before, after in itertools.pairwise(times)) > 0.09


def test_no_more_requests_are_under_way_than_a_host_may_have(machine):
    with serving(numbered_site(30, pause_seconds=0.01)) as site:
        crawl(site, machine, max_connections_per_host=3)
    moments = sorted(
        [(request.started, 1) for request in site.requests]
        + [(request.ended, -1) for request in site.requests]
    )
    assert max(itertools.accumulate(step for _, step in moments)) == 3


def test_a_storm_of_refusals_is_answered_by_silence(machine, monkeypatch):
    monkeypatch.setattr(fetch, "RETRY_SECONDS", 0.001)
    site = numbered_site(60)
    site.pages |= {f"/{n}": (429, {}, b"") for n in range(60)}
    with serving(site):
        manifest, _ = crawl(site, machine, max_connections_per_host=1)
    dropped = manifest.funnel.dropped
    assert dropped == {"status_429": fetch.MAX_HOST_FAILURES, "host_unavailable": 50}
    times = [r.started for r in site.requests if r.path.strip("/").isdigit()]
    assert len(times) == fetch.MAX_HOST_FAILURES
    for number, (before, after) in enumerate(itertools.pairwise(times)):
        assert after - before >= 0.001 * 2**number  # twice as long each time


def test_a_host_is_not_asked_again_before_it_said(machine):
    site = numbered_site(5)
    site.pages["/0"] = lambda asked: (
        (429, {"Retry-After": "1"}, b"") if asked == 1 else html("patience")
    )
    with serving(site):
        _, rows = crawl(site, machine, max_connections_per_host=1)
        times = [request.started for request in site.requests]
        refused = next(i for i, request in enumerate(site.requests) if request.path == "/0")
        assert times[refused + 1] - times[refused] > 0.9
        site.pages["/0"] = (429, {"Retry-After": "7200"}, b"")
        site.requests.clear()
        _, later = crawl(site, machine, max_connections_per_host=1, snapshot="later")
    assert rows["/0"]["reason"] is None
    assert later["/0"]["reason"] == "status_429"
    assert {later[f"/{n}"]["reason"] for n in range(1, 5)} == {"host_unavailable"}
    assert not {f"/{n}" for n in range(1, 5)} & site.asked.keys()


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


def test_a_snapshot_may_be_written_as_a_date():
    assert source(snapshot=date(2026, 11, 21)) == source(snapshot="2026-11-21")


def test_a_new_snapshot_is_another_artifact_and_pace_is_not(machine):
    def ref(**fields: object) -> object:
        return STAGE.identify(source(**fields), {}).ref()

    assert ref(snapshot="2026-11-22") != ref()
    assert ref(delay_seconds=9, max_connections_per_host=1) == ref()
    assert ref(seeds=["HTTP://Site.test:80"]) == ref()


def test_a_killed_crawl_goes_on_where_it_was_and_asks_for_no_page_again(tmp_path):
    num_pages = 250
    with serving(numbered_site(num_pages)) as site:
        whole = Machine(store=str(tmp_path / "whole"), num_workers=1)
        undisturbed = checksums(crawl(site, whole)[0])
    with serving(numbered_site(num_pages, pause_seconds=0.005)) as site:
        machine = reaching(site, Machine(store=str(tmp_path / "killed"), num_workers=1))
        config = source(max_connections_per_host=2)
        for num_asked in (40, 120):  # in the midst of a round, twice
            child = subprocess.Popen(
                [sys.executable, "-c", CRAWL_SCRIPT]
                + [model.model_dump_json() for model in (machine, config)],
                env={**os.environ, "PYTHONPATH": str(PROJECT)},
            )
            while len(site.requests) < num_asked:
                assert child.poll() is None, "the crawl ended before it could be killed"
                time.sleep(0.002)
            child.send_signal(signal.SIGKILL)
            child.wait()
            time.sleep(0.1)  # answers that are under way
        manifest, _ = materialise(STAGE, config, {}, machine)
    assert checksums(manifest) == undisturbed
    again = {path: times for path, times in site.asked.items() if times > 1}
    notes = {"/robots.txt", "/.well-known/tdmrep.json"}  # a site's wishes are asked for anew
    assert sum(again[path] - 1 for path in again.keys() - notes) <= 2 * 2  # two were under way
    assert len(site.asked) == num_pages + 1 + len(notes) + 1  # and its index, and its sitemap


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


def test_a_crawl_that_waits_for_a_slow_site_stops_soon(machine):
    site = numbered_site(3)
    site.pages |= {f"/{n}": lambda _: time.sleep(3) or html("late") for n in range(3)}
    told = []
    with serving(site), pytest.raises(RuntimeError, match="run it again"):
        materialise(
            STAGE,
            source(),
            {},
            reaching(site, machine),
            should_stop=lambda: site.asked["/0"] > 0 and not told.append(time.monotonic()),
        )
    assert time.monotonic() - told[0] < 1.5


def test_a_mistake_in_connect_to_is_named(machine):
    with pytest.raises(ValueError, match="write address:port"):
        materialise(STAGE, source(), {}, machine.model_copy(update={"connect_to": {HOST: "x"}}))
