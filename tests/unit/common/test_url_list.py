"""Lists of hosts and addresses: what an entry names, in any spelling, and what it does not."""

import pytest

from tasks.common.url_list import UrlList

NAMED = [
    ("bad.com", "https://bad.com/any/page?x=1"),
    ("bad.com", "http://BAD.com./"),
    ("bad.com", "https://user:pass@www.Bad.com:8443/a"),
    ("BAD.com.", "https://sub.bad.com/"),
    ("http://www.bad.com:80/", "https://bad.com/x"),
    ("com", "https://bad.com/"),
    ("bücher.example", "https://xn--bcher-kva.example/"),
    ("bad.com/shop", "https://bad.com/shop"),
    ("bad.com/shop/", "https://www.bad.com/shop/item?id=1"),
    ("https://bad.com/a?b=c", "https://bad.com/a?b=c#part"),
    ("bad.com/a/../shop", "https://bad.com/%73hop/../shop"),
    ("file://notes/", "file://notes/a.txt"),
    ("127.0.0.1", "http://127.0.0.1:8000/x"),
    ("2001:db8::1", None),
]


@pytest.mark.parametrize(("entry", "url"), NAMED)
def test_an_entry_names_an_address_in_any_spelling(entry: str, url: str | None) -> None:
    listed = UrlList([entry])
    if url is None:
        assert listed.unreadable == [entry]
    else:
        assert listed.match(url)


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("bad.com", "https://notbad.com/"),
        ("bad.com", "https://bad.com.example.org/"),
        ("bad.com", "https://example.org/bad.com"),
        ("bad.com", "https://bad.com@example.org/"),
        ("bad.com/shop", "https://bad.com/shopping"),
        ("bad.com/shop", "https://sub.bad.com/shop"),
        ("https://bad.com/a?b=c", "https://bad.com/a"),
        ("https://bad.com/a?b=c", "https://bad.com/a?b=cd"),
        ("bad.com", "not a url at all"),
        ("bad.com", ""),
    ],
)
def test_an_entry_names_nothing_else(entry: str, url: str) -> None:
    assert UrlList([entry]).match(url) is None


def test_comments_and_blank_lines_are_no_entries() -> None:
    listed = UrlList(["# a list", "", "  ", "bad.com"])
    assert len(listed) == 1
    assert listed.unreadable == []


def test_the_most_general_entry_answers() -> None:
    assert UrlList(["bad.com/shop", "bad.com"]).match("https://bad.com/shop") == "bad.com"


def test_an_address_is_named_exactly_or_not():
    pages = UrlList(["https://www.example.org/a/", "example.org/b?c=d"])
    assert pages.names_exactly("http://example.org/a")
    assert pages.names_exactly("https://example.org/b?c=d")
    assert not pages.names_exactly("https://example.org/a/below")
    assert not pages.names_exactly("https://sub.example.org/a")
    assert not pages.names_exactly("not a url at all://")
