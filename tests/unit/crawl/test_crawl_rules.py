"""The crawler's rules on one URL, one page, one answer."""

import gzip
import ipaddress
import time
import zlib

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.opt_outs import forbids_training
from tasks.crawl.config import VISITOR_PARAMETERS
from tasks.crawl.frontier import Frontier, Target
from tasks.crawl.journal import Journal
from tasks.crawl.links import decode, page_links
from tasks.crawl.reservations import Reservations
from tasks.crawl.robots import Robots, product_token
from tasks.crawl.sitemaps import read_sitemap
from tasks.crawl.traps import Budgets, pattern_of, trap_reason
from tasks.crawl.unpack import BadEncodingError, unpack
from tasks.crawl.urls import Cleaner, Scope, believed_canonical, is_public, normalise


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://Example.COM:80/a/../b c?b=2&a=1#part", "http://example.com/b%20c?b=2&a=1"),
        ("https://bücher.example", "https://xn--bcher-kva.example/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("  http://a.test\n", "http://a.test/"),
        ("mailto:a@b.test", None),
        ("javascript:void(0)", None),
        ("http://user:word@a.test/", None),
        ("http://a.test/" + "x" * 3000, None),
        ("http://[", None),
    ],
)
def test_urls_have_one_spelling(url, expected):
    assert normalise(url) == expected


@given(st.text(max_size=60))
def test_spelling_is_stable(text):
    once = normalise("http://a.test/" + text)
    assert once is None or normalise(once) == once
    normalise(text, "http://a.test/")  # whatever a link holds, it is no error


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
    ],
)
def test_only_the_open_internet_is_public(address, expected):
    assert is_public(ipaddress.ip_address(address)) is expected


def test_scope_is_the_hosts_of_the_seeds_unless_it_is_spelled_out():
    around = Scope.around(["http://a.test/"], [], [r"\.pdf$"])
    assert around.refusal("https://www.a.test/x", 1) is None
    assert around.refusal("http://b.test/", 1) == "off_site"
    assert around.refusal("http://a.test/x.pdf", 1) == "excluded"
    spelled = Scope.around(["http://a.test/"], [r"b\.test"], [])
    assert spelled.refusal("http://b.test/", 1) is None
    assert spelled.refusal("http://a.test/x", 1) == "not_included"
    assert spelled.refusal("http://a.test/", 0) is None  # a seed


def test_the_frontier_goes_breadth_first_and_visits_nothing_twice():
    frontier = Frontier(Scope(frozenset({"a.test"})), 2, Budgets(100, 100), max_known=100)
    offered = [("deep", 2), ("one", 1), ("two", 1), ("one", 0), ("deeper", 3)]
    answer = frontier.offer(Target(f"http://a.test/{name}", depth) for name, depth in offered)
    rounds = []
    while batch := frontier.next_batch(10, 10):
        rounds.append([target.url[-4:] for target in batch])
    assert rounds == [["/one", "/two"], ["deep"]]
    assert [reason for _, reason in answer.refused] == ["max_depth"]


@pytest.mark.parametrize(
    ("header", "refusal"),
    [
        ("noindex, nofollow", "noindex"),
        ("none", "noindex"),
        ("otherbot: noindex", None),
        ("bloomerybot: noindex", "noindex"),
        ("unavailable_after: 25 Jun 2030 15:00:00 PST", None),
        ("noai", "noai"),
        ("noimageai", None),
        ("max-snippet: 20, noindex", "noindex"),
        ("otherbot: noindex, nofollow, bloomerybot: noai", "noai"),
        ("unavailable_after: Saturday, 25-Jun-2030 15:00:00 PST, noai", "noai"),
        ("*: noindex", "noindex"),
    ],
)
def test_the_robots_header_is_obeyed(header, refusal):
    assert (
        page_links("http://a.test/", "", [("X-Robots-Tag", header)], "bloomerybot").refusal()
        == refusal
    )


@pytest.mark.parametrize(
    "hostile",
    [
        "<a " * 400_000,
        "<a href='" * 200_000,
        "<!--" * 400_000,
        "<script" * 300_000,
        "<a " + "a" * 2_000_000 + ">",
        "<a " + 'a="' * 600_000 + ">",
        "<div>" * 300_000,
    ],
)
def test_no_page_takes_long_to_read(hostile):
    started = time.process_time()
    page_links("http://a.test/", hostile, [], "bot")
    assert time.process_time() - started < 3


@given(st.binary(max_size=200), st.none() | st.text(max_size=10))
def test_any_bytes_can_be_read_for_links(body, charset):
    page_links("http://a.test/", decode(body, charset), [], "bot")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"User-agent: *\nDisallow: /*.cgi$", "robots"),
        (200, b"User-agent: bloomerybot\nDisallow:\n\nUser-agent: *\nDisallow: /", None),
        (200, b"\xef\xbb\xbfUser-agent: *\nDisallow: /x", "robots"),
        (200, b"User-agent: *\nCrawl-delay: 86400", "robots_delay"),
        (200, b"\xff\xfe<html>", None),
        (403, b"User-agent: *\nDisallow: /", None),
        (500, b"", "robots_unreachable"),
        (429, b"", "robots_unreachable"),
    ],
)
def test_robots_txt_is_read_by_the_standard(status, body, expected):
    agent = product_token("BloomeryBot/1.0 (x)")
    assert Robots.read(status, body, agent).refusal("http://a.test/x.cgi") == expected


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


PACKERS = [
    ("gzip", gzip.compress),
    ("x-gzip", lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:])),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli.compress),
    ("zstd", zstandard.compress),
    ("zstd", lambda data: zstandard.compress(data[:7]) + zstandard.compress(data[7:])),
    ("gzip, BR", lambda data: brotli.compress(gzip.compress(data))),
    ("identity", bytes),
]


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
@given(data=st.binary(max_size=3000), limit=st.integers(0, 4000))
def test_what_is_packed_is_unpacked_up_to_the_limit(encoding, pack, data, limit):
    assert unpack(pack(data), encoding, limit) == data[: limit + 1]


@pytest.mark.parametrize(("encoding", "pack"), PACKERS[:-1])
@given(data=st.binary(min_size=50, max_size=500), junk=st.binary(max_size=50))
def test_what_is_cut_short_is_refused_and_junk_is_no_accident(encoding, pack, data, junk):
    packed = pack(data * 5)
    with pytest.raises(BadEncodingError):
        unpack(packed[: len(packed) // 3], encoding, 10_000)
    for broken in (junk, packed[:20] + junk, packed + junk):
        try:
            assert len(unpack(broken, encoding, 100)) <= 101
        except BadEncodingError:
            continue


@pytest.mark.parametrize(
    ("encoding", "member"),
    [("gzip", gzip.compress(b"", mtime=0)), ("zstd", zstandard.compress(b""))],
)
def test_a_flood_of_empty_members_is_refused_in_time(encoding, member):
    started = time.process_time()
    with pytest.raises(BadEncodingError):
        unpack(member * 200_000, encoding, 1_000)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://a.test/a/b/a/b/a/b", "repeating_path"),
        ("http://a.test/x/x/x/", "repeating_path"),
        ("http://a.test/a/b/a/b", None),
        ("http://a.test/2026/11/11/", None),
        ("http://a.test/aa/aaa/aaaa/", None),
        ("http://a.test/" + "x/" * 21, "path_too_deep"),
        ("http://a.test/?" + "q" * 600, "long_query"),
        ("http://a.test/?" + "&".join(f"k{n}" for n in range(20)), "long_query"),
        ("http://a.test/?" + "q" * 400, None),
    ],
)
def test_urls_that_look_like_traps(url, reason):
    assert trap_reason(url) == reason


@given(st.text("ab/", max_size=1900))
def test_no_url_takes_long_to_judge(path):
    started = time.process_time()
    trap_reason(f"http://a.test/{path}")
    assert time.process_time() - started < 0.1


def test_urls_that_differ_in_numbers_and_values_have_one_pattern():
    same = ["http://a.test/day/1?b=2&a=x", "http://a.test/day/25?a=y&b="]
    assert len(set(map(pattern_of, same))) == 1
    others = ["http://b.test/day/1?a&b", "http://a.test/days/1?a&b", "http://a.test/day/1?a"]
    assert len(set(map(pattern_of, [*same, *others]))) == 4


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a.test/p?utm_source=x&id=3&UTM_Medium=y", "http://a.test/p?id=3"),
        ("http://a.test/p?fbclid=x", "http://a.test/p"),
        ("http://a.test/shop;jsessionid=9F;v=2/cart;JSESSIONID=1?q=;jsessionid=2",
         "http://a.test/shop;v=2/cart?q=;jsessionid=2"),
        ("http://a.test/p?sid=3&PHPSESSID=1", "http://a.test/p?sid=3"),
        ("http://a.test/p?b=1&a=2", "http://a.test/p?b=1&a=2"),
        ("http://a.test/p?", "http://a.test/p"),
    ],
)  # fmt: skip
def test_what_names_a_visitor_is_taken_out_of_urls(url, expected):
    assert Cleaner.of(VISITOR_PARAMETERS).clean(url) == expected
    assert Cleaner.of([]).clean(url) == url


def test_a_redirect_that_only_sets_a_session_is_followed_as_it_is():
    cleaner = Cleaner.of(VISITOR_PARAMETERS)
    session = "http://a.test/p?PHPSESSID=1"
    assert cleaner.redirect(session, "http://a.test/p") == session
    assert cleaner.redirect(session, "http://a.test/q") == "http://a.test/p"


@pytest.mark.parametrize(
    ("head", "headers", "expected"),
    [
        ('<link rel="canonical" href="/own">', [], "http://a.test/own"),
        ("<LINK REL='x Canonical' HREF=own#part>", [], "http://a.test/d/own"),
        ("", [("Link", '</own>; rel="canonical", </x>; rel=next')], "http://a.test/own"),
        ("", [("Link", '</x>; rel=next; title="canonical"')], None),
        ('<link rel="canonical" href="/a"><link rel="canonical" href="/b">', [], None),
        ('<link rel="canonical" href="http://b.test/own">', [], None),
        ('<link rel="canonical" href="http://a.test/">', [], None),
        ('<link rel="canonical" href="http://a.test/d/page">', [], None),
        ('<link rel="stylesheet" href="/own">', [], None),
        ('<link rel="canonical" href="javascript:x">', [], None),
    ],
)
def test_a_page_can_name_its_own_address_within_the_site(head, headers, expected):
    url = "http://a.test/d/page"
    found = page_links(url, head, headers, "bot").canonical
    assert believed_canonical(url, found, Scope(frozenset({"a.test"}))) == expected


@pytest.mark.parametrize(
    ("rules", "reserved", "free"),
    [
        ('[{"location": "/", "tdm-reservation": 1}]', ["/", "/a"], []),
        ('{"location": "/a*.pdf$", "tdm-reservation": 1}', ["/a/b.pdf"], ["/a.pdf?x", "/b.pdf"]),
        ('[{"location": "/a", "tdm-reservation": 0}, {"location": "/", "tdm-reservation": 1}]',
         ["/b"], ["/a"]),
        ('[{"location": "/", "tdm-reservation": 0}, {"location": "/a", "tdm-reservation": 1}]',
         ["/a/b"], ["/b"]),
        ('[{"location": "/?q=*", "tdm-reservation": "1"}]', ["/?q=1"], ["/"]),
        ('[{"tdm-reservation": 1}, {"location": 7, "tdm-reservation": 1}, 3, null]', [], ["/"]),
        ("<html>", [], ["/"]),
        ("[" * 100_000, [], ["/"]),
    ],
)  # fmt: skip
def test_reservations_of_rights_are_read_by_pattern(rules, reserved, free):
    found = Reservations.read_tdmrep(rules.encode())
    assert [path for path in reserved + free if found.reserve(f"http://a.test{path}")] == reserved


@pytest.mark.parametrize(
    ("robots", "reserved", "free"),
    [
        ("User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /", ["/", "/a"], []),
        ("User-Agent: *\nContent-Signal: search=no,ai-train=yes", [], ["/"]),
        ("User-agent: x\n\nUser-agent: BloomeryBot\nContent-usage: train-ai = n", ["/"], []),
        ("User-agent: x\nAllow: /\nContent-Usage: train-ai=n", [], ["/"]),
        ("User-agent: bloomerybot\nContent-Usage: train-ai=y\n"
         "User-agent: *\nContent-Usage: train-ai=n", [], ["/"]),
        ("User-agent: *\nContent-Usage: /a/ train-ai=n # not here", ["/a/b"], ["/", "/b"]),
        ("Content-Signal: ai-train=no", ["/"], []),
        ("", [], ["/"]),
    ],
)  # fmt: skip
def test_signals_on_training_are_read_from_robots_txt(robots, reserved, free):
    found = Robots.read(200, robots.encode(), "BloomeryBot").reservations
    assert [path for path in reserved + free if found.reserve(f"http://a.test{path}")] == reserved


def test_a_header_can_forbid_training():
    assert forbids_training("search=y, train-ai=n")
    assert not forbids_training("train-ai=y")
    headers = [("Content-Usage", "train-ai=n")]
    assert page_links("http://a.test/", "", headers, "bot").refusal() == "no_training"


def test_the_rate_that_robots_txt_asks_for_is_a_delay():
    text = b"User-agent: *\nCrawl-delay: 2\nRequest-rate: 1/5"
    assert Robots.read(200, text, "bot").delay_seconds == 5


def test_no_pattern_of_reservations_takes_long():
    rule = '[{"location": "/%s", "tdm-reservation": 1}]' % ("*a" * 1000)
    started = time.process_time()
    Reservations.read_tdmrep(rule.encode()).reserve("http://a.test/" + "a" * 1900 + "b")
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("body", "pages", "sitemaps", "refusal"),
    [
        (b"<urlset><url><loc> http://a.test/1 </loc><lastmod>2026</lastmod></url></urlset>",
         [("http://a.test/1", "2026")], [], None),
        (b"<urlset xmlns='x'><url><loc>1</loc><image:image xmlns:image='i'><image:loc>2</image:loc>"
         b"</image:image></url></urlset>", [("1", "")], [], None),
        (b"<sitemapindex><sitemap><loc>a</loc></sitemap></sitemapindex>", [], ["a"], None),
        (b"<urlset><url><loc>1</loc></url><url><loc>2", [("1", "")], [], "bad_xml"),
        (b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", [], [], "doctype"),
        (b"<a>" * 100_000, [], [], "nesting"),
        (b"<urlset>" + b"<url/>" * 100_000, [], [], "nesting"),
        (b"<urlset>" + b"<url><loc>x</loc></url>" * 20, [("x", "")] * 9, [], "too_many_urls"),
        (gzip.compress(bytes(60_000_000), mtime=0), [], [], "too_large"),
        (b"\x1f\x8bno", [], [], "content_encoding"),
        (b"\xef\xbb\xbfhttp://a.test/1\nx\n", [("http://a.test/1", "")], [], None),
    ],
)  # fmt: skip
def test_sitemaps_are_read_within_bounds(body, pages, sitemaps, refusal):
    found = read_sitemap(body, 9)
    assert (found.pages, found.sitemaps, found.refusal) == (pages, sitemaps, refusal)


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read_as_a_sitemap_or_as_reservations(body):
    read_sitemap(body, 10)
    read_sitemap(b"<urlset>" + body, 10)
    Reservations.read_tdmrep(body).reserve("http://a.test/")


def test_hosts_take_turns():
    scope = Scope(frozenset({"a.test", "b.test"}))
    frontier = Frontier(scope, 2, Budgets(100, 100), max_known=100)
    urls = [f"http://a.test/{name}" for name in "vwxyz"] + ["http://b.test/1", "http://b.test/2"]
    frontier.offer(Target(url, 1) for url in urls)
    batches = [[t.url[7:] for t in frontier.next_batch(4, per_host=2)] for _ in range(2)]
    assert batches == [
        ["a.test/v", "b.test/1", "a.test/w", "b.test/2"],
        ["a.test/x", "a.test/y"],
    ]
    assert [target.url for target in frontier.rest()] == ["http://a.test/z"]


@given(st.integers(0, 200))
def test_a_journal_that_was_cut_off_has_what_was_whole(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("journal") / "journal"
    with Journal(path) as journal:
        for number in range(3):
            journal.add(str(number), {"n": number}, b"r" * number * 10)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    with Journal(path) as journal:
        left = [number for number in range(3) if str(number) in journal]
        assert left == list(range(len(left)))
        journal.add("new", [4], b"4")
    with Journal(path) as journal:
        assert journal.note("new") == [4]
        for number in left:
            assert journal.note(str(number)) == {"n": number}
            assert journal.record(str(number)) == b"r" * number * 10
