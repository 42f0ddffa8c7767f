"""Common Crawl as a source: against a data host on loopback, with throttling, cuts and kills."""

import gzip
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastwarc.warc import ArchiveIterator
from pydantic import ValidationError

from tasks.common.manifest import Manifest
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.crawl import common_crawl, ranges, remote
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE
from tests.unit.crawl.archive_host import (
    CRAWL_ID,
    ArchiveHost,
    Fault,
    Located,
    Page,
    build_crawl,
    hosting,
    sample_pages,
    write_index,
    write_listing,
)

PROJECT = Path(__file__).resolve().parents[3]
CRAWL_SCRIPT = """
import sys
from tasks.common.stage import Machine, materialise
from tasks.crawl import common_crawl
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE
common_crawl.MAX_SHARD_PAGES = 60
machine, config = (m.model_validate_json(a) for m, a in zip((Machine, SourceConfig), sys.argv[1:]))
materialise(STAGE, config, {}, machine)
"""


@pytest.fixture(scope="module")
def crawl(tmp_path_factory) -> tuple[Path, list[Located]]:
    root = tmp_path_factory.mktemp("commoncrawl")
    return root, build_crawl(root, sample_pages())


@pytest.fixture
def host(crawl):
    with hosting(crawl[0]) as serving:
        yield serving


@pytest.fixture
def own_host(crawl, tmp_path):
    """A host whose files a test may change."""
    shutil.copytree(crawl[0], tmp_path / "root")
    with hosting(tmp_path / "root") as serving:
        yield serving


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.002)


def source(host: ArchiveHost, **fields: object) -> SourceConfig:
    return SourceConfig(
        name="cc",
        type="common-crawl",
        **{
            "crawl_id": CRAWL_ID,
            "base_url": host.url,
            "requests_per_second": 1000.0,
            **fields,
        },
    )


def take(machine: Machine, config: SourceConfig) -> tuple[Manifest, list[dict], Path]:
    """The manifest, the page table and the artifact's folder."""
    manifest, _ = materialise(STAGE, config, {}, machine)
    folder = Store(machine.store).open(manifest.ref).folder()
    return manifest, pq.read_table(folder / "pages.parquet").to_pylist(), folder


def contents(manifest: Manifest) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in manifest.files}


def archives(located: list[Located]) -> list[str]:
    return sorted({one.path for one in located})


def name_of(path: str) -> str:
    return path.rpartition("/")[2]


# Whole archives.


@pytest.mark.parametrize("part", ["warc", "wet", "wat"])
def test_whole_archives_come_in_byte_for_byte(host, machine, part):
    manifest, rows, folder = take(machine, source(host, crawl_part=part, share=1))
    listing = gzip.decompress((host.root / f"crawl-data/{CRAWL_ID}/{part}.paths.gz").read_bytes())
    paths = listing.decode().split()
    assert [row["url"] for row in rows] == [f"https://data.commoncrawl.org/{p}" for p in paths]
    assert len(paths) == manifest.funnel.num_kept == 3
    for path in paths:
        assert (folder / name_of(path)).read_bytes() == (host.root / path).read_bytes()


def test_a_greater_choice_holds_the_smaller_and_a_seed_chooses_others(host, machine):
    def chosen(**fields) -> set[str]:
        return {r["shard"] for r in take(machine, source(host, crawl_part="wet", **fields))[1]}

    one, two, three = (chosen(num_files=n) for n in (1, 2, 3))
    assert one < two < three and len(three) == 3
    assert chosen(share=0.34) == one and chosen(share=0.67) == two
    assert {frozenset(chosen(num_files=1, sample_seed=seed)) for seed in range(12)} == {
        frozenset([name]) for name in three
    }


def test_more_files_than_there_are_is_a_mistake(host, machine):
    with pytest.raises(ValueError, match="has 3 wet files only"):
        take(machine, source(host, crawl_part="wet", num_files=4))


def test_an_unknown_crawl_is_named_with_where_to_look(host, machine):
    with pytest.raises(ValueError, match=r"CC-MAIN-1999-01/wet.*index\.commoncrawl\.org"):
        take(machine, source(host, crawl_part="wet", num_files=1, crawl_id="CC-MAIN-1999-01"))


@pytest.mark.parametrize("name", ["../../manifest.json", "x/manifest.json", "x/.."])
def test_a_listing_cannot_name_what_is_no_archive(own_host, machine, name):
    write_listing(own_host.root, "wet.paths.gz", [name])
    with pytest.raises(ValueError, match="no archive file"):
        take(machine, source(own_host, crawl_part="wet", num_files=1))


# Faults.


def test_a_cut_download_is_continued_where_it_ended(host, machine, crawl):
    path = archives(crawl[1])[0]
    host.faults[path] = [Fault(after_bytes=50_000), Fault(after_bytes=30_000)]
    _, _, folder = take(machine, source(host, crawl_part="warc", share=1))
    assert (folder / name_of(path)).read_bytes() == (host.root / path).read_bytes()
    assert host.sent[path] == (host.root / path).stat().st_size, "no byte is sent twice"
    assert [a.range for a in host.asked if a.path == path] == [
        None,
        "bytes=50000-",
        "bytes=80000-",
    ]


@pytest.mark.parametrize("status", [403, 429, 500, 502, 503, 504])
def test_a_busy_host_is_asked_again(host, machine, crawl, status):
    path = archives(crawl[1])[0]
    host.faults[path] = [Fault(status), Fault(status)]
    host.faults[f"crawl-data/{CRAWL_ID}/warc.paths.gz"] = [Fault(status)]
    manifest, _, _ = take(machine, source(host, crawl_part="warc", share=1))
    assert manifest.funnel.num_kept == 3
    assert host.num_asked(path) == 3


def test_a_busy_host_is_left_alone_by_all_for_as_long_as_it_says(host, machine, crawl):
    first, *others = archives(crawl[1])
    host.faults[first] = [Fault(429, {"Retry-After": "1"})]
    for path in others:
        host.faults[path] = [Fault(pause_seconds=0.005)]
    take(machine, source(host, crawl_part="warc", share=1, max_connections_per_host=2))
    busy_at = next(asked.at for asked in host.asked if asked.path == first)
    later = [asked.at for asked in host.asked if asked.at > busy_at + 0.1]
    assert min(later) >= busy_at + 0.99


def test_pauses_grow_and_a_host_that_stays_busy_ends_the_run_which_then_goes_on(
    host, machine, crawl, store, caplog
):
    paths = archives(crawl[1])
    host.faults[paths[2]] = [Fault(503)] * remote.MAX_ATTEMPTS
    config = source(host, crawl_part="warc", share=1, max_connections_per_host=1)
    with pytest.raises(RuntimeError, match="status 503, 10 times in a row"):
        take(machine, config)
    assert list(store.manifests()) == []
    pauses = [float(p) for p in re.findall(r"asking again in ([\d.]+) s", caplog.text)]
    assert pauses == pytest.approx([0.002 * 2**n for n in range(remote.MAX_ATTEMPTS - 1)], rel=0.01)
    manifest, _, _ = take(machine, config)
    assert manifest.funnel.num_kept == 3
    assert [host.num_asked(path) for path in paths[:2]] == [1, 1], "committed ones are not redone"
    assert host.num_asked(f"crawl-data/{CRAWL_ID}/warc.paths.gz") == 1


def test_a_missing_archive_is_set_aside_with_its_reason(own_host, machine, crawl):
    gone = archives(crawl[1])[1]
    (own_host.root / gone).unlink()
    manifest, rows, _ = take(machine, source(own_host, crawl_part="warc", share=1))
    assert manifest.funnel.dropped == {"status_404": 1}
    assert [row["reason"] for row in rows] == [None, "status_404", None]
    assert gone in rows[1]["url"]


def test_two_versions_of_a_file_are_never_joined(own_host, machine, crawl, monkeypatch):
    path = archives(crawl[1])[0]
    own_host.faults[path] = [Fault(after_bytes=50_000), *[Fault(503)] * 9]
    monkeypatch.setattr(remote, "MAX_ATTEMPTS", 3)
    config = source(own_host, crawl_part="warc", share=1)
    with pytest.raises(RuntimeError, match="run it again"):
        take(machine, config)
    own_host.faults.clear()
    newer = gzip.compress(b"WARC/1.0\r\n" + os.urandom(100_000))
    (own_host.root / path).write_bytes(newer)
    _, _, folder = take(machine, config)
    assert (folder / name_of(path)).read_bytes() == newer


def test_a_host_without_byte_ranges_is_refused_before_it_sends_the_index(host, machine):
    host.serves_ranges = False
    with pytest.raises(ValueError, match="no byte ranges"):
        take(machine, source(host, hosts=["alpha.com"]))
    with pytest.raises(ValueError, match="no byte ranges"):
        take(machine, source(host, share=1))


def test_a_cut_download_from_a_host_without_ranges_starts_over(host, machine, crawl):
    host.serves_ranges = False
    path = archives(crawl[1])[0]
    host.faults[path] = [Fault(after_bytes=50_000)]
    _, _, folder = take(machine, source(host, crawl_part="warc", share=1))
    assert (folder / name_of(path)).read_bytes() == (host.root / path).read_bytes()


# Pages by the index.


def expected(located: list[Located], wanted) -> set[str]:
    return {one.page.url for one in located if wanted(one.page)}


def _is_plain(page: Page) -> bool:
    return page.status == 200 and page.mime == "text/html"


def _on(*names: str):
    return lambda p: _is_plain(p) and (p.host in names or p.domain in names)


def _in(page: Page, *languages: str) -> bool:
    return _is_plain(page) and (page.languages or "-").split(",")[0] in languages


def _by_url(page: Page) -> bool:
    wanted = "//docs." in page.url or "/5?" in page.url
    return _is_plain(page) and page.host.endswith(".com") and wanted and "alpha-" not in page.url


FILTERS = [
    ({"registered_domains": ["alpha.com"]}, _on("alpha.com")),
    ({"registered_domains": ["ALPHA.com.", "beta.de"]}, _on("alpha.com", "beta.de")),
    ({"hosts": ["docs.alpha-beta.org"]}, _on("docs.alpha-beta.org")),
    ({"hosts": ["192.0.2.7"]}, _on("192.0.2.7")),
    ({"tlds": ["de"]}, lambda p: _is_plain(p) and p.host.endswith(".de")),
    ({"share": 1, "languages": ["deu"]}, lambda p: _in(p, "deu")),
    (
        {"tlds": ["org"], "languages": ["deu", "fra"]},
        lambda p: _in(p, "deu", "fra") and p.host.endswith(".org"),
    ),
    ({"share": 1, "mime_types": ["application/pdf"]}, lambda p: p.mime == "application/pdf"),
    (
        {"hosts": ["alpha.com"], "mime_types": []},
        lambda p: p.host == "alpha.com" and p.status == 200,
    ),
    ({"hosts": ["alpha.com"], "statuses": [404]}, lambda p: p.status == 404),
    ({"hosts": ["alpha.com"], "statuses": [], "mime_types": []}, lambda p: p.host == "alpha.com"),
    ({"tlds": ["com"], "include": [r"//docs\.", r"/5\?"], "exclude": ["alpha-"]}, _by_url),
    ({"share": 1}, _is_plain),
]


@pytest.mark.parametrize(("fields", "wanted"), FILTERS, ids=[str(fields) for fields, _ in FILTERS])
def test_the_index_finds_the_pages_that_pass_and_no_others(host, machine, crawl, fields, wanted):
    manifest, rows, folder = take(machine, source(host, **fields))
    assert {row["url"] for row in rows} == expected(crawl[1], wanted)
    assert manifest.funnel.num_kept == len(rows) > 0
    assert records_of(folder) == {row["url"] for row in rows}


def records_of(folder: Path) -> set[str]:
    """URLs of the responses that fastwarc reads in all shards."""
    found = set()
    for path in sorted(folder.glob("*.warc.gz")):
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                record.reader.read()
                if record.headers["WARC-Type"] == "response":
                    found.add(record.headers["WARC-Target-URI"])
    return found


def test_each_page_keeps_its_gzip_member_and_the_table_says_where(host, machine, crawl):
    _, rows, folder = take(machine, source(host, tlds=["de"]))
    located = {one.page.url: one for one in crawl[1]}
    for row in rows:
        one = located[row["url"]]
        member = (host.root / one.path).read_bytes()[one.offset :][: one.length]
        shard = (folder / row["shard"]).read_bytes()
        assert shard[row["offset_bytes"] :][: one.length] == member
        assert row["bytes"] == len(gzip.decompress(member).split(b"\r\n\r\n", 2)[2]) - 4
        assert (row["status"], row["content_type"]) == (200, "text/html")
        assert row["language"] == one.page.languages
        assert row["fetched_at"] == "2026-10-21T12:30:15Z"
    order = [(located[row["url"]].path, located[row["url"]].offset) for row in rows]
    assert order == sorted(order)


def test_neighbours_are_read_at_once_and_strangers_are_not(host, machine, crawl, monkeypatch):
    monkeypatch.setattr(common_crawl, "MAX_GAP_BYTES", 2_000)
    take(machine, source(host, hosts=["docs.alpha.com", "docs.beta.org"]))
    asked = [a for a in host.asked if a.path.endswith(".warc.gz")]
    assert len(asked) == 6, "twelve pages, two of each host in each of three archives"
    sent = sum(host.sent[path] for path in archives(crawl[1]))
    wanted = [o for o in crawl[1] if o.page.host in ("docs.alpha.com", "docs.beta.org")]
    assert sent < sum(one.length for one in wanted) + 6 * 2_000


def test_of_the_index_only_what_a_filter_needs_is_read(own_host, machine, crawl):
    """Row groups by their statistics, columns by their use; here digests are most of the index."""
    of_page = crawl[1][0]
    many = [
        replace(of_page, page=Page(f"https://site{n % 500:03d}.com/{n}", 0, "eng"))
        for n in range(20_000)
    ]
    write_index(own_host.root, [*many, *crawl[1]], row_group_size=1_000)
    paths = [path for path in _index_paths(own_host) if "subset=warc" in path]
    sizes = sum((own_host.root / path).stat().st_size for path in paths)

    def share_read(**fields) -> float:
        own_host.sent.clear()
        try:
            take(machine, source(own_host, **fields))
        except ValueError as error:
            assert "loosen" in str(error)
        tails = len(paths) * remote.TAIL_BYTES
        return (sum(own_host.sent[path] for path in paths) - tails) / sizes

    all_lines = share_read(share=1, mime_types=[], statuses=[])
    assert all_lines < 0.2, "eight columns of thirty, and not the digests"
    assert share_read(hosts=["site250.com"]) < 0.2 * all_lines, "one or two row groups of twenty"
    assert share_read(share=1, languages=["ita"]) < 0.3 * all_lines, "no URL, for nothing passes"
    assert share_read(share=1, languages=["fra"]) < 0.5 * all_lines


def test_how_ranges_are_joined_changes_no_byte(host, tmp_path, monkeypatch):
    made = []
    for gap, span, connections in [(0, 1, 1), (32_768, 1 << 23, 8)]:
        monkeypatch.setattr(common_crawl, "MAX_GAP_BYTES", gap)
        monkeypatch.setattr(common_crawl, "MAX_SPAN_BYTES", span)
        machine = Machine(store=str(tmp_path / str(gap)), num_workers=1)
        config = source(host, share=1, max_connections_per_host=connections)
        made.append(contents(take(machine, config)[0]))
    assert made[0] == made[1]


def test_max_pages_takes_a_sample_of_all_that_pass(host, machine, crawl):
    def chosen(num_pages: int, **fields) -> set[str]:
        config = source(host, share=1, max_pages=num_pages, **fields)
        manifest, rows, _ = take(machine, config)
        assert manifest.metrics["index_matches"] == len(expected(crawl[1], _is_plain))
        return {row["url"] for row in rows}

    ten, forty = chosen(10), chosen(40)
    assert ten < forty and (len(ten), len(forty)) == (10, 40)
    assert chosen(10, sample_seed=1) != ten
    tlds = {url.split("/")[2].rpartition(".")[2] for url in forty}
    assert tlds >= {"com", "de", "org"}, "not the first of the index, which are sorted by host"


def test_a_share_of_the_index_is_read_and_a_greater_one_holds_it(host, machine, crawl):
    def read(share: float) -> tuple[set[str], dict]:
        config = source(host, share=share, languages=["eng"])
        manifest, rows, _ = take(machine, config)
        return {row["url"] for row in rows}, manifest.metrics

    (some, metrics), (all_of_it, whole) = read(0.4), read(1)
    assert some < all_of_it
    assert 0 < metrics["index_row_groups_read"] < metrics["index_row_groups"]
    assert whole["index_row_groups_read"] == whole["index_row_groups"]


def test_shards_are_cut_by_pages_and_by_bytes(host, machine, monkeypatch):
    monkeypatch.setattr(common_crawl, "MAX_SHARD_PAGES", 10)
    _, rows, folder = take(machine, source(host, tlds=["de"]))
    shards = [row["shard"] for row in rows]
    assert len(set(shards)) == 6 and max(map(shards.count, shards)) == 10
    assert shards == sorted(shards)
    assert records_of(folder) == {row["url"] for row in rows}


def test_filters_that_nothing_passes_are_said(host, machine, store):
    with pytest.raises(ValueError, match="loosen them"):
        take(machine, source(host, hosts=["nowhere.example"]))
    assert list(store.manifests()) == []


def test_a_wrong_line_of_the_index_costs_its_page_and_no_other(own_host, machine, crawl):
    of_host = [one for one in crawl[1] if one.page.host == "docs.beta.de"]
    size = (own_host.root / of_host[0].path).stat().st_size
    shifted, beyond, cut = of_host[0], of_host[2], of_host[4]
    wrong = {
        shifted: Located(shifted.page, shifted.path, shifted.offset + 7, shifted.length),
        beyond: Located(beyond.page, beyond.path, size - 100, beyond.length),
        cut: Located(cut.page, cut.path, cut.offset, cut.length - 9),
    }
    write_index(own_host.root, [wrong.get(one, one) for one in crawl[1]])
    manifest, rows, folder = take(machine, source(own_host, hosts=["docs.beta.de"]))
    assert manifest.funnel.dropped == {"not_a_record": 2, "status_416": 1}
    reasons = {row["url"]: row["reason"] for row in rows}
    assert [reasons[one.page.url] for one in (shifted, beyond, cut)] == [
        "not_a_record",
        "status_416",
        "not_a_record",
    ]
    assert records_of(folder) == {url for url, reason in reasons.items() if not reason}


def test_a_page_larger_than_allowed_is_set_aside(host, machine):
    with pytest.raises(ValueError, match="too_large"):
        take(machine, source(host, hosts=["docs.beta.de"], max_page_bytes=2_000))


def test_faults_in_the_midst_of_index_and_ranges_change_no_byte(host, tmp_path, crawl):
    machines = [Machine(store=str(tmp_path / name), num_workers=1) for name in ("a", "b")]
    config = source(host, tlds=["com", "org"])
    undisturbed = contents(take(machines[0], config)[0])
    for path in {asked.path for asked in host.asked}:
        host.faults[path] = [Fault(503), Fault(after_bytes=100), Fault(403), Fault(after_bytes=7)]
    assert contents(take(machines[1], config)[0]) == undisturbed
    assert not any(host.faults.values())


# Manners.


def test_no_more_connections_than_allowed_and_an_honest_name(host, machine, monkeypatch):
    monkeypatch.setattr(common_crawl, "MAX_SHARD_PAGES", 10)
    config = source(host, share=1, max_connections_per_host=3, user_agent="TestBot/1 (+me@x.test)")
    take(machine, config)
    assert 1 < host.most_connections <= 3
    assert {asked.agent for asked in host.asked} == {"TestBot/1 (+me@x.test)"}


def test_no_more_requests_a_second_than_allowed(host, machine, monkeypatch):
    monkeypatch.setattr(common_crawl, "MAX_GAP_BYTES", 0)
    config = source(
        host, hosts=["docs.beta.de"], requests_per_second=20, max_connections_per_host=8
    )
    take(machine, config)
    times = sorted(asked.at for asked in host.asked)
    assert len(times) >= 6
    assert times[-1] - times[0] >= 0.95 * (len(times) - 1) / 20


def test_progress_is_told_in_megabytes_a_second(host, machine, crawl, monkeypatch, caplog):
    monkeypatch.setattr(common_crawl, "PROGRESS_SECONDS", 0.05)
    caplog.set_level("INFO", "bloomery")
    for path in archives(crawl[1]):
        host.faults[path] = [Fault(pause_seconds=0.01)]
    take(machine, source(host, crawl_part="warc", share=1))
    rates = [float(rate) for rate in re.findall(r"MB in \d+ requests, ([\d.]+) MB/s", caplog.text)]
    assert rates and 0 < max(rates) < 10


def test_a_source_that_is_told_to_stop_stops_at_once_and_says_how_to_go_on(
    host, machine, crawl, monkeypatch
):
    monkeypatch.setattr(common_crawl, "PROGRESS_SECONDS", 0.05)
    path = archives(crawl[1])[0]
    host.faults[path] = [Fault(pause_seconds=0.2)]  # the whole of it takes seven seconds
    config = source(host, crawl_part="warc", share=1)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="run it again"):
        materialise(STAGE, config, {}, machine, should_stop=lambda: host.num_asked(path) > 0)
    assert time.monotonic() - started < 3
    before = host.sent[path]
    _, _, folder = take(machine, config)
    assert (folder / name_of(path)).read_bytes() == (host.root / path).read_bytes()
    assert host.sent[path] < before + (host.root / path).stat().st_size


@pytest.mark.parametrize("part", ["warc", "pages"])
def test_a_killed_run_goes_on_with_what_it_had_and_ends_the_same(
    host, tmp_path, crawl, part, monkeypatch
):
    monkeypatch.setattr(common_crawl, "MAX_SHARD_PAGES", 60)
    fields = {"crawl_part": part, "share": 1, "max_connections_per_host": 1}
    whole = Machine(store=str(tmp_path / "whole"), num_workers=1)
    undisturbed = contents(take(whole, source(host, **fields))[0])
    host.asked.clear()
    host.sent.clear()
    paths = archives(crawl[1])
    half = (host.root / paths[1]).stat().st_size // 2
    host.faults[paths[1]] = [Fault(pause_seconds=0.02)] * 4
    machine = Machine(store=str(tmp_path / "killed"), num_workers=1)
    config = source(host, **fields)
    child = subprocess.Popen(
        [sys.executable, "-c", CRAWL_SCRIPT]
        + [model.model_dump_json() for model in (machine, config)],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    while host.sent[paths[1]] < half:
        assert child.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    time.sleep(0.2)  # answers that are under way
    host.faults.clear()
    before = {asked.path for asked in host.asked}
    host.asked.clear()
    assert contents(take(machine, config)[0]) == undisturbed
    again = {asked.path for asked in host.asked}
    assert paths[0] in before and paths[0] not in again
    assert not any(path.endswith((".paths.gz", ".parquet")) for path in again)
    if part == "warc":
        (resumed,) = [asked.range for asked in host.asked if asked.path == paths[1]]
        assert int(resumed.removeprefix("bytes=").removesuffix("-")) > 0


# What it is.


def identity(**fields: object) -> str:
    config = SourceConfig(
        name="cc", type="common-crawl", **{"crawl_id": CRAWL_ID, "tlds": ["de"], **fields}
    )
    return str(STAGE.identify(config, {}).ref())


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": "s3://commoncrawl/"},
        {"requests_per_second": 1.0},
        {"max_connections_per_host": 9},
        {"timeout_seconds": 5.0},
        {"user_agent": "x"},
        {"snapshot": "2026-01-01"},
    ],
)
def test_where_from_and_how_fast_is_no_part_of_it(fields):
    assert identity(**fields) == identity()


@pytest.mark.parametrize(
    "fields",
    [
        {"crawl_id": "CC-MAIN-2026-39"},
        {"crawl_part": "wet", "tlds": [], "num_files": 1},
        {"tlds": ["at"]},
        {"hosts": ["a.de"]},
        {"registered_domains": ["a.de"]},
        {"languages": ["deu"]},
        {"mime_types": []},
        {"statuses": []},
        {"include": ["a"]},
        {"exclude": ["a"]},
        {"share": 0.5},
        {"sample_seed": 1},
        {"max_pages": 5},
        {"max_page_bytes": 5000},
    ],
)
def test_what_is_chosen_is(fields):
    assert identity(**fields) != identity()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"crawl_id": ""}, "no crawl_id"),
        ({"crawl_id": "2026-43"}, "crawl_id"),
        ({"crawl_id": "CC-MAIN-2026-43/../x"}, "crawl_id"),
        ({"tlds": []}, "150 GB"),
        ({"tlds": ["co.uk"]}, "last dot"),
        ({"num_files": 3}, "max_pages"),
        ({"crawl_part": "wet", "tlds": []}, "either num_files or share"),
        ({"crawl_part": "wet", "tlds": [], "num_files": 1, "share": 0.1}, "either num_files or"),
        ({"crawl_part": "wet", "num_files": 1}, "tlds do not apply"),
        ({"languages": ["de"]}, "ISO 639-3"),
        ({"hosts": ["https://a.de/"]}, "no host name"),
        ({"base_url": "ftp://a.de/"}, "base_url"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(fields, said):
    with pytest.raises(ValidationError, match=re.escape(said)):
        identity(**fields)


def test_a_record_that_unpacks_without_end_is_measured_no_further_than_allowed():
    bomb = gzip.compress(b"WARC/1.0\r\n\r\nHTTP/1.1 200\r\n\r\n" + bytes(50_000_000))
    reason, num_bytes = ranges.look_into(bomb, 100_000)
    assert reason == "too_large" and num_bytes < 200_000


def test_a_host_that_is_lost_while_a_column_is_read_ends_the_run(own_host, machine, crawl):
    many = [
        replace(crawl[1][0], page=Page(f"https://site{n % 500:03d}.com/{n}", 0))
        for n in range(6_000)
    ]
    write_index(own_host.root, many, row_group_size=1_000)
    path = next(p for p in _index_paths(own_host) if "part-00000" in p and "subset=warc" in p)
    own_host.faults[path] = [Fault(), *[Fault(503)] * remote.MAX_ATTEMPTS]  # the footer is read
    with pytest.raises(RuntimeError, match=r"part-00000.*run it again to go on"):
        take(machine, source(own_host, hosts=["site000.com"]))


def test_an_index_file_that_was_searched_is_not_searched_again(host, machine):
    parts = [p for p in _index_paths(host) if "subset=warc" in p]
    host.faults[parts[1]] = [Fault(503)] * remote.MAX_ATTEMPTS
    config = source(host, tlds=["org"], max_connections_per_host=1)
    with pytest.raises(RuntimeError, match="in a row"):
        take(machine, config)
    take(machine, config)
    assert host.num_asked(parts[0]) == 1


def _index_paths(host: ArchiveHost) -> list[str]:
    listing = host.root / "crawl-data" / CRAWL_ID / "cc-index-table.paths.gz"
    return gzip.decompress(listing.read_bytes()).decode().split()
