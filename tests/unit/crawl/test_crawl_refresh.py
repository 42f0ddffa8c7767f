"""A later crawl of a site asks only for what is due, and hands on only what is new or changed."""

import pyarrow.parquet as pq
import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from fastwarc.warc import WarcRecordType
from warcio.archiveiterator import ArchiveIterator as SlowIterator

from flows.params import Params
from flows.planning import with_earlier_crawls
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.crawl.config import LATEST, SourceConfig
from tasks.crawl.refresh import Recrawl, row_after
from tasks.crawl.stage import STAGE
from tasks.crawl.table import PageRow
from tasks.extract.config import ExtractConfig
from tasks.extract.stage import STAGE as EXTRACT
from tests.stages import deduplicate
from tests.unit.crawl.crawl_site import HOST, Site, html, links, serving, sitemap

BASE = f"http://{HOST}"
LAST_MODIFIED = "Sat, 21 Nov 2026 08:00:00 GMT"


def growing_site() -> Site:
    """Pages that can be asked for conditionally, and one that cannot."""
    paths = ("/tagged", "/dated", "/plain", "/edited", "/leaving")
    return Site(
        {
            "/": html(links(*paths), ETag='"index"'),
            "/tagged": html("tagged", ETag='"t1"'),
            "/dated": html("dated", Last_Modified=LAST_MODIFIED),
            "/plain": html("plain"),
            "/edited": html("first", ETag='"e1"'),
            "/leaving": html("leaving", ETag='"l1"'),
        }
    )


def source(snapshot: str, **fields: object) -> SourceConfig:
    given = {"seeds": [f"{BASE}/"], "delay_seconds": 0, **fields}
    return SourceConfig(name="site", type="web", snapshot=snapshot, **given)


def crawl(site: Site, machine: Machine, snapshot: str, **fields: object):
    """The manifest, the rows of the page table by path, and the paths that were asked for."""
    site.requests.clear()
    machine = machine.model_copy(update={"connect_to": {HOST: site.address}})
    manifest, _ = materialise(STAGE, source(snapshot, **fields), {}, machine)
    table = pq.read_table(Store(machine.store).open(manifest.ref).fetch("pages.parquet"))
    rows = {row["url"].removeprefix(BASE): row for row in table.to_pylist()}
    notes = {"/robots.txt", "/.well-known/tdmrep.json", "/sitemap.xml"}
    return manifest, rows, set(site.asked) - notes


def records(machine: Machine, manifest) -> dict:
    """The headers of each record, by path, as warcio reads them."""
    artifact = Store(machine.store).open(manifest.ref)
    found = {}
    for name in artifact.names(".warc.gz"):
        with artifact.fetch(name).open("rb") as file:
            for record in SlowIterator(file, check_digests="raise"):
                url = record.rec_headers.get_header("WARC-Target-URI") or ""
                found[url.removeprefix(BASE)] = record.rec_headers
    return {path: headers for path, headers in found.items() if path}


def test_a_refresh_hands_on_what_is_new_or_changed_and_records_the_rest_as_revisits(machine):
    with serving(growing_site()) as site:
        first, before, _ = crawl(site, machine, "2026-11-21")
        site.pages["/edited"] = html("second" + links("/new"), ETag='"e2"')
        site.pages["/new"] = html("new")
        site.pages["/leaving"] = html("leaving", ETag='"l2"', X_Robots_Tag="noai")
        second, after, asked = crawl(site, machine, "2026-11-22", refresh_of=str(first.ref))
        conditions = {r.path: r.headers for r in site.requests}
    assert asked == before.keys() | {"/new"}
    assert conditions["/tagged"]["If-None-Match"] == '"t1"'
    assert conditions["/dated"]["If-Modified-Since"] == LAST_MODIFIED
    reasons = {path: row["reason"] for path, row in after.items()}
    assert reasons == {
        **dict.fromkeys(["/", "/tagged", "/dated", "/plain"], "unchanged"),
        **dict.fromkeys(["/edited", "/new"]),
        "/leaving": "noai",
    }
    assert {path: after[path]["status"] for path in ("/tagged", "/dated", "/plain")} == {
        **{"/tagged": 304, "/dated": 304},
        "/plain": 200,
    }
    stored, original = records(machine, second), records(machine, first)
    kinds = {path: headers.get_header("WARC-Type") for path, headers in stored.items()}
    assert kinds == {
        **dict.fromkeys(["/", "/tagged", "/dated", "/plain"], "revisit"),
        **dict.fromkeys(["/edited", "/new"], "response"),
    }
    for path in ("/tagged", "/plain"):
        revisit, response = stored[path], original[path]
        for name in ("WARC-Payload-Digest", "WARC-Date"):
            referred = name.replace("WARC-Date", "WARC-Refers-To-Date")
            assert revisit.get_header(referred) == response.get_header(name)
        assert revisit.get_header("WARC-Refers-To-Target-URI") == BASE + path
    profiles = [stored[path].get_header("WARC-Profile") for path in ("/tagged", "/plain")]
    assert [profile.rpartition("/")[2] for profile in profiles] == [
        "server-not-modified",
        "identical-payload-digest",
    ]


def test_another_reader_knows_the_revisits_and_extraction_passes_over_them(machine):
    with serving(growing_site()) as site:
        first, _, _ = crawl(site, machine, "2026-11-21")
        site.pages["/edited"] = html("<p>second</p>", ETag='"e2"')
        second, _, _ = crawl(site, machine, "2026-11-22", refresh_of=str(first.ref))
    artifact, types = Store(machine.store).open(second.ref), []
    for name in artifact.names(".warc.gz"):
        with artifact.fetch(name).open("rb") as file:
            types += [record.record_type for record in FastIterator(file)]
    assert types.count(WarcRecordType.revisit) == 5
    assert types.count(WarcRecordType.response) == 1
    extracted, _ = materialise(
        EXTRACT, ExtractConfig(source="site"), {"pages": [second.ref]}, machine
    )
    assert extracted.funnel.num_in == 1
    assert extracted.metrics["skipped_records"]["revisit"] == 5


def corpus(machine: Machine, *crawls) -> tuple[dict[str, str], dict[str, int]]:
    """The texts that extraction and deduplication leave, by path, and what the latter dropped."""
    documents = [
        materialise(EXTRACT, ExtractConfig(source="site"), {"pages": [each.ref]}, machine)[0].ref
        for each in crawls
    ]
    manifest = deduplicate(machine, documents, [each.ref for each in crawls])
    artifact = Store(machine.store).open(manifest.ref)
    rows = [
        row
        for name in artifact.names(".parquet")
        for row in pq.read_table(artifact.fetch(name), columns=["url", "text"]).to_pylist()
    ]
    texts = {row["url"].removeprefix(BASE): row["text"] for row in rows}
    assert len(texts) == len(rows), "a page is there twice"
    return texts, manifest.funnel.dropped


def said(word: str, **headers: str):
    """A page with a text of its own."""
    told = " ".join(f"The {word}{n} is next to the {n}{word}, and nobody minds." for n in range(9))
    return html(f"<article><h1>{word}</h1><p>{told}</p></article>", ETag=f'"{word}"', **headers)


def test_what_is_left_of_a_site_is_what_its_last_crawl_found(machine):
    paths = ("/same", "/edited", "/gone", "/noai", "/private", "/moved", "/broken")
    index = html(links(*paths))
    site = Site({"/": index, **{path: said(path[1:]) for path in paths}})
    back = dict(site.pages)
    with serving(site):
        first, _, _ = crawl(site, machine, "2026-11-21")
        site.pages |= {
            "/edited": said("rewritten"),
            "/gone": (410, {}, b""),
            "/noai": said("noai", X_Robots_Tag="noai"),
            "/robots.txt": (200, {}, b"User-agent: *\nDisallow: /private"),
            "/moved": (302, {"Location": "/same"}, b""),
            "/broken": (503, {"Retry-After": "999"}, b""),
        }
        second, rows, asked = crawl(site, machine, "2026-11-22", refresh_of=str(first.ref))
        site.pages = back
        third, _, _ = crawl(site, machine, "2026-11-23", refresh_of=str(second.ref))
    assert "/private" not in asked
    withdrawn = {path for path, row in rows.items() if row["withdrawn_at"]}
    assert withdrawn == {"/gone", "/noai", "/private"}

    before, _ = corpus(machine, first)
    after, dropped = corpus(machine, first, second)
    restored, _ = corpus(machine, first, second, third)
    assert before.keys() == set(paths)
    assert after.keys() == {"/same", "/edited", "/moved", "/broken"}
    assert "rewritten" in after["/edited"]
    assert {path: after[path] for path in after.keys() - {"/edited"}} == {
        path: before[path] for path in ("/same", "/moved", "/broken")
    }
    assert dropped == {"older_version": 1, "withdrawn": 3}
    assert restored == before  # nothing is left out for ever, though the server still says 304


def test_pages_that_do_not_change_are_asked_for_less_and_less(machine):
    with serving(growing_site()) as site:
        made, rows, _ = crawl(site, machine, "2026-11-01")
        asked_on = {}
        for day in range(2, 17):
            site.pages["/edited"] = html(f"day {day}", ETag=f'"e{day}"')
            made, rows, asked = crawl(
                site, machine, f"2026-11-{day:02d}", refresh_of=str(made.ref), max_recrawl_days=4
            )
            for path in asked:
                asked_on.setdefault(path, []).append(day)
    assert asked_on["/"] == asked_on["/edited"] == list(range(2, 17))  # a seed; always changes
    assert asked_on["/tagged"] == [2, 4, 8, 12, 16]  # after 1, 2, 4 and then always 4 days
    assert rows["/tagged"]["stored_at"] == "2026-11-01T00:00:00Z"
    assert rows["/edited"]["interval_days"] == 1


def test_what_is_not_due_is_carried_and_a_sitemap_can_hurry_it(machine):
    with serving(growing_site()) as site:
        first, _, _ = crawl(site, machine, "2026-11-21", min_recrawl_days=7)
        fields = {"min_recrawl_days": 7, "refresh_of": str(first.ref)}
        second, rows, asked = crawl(site, machine, "2026-11-22", **fields)
        site.pages["/sitemap.xml"] = (200, {}, sitemap("/tagged", lastmod="2026-11-23T09:00+01:00"))
        _, hurried, asked_then = crawl(
            site, machine, "2026-11-24", **fields | {"refresh_of": str(second.ref)}
        )
    assert asked == {"/"}
    assert second.funnel.num_kept == 0
    assert second.funnel.dropped == {"not_due": 5, "unchanged": 1}
    assert rows["/tagged"]["etag"] == '"t1"'
    assert rows["/tagged"]["fetched_at"] == "2026-11-21T00:00:00Z"
    assert asked_then == {"/", "/tagged"}
    assert hurried["/tagged"]["reason"] == "unchanged"
    assert hurried["/dated"]["reason"] == "not_due"


def test_a_page_that_cannot_be_read_today_is_remembered_and_one_that_is_gone_is_not(machine):
    with serving(growing_site()) as site:
        first, _, _ = crawl(site, machine, "2026-11-21")
        tagged = site.pages.pop("/tagged")
        gone = site.pages.pop("/leaving")
        site.pages["/tagged"] = (503, {"Retry-After": "999"}, b"")
        second, rows, _ = crawl(site, machine, "2026-11-22", refresh_of=str(first.ref))
        site.pages |= {"/tagged": tagged, "/leaving": gone}
        _, again, _ = crawl(site, machine, "2026-11-23", refresh_of=str(second.ref))
    assert (rows["/tagged"]["reason"], rows["/tagged"]["etag"]) == ("status_503", '"t1"')
    assert (rows["/leaving"]["reason"], rows["/leaving"]["digest"]) == ("status_404", None)
    assert (again["/tagged"]["reason"], again["/leaving"]["reason"]) == ("unchanged", None)


def test_max_pages_counts_what_was_there_before(machine):
    with serving(growing_site()) as site:
        first, rows, _ = crawl(site, machine, "2026-11-21", max_pages=4)
        left = {path for path, row in rows.items() if row["reason"] == "max_pages"}
        fields = {"max_pages": 4, "refresh_of": str(first.ref)}
        _, same, asked = crawl(site, machine, "2026-11-22", **fields)
        _, more, _ = crawl(site, machine, "2026-11-22", **fields | {"max_pages": 5})
    assert len(left) == 2
    assert not left & asked
    assert {same[path]["reason"] for path in left} == {"max_pages"}
    assert sorted(str(more[path]["reason"]) for path in left) == ["None", "max_pages"]


def test_an_interrupted_refresh_makes_what_an_undisturbed_one_makes(machine, tmp_path):
    with serving(growing_site()) as site:
        first, _, _ = crawl(site, machine, "2026-11-21", min_recrawl_days=2)
        site.pages["/sitemap.xml"] = (200, {}, sitemap("/edited", lastmod="2026-11-22"))
        site.pages["/edited"] = html("second" + links("/new", "/plain"), ETag='"e2"')
        site.pages["/new"] = html("new")
        fields = {"min_recrawl_days": 2, "refresh_of": str(first.ref)}
        whole, _, _ = crawl(site, machine, "2026-11-22", **fields)
        Store(machine.store).delete(whole.ref)
        site.requests.clear()
        stopping = machine.model_copy(update={"connect_to": {HOST: site.address}})
        for num_asked in (2, 4, 5):
            with pytest.raises(RuntimeError, match="run it again"):
                materialise(
                    STAGE,
                    source("2026-11-22", **fields),
                    {},
                    stopping,
                    should_stop=lambda most=num_asked: len(site.requests) > most,
                )
        again, _ = materialise(STAGE, source("2026-11-22", **fields), {}, stopping)
        assert site.asked["/"] == 1
    assert {f.name: f.sha256 for f in again.files} == {f.name: f.sha256 for f in whole.files}


def test_the_time_to_wait_doubles_or_halves_between_its_bounds():
    recrawl = Recrawl(min_days=1, max_days=10)
    assert [recrawl.next(days, has_changed=False) for days in (None, 1, 4, 8)] == [1, 2, 8, 10]
    assert [recrawl.next(days, has_changed=True) for days in (None, 1, 4, 30)] == [1, 1, 2, 10]
    assert Recrawl(0, 10).next(0, has_changed=False) > 0  # even what was always asked slows down
    gone = PageRow(url="u", status=404, reason="status_404")
    before = PageRow(url="u", status=404, reason="status_404", interval_days=2)
    assert row_after(gone, before, recrawl).interval_days == 4


def test_a_refresh_of_what_is_not_there_is_a_clear_mistake(machine):
    with pytest.raises(ValueError, match="not in the store"):
        materialise(STAGE, source("s", refresh_of="crawl/0123456789abcdef"), {}, machine)
    with pytest.raises(ValueError, match="a run resolves"):
        materialise(STAGE, source("s", refresh_of=LATEST), {}, machine)
    with pytest.raises(ValueError, match="which only web reads"):
        SourceConfig(name="x", type="files", paths=["."], refresh_of=LATEST)


def test_a_nightly_run_finds_the_chain_of_earlier_crawls_and_is_named_the_same_when_repeated(
    machine,
):
    store = Store(machine.store)

    def planned(day: int, **fields: object) -> list[tuple[str, str]]:
        params = Params(name="x", sources=[source(f"2026-11-{day}", refresh_of=LATEST, **fields)])
        found = with_earlier_crawls(params, store).sources
        return [(each.snapshot[-2:], each.refresh_of) for each in found]

    with serving(growing_site()) as site:
        assert planned(21) == [("21", "")]
        made = {}
        for day in (21, 22, 23):
            _, earlier = planned(day)[-1]
            made[day], _, _ = crawl(site, machine, f"2026-11-{day}", refresh_of=earlier)
    refs = {day: str(manifest.ref) for day, manifest in made.items()}
    assert planned(24) == [("21", ""), ("22", refs[21]), ("23", refs[22]), ("24", refs[23])]
    assert planned(23) == [("21", ""), ("22", refs[21]), ("23", refs[22])]  # as it was made
    assert planned(24, max_recrawl_days=9)[:3] == planned(24)[:3]  # patience may change
    assert planned(24, max_depth=3) == [("24", "")]  # other pages: a crawl of its own
    store.delete(made[21].ref)
    assert planned(24) == [("24", "")]  # what never changed is no longer there
