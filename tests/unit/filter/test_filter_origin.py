"""Addresses on lists, licences and opt-outs: what is dropped, what is only noted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.opt_outs import page_opt_outs
from tasks.common.url_list import UrlList, UrlLists
from tasks.filter.config import FilterConfig
from tasks.filter.origin import licence_choices
from tasks.filter.rules import Candidate, Lists, judge

LISTS = UrlLists({"adult": ["bad.example", "both.example"], "press": ["both.example/news"]})


def ruling(document: dict[str, object], **config: object) -> tuple[list[str], list[str]]:
    """Rules broken, and tags."""
    settings = FilterConfig.model_validate({"languages": [], "recipes": [], **config})
    candidate = Candidate(text="text", kind="code", **document)  # type: ignore[arg-type]
    (verdict,) = judge([candidate], settings, Lists(blocked=LISTS))
    return [breach.rule for breach in verdict.broken], verdict.tags


def test_pages_on_lists_are_dropped_or_tagged_by_category():
    both = {"url": "https://www.Both.example/news/1"}
    assert ruling(both) == ([], ["blocklist:adult", "blocklist:press"])
    only_adult = {"paths": ["lists"], "drop": ["adult"], "tag": []}
    assert ruling(both, blocklists=only_adult) == (["blocklist:adult"], [])
    every = {"paths": ["lists"], "drop": ["*"]}
    assert ruling({"url": "http://sub.bad.example./x"}, blocklists=every)[0]
    assert ruling({"url": "http://good.example/bad.example"}) == ([], [])


@pytest.mark.parametrize(
    ("licence", "config", "expected"),
    [
        ("CC-BY-NC-SA-4.0", {"drop": ["CC-BY-NC*"]}, (["licence"], [])),
        ("CC-BY-SA-4.0", {"drop": ["CC-BY-NC*"]}, ([], [])),
        ("cc-by-nc-4.0", {"tag": ["CC-BY-NC*"]}, ([], ["licence:cc-by-nc-4.0"])),
        ("MIT OR GPL-3.0-only", {"drop": ["GPL*"]}, ([], [])),
        ("MIT AND GPL-3.0-only", {"drop": ["GPL*"]}, (["licence"], [])),
        ("MIT OR GPL-3.0-only", {"keep": ["MIT"]}, ([], [])),
        ("MIT AND GPL-3.0-only", {"keep": ["MIT"]}, (["licence"], [])),
        ("(MIT OR GPL-3.0-only) AND X", {"keep": ["MIT"]}, (["licence"], [])),
        ("GPL-2.0-only WITH Classpath-exception-2.0", {"keep": ["GPL*"]}, ([], [])),
        (None, {"keep": ["MIT"]}, ([], [])),
        (None, {"unknown": "drop"}, (["licence"], [])),
        ("NOASSERTION", {"unknown": "tag"}, ([], ["licence:unknown"])),
    ],
)
def test_licences(licence: str | None, config: dict[str, object], expected: object):
    assert ruling({"licence": licence}, licences=config) == expected


def test_what_a_licence_leaves_to_choose():
    assert licence_choices("MIT OR Apache-2.0 AND ORACLE or X") == [
        ["MIT"],
        ["Apache-2.0", "ORACLE"],
        ["X"],
    ]
    assert licence_choices("(" * 1000 + "MIT" + ")" * 1000) == [["MIT"]]


@given(st.lists(st.sampled_from(["MIT", "X", "or", "AND", "WITH", "(", ")", ""]), max_size=6))
def test_no_licence_is_refused_unless_the_user_says_so(words: list[str]):
    assert ruling({"licence": " ".join(words)}) == ([], [])


def test_opt_outs():
    page = {"opt_outs": ("noai", "tdm-reservation")}
    assert ruling(page) == ([], ["opt-out:noai", "opt-out:tdm-reservation"])
    dropped = {"drop": ["noai"]}
    assert ruling(page, opt_outs=dropped) == (["opt_out"], [])
    assert ruling({"opt_outs": ("noindex",)}, opt_outs={**dropped, "tag": []}) == ([], [])


@pytest.mark.parametrize(
    ("headers", "metas", "expected"),
    [
        ([("X-Robots-Tag", "noindex, NoAI")], [], ("noai", "noindex")),
        ([("X-Robots-Tag", "otherbot: noai")], [], ()),
        ([("TDM-Reservation", "1")], [], ("tdm-reservation",)),
        ([("tdm-reservation", "0")], [], ()),
        ([("Content-Usage", "train-ai=n, search=y")], [], ("train-ai=n",)),
        ([], [("robots", "none"), ("tdm-reservation", " 1")], ("noindex", "tdm-reservation")),
        ([], [("description", "noai"), ("robots", "index, follow, noimageai")], ()),
    ],
)
def test_opt_outs_are_read_from_headers_and_metas(headers, metas, expected):
    assert page_opt_outs(headers, metas) == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://a.b.example/x/y?z=1",
        "https://b.example",
        "http://user@WWW.b.example:80/x",
        "https://xn--bcher-kva.example/",
        "https://bücher.example/buch",
        "http://1.2.3.4/x",
        "file://notes/a.txt",
        "not a url",
    ],
)
def test_many_lists_name_what_each_list_names(url: str):
    lists = {
        "hosts": ["B.example", "1.2.3.4", "# none"],
        "paths": ["a.b.example/x", "bücher.example", "file://notes"],
        "none": [],
    }
    single = {name: UrlList(lines).match(url) for name, lines in lists.items()}
    assert UrlLists(lists).match(url) == {name: hit for name, hit in sorted(single.items()) if hit}
