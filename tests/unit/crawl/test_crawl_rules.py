"""The crawler's rules on one URL, one page, one answer."""

import ipaddress
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.crawl.frontier import Frontier, Target
from tasks.crawl.links import decode, page_links
from tasks.crawl.robots import Robots, product_token
from tasks.crawl.traps import Budgets
from tasks.crawl.urls import Scope, is_public, normalise


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
