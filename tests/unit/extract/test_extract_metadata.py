"""What pages say about themselves is found, cleaned and believed in the right order."""

import time
from urllib.parse import urljoin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.extract.authors import credited_names, names_in
from tasks.extract.head import Head
from tasks.extract.linked_data import read_linked
from tasks.extract.links import MAX_LINKS, absolute_url, outgoing_links
from tasks.extract.metadata import Metadata, describe
from tests.heads import head_of

URL = "https://www.daily-bugle.example/city/story.html"


def said(head: str = "", body: str = "", *, url: str = URL, lang: str = "en") -> Metadata:
    markup = f'<!doctype html><html lang="{lang}"><head>{head}</head><body>{body}</body></html>'
    return describe(head_of(markup), url)


def ld(text: str) -> str:
    return f'<script type="application/ld+json">{text}</script>'


def test_a_page_in_full():
    found = said(
        "<title>Rockets &amp; rain - Daily Bugle</title>"
        '<meta property="og:title" content="Rockets &amp; rain"><base href="/city/">'
        '<meta property="og:site_name" content="Daily Bugle">'
        '<link rel="canonical" href="story?id=1#top">'
        + ld(
            '{"@graph":[{"@type":"NewsArticle","headline":"Rockets &amp;amp; rain",'
            '"datePublished":"2019-11-23T10:00:00+01:00","author":[{"@id":"#jane"},'
            '{"name":"John Roe"}],"publisher":{"name":"Bugle Ltd"}},'
            '{"@type":"Person","@id":"#jane","name":"Jane Doe"}]}'
        ),
        "<h1>Rockets &amp; rain</h1><p>Text <a href='#x'>x</a> <a href='/a'>a</a>"
        "<a rel=nofollow href='http://b.example/?q#f'>b</a><a href='mailto:x@y.z'>m</a>"
        "<a href='../a'>again</a><a href='javascript:alert(1)'>j</a></p>",
        lang="en_us",
    )
    assert found == Metadata(
        title="Rockets & rain",
        author="Jane Doe; John Roe",
        date="2019-11-23",
        site_name="Daily Bugle",
        canonical_url="https://www.daily-bugle.example/city/story?id=1",
        declared_language="en-US",
        links=("https://www.daily-bugle.example/a", "http://b.example/?q"),
    )


def test_a_page_that_says_nothing():
    assert said(lang="") == Metadata()


@pytest.mark.parametrize(
    ("head", "body", "title"),
    [
        ("<title>Rain on Monday | Daily Bugle</title>", "", "Rain on Monday"),
        ("<title>Daily Bugle: Rain on Monday</title>", "", "Rain on Monday"),
        ("<title>Rain - or snow - on Monday</title>", "", "Rain - or snow - on Monday"),
        ("<title>Rain on Monday » News » Weather</title>", "", "Rain on Monday » News » Weather"),
        ("<title>It will rain on Monday | News | Web</title>", "", "It will rain on Monday"),
        ("<title>Rain: a story of it</title>", "<h1>Rain</h1>", "Rain: a story of it"),
        ("<title>Rain on Monday</title>", "<h1>Daily Bugle</h1>", "Rain on Monday"),
        ("<title>News - Daily Bugle</title>", "", "News"),
        ("<title>Rain, Monday - X</title>", "<h1>X</h1><h1>Rain, Monday</h1>", "Rain, Monday"),
        (
            '<title>x</title><meta property="og:title" content="Rain again on Monday">',
            "<h1>Rain <em>again</em> on Monday, say experts</h1>",
            "Rain again on Monday, say experts",
        ),
        ("", "<h1>Rain</h1>", "Rain"),
        ("", "<svg><title>Icon</title></svg><h1>Rain</h1>", "Rain"),
        # Wikipedia's headline is a description; the other witnesses agree on something else.
        (
            "<title>New Zealand - Wiki</title>" + ld('{"@type":"Article","headline":"An island"}'),
            "<h1>New Zealand</h1>",
            "New Zealand",
        ),
    ],
)
def test_the_title_is_what_readers_would_call_the_page(head: str, body: str, title: str):
    assert said(head, body).title == title


@pytest.mark.parametrize(
    ("byline", "names"),
    [
        ("By Jane Doe", ["Jane Doe"]),
        ("Von Jane Doe und John Roe, 3. Mai 2021", ["Jane Doe", "John Roe"]),
        ("Written by: Jane Doe | Updated 5 May 2020", ["Jane Doe"]),
        ("par Jean-Luc Doe, Anne d'Arc et Zoë", ["Jean-Luc Doe", "Anne d'Arc", "Zoë"]),
        ("Por José Ortega y Gasset", ["José Ortega y Gasset"]),
        ("Por José Ortega y Ana Gómez", ["José Ortega", "Ana Gómez"]),
        ("Jane Doe, PhD (jane@x.example)", ["Jane Doe"]),
        ("posted by freeman1984 on Nov 5, 2020", ["freeman1984"]),
        ("Jane Doe January 5, 2015", ["Jane Doe"]),
        ("Eingestellt von der Michel", ["der Michel"]),
        ("焦鹏", ["焦鹏"]),
        ("https://www.facebook.com/jane", []),
        ("admin", []),
        ("by", []),
        ("View all posts", []),
        ("12:30", []),
        ("", []),
    ],
)
def test_names_are_taken_out_of_bylines(byline: str, names: list[str]):
    assert names_in(byline) == names


def test_a_credit_is_nothing_but_names():
    assert credited_names("By Jane Doe and John van der Roe") == ["Jane Doe", "John van der Roe"]
    for text in (
        "By clicking you agree",
        "Von der Idee zum Produkt",
        "Por favor",
        "Jane Doe",
        "By",
    ):
        assert credited_names(text) == []


@pytest.mark.parametrize(
    ("head", "body", "author"),
    [
        ('<meta name="author" content="Jane Doe">', "", "Jane Doe"),
        ('<meta name=DC.creator content="Doe, Jane"><h1>x', "", "Doe; Jane"),
        ('<meta property="article:author" content="https://fb.example/jane">', "", None),
        ('<meta name="author" content="Jane Doe"><meta name="author" content="J Roe">', "",
         "Jane Doe; J Roe"),
        ('<meta name="twitter:label1" content="Verfasst von"><meta name="twitter:data1" '
         'content="Jane Doe">', "", "Jane Doe"),
        ('<meta name="twitter:label1" content="Lesezeit"><meta name="twitter:data1" '
         'content="Drei Minuten">', "", None),
        ("", "<h1>x</h1><a rel=author href=/j>Jane Doe</a>", "Jane Doe"),
        ("", "<h1>x</h1><span class='article__author-name'>By Jane Doe</span>", "Jane Doe"),
        ("", "<span class=author>A Menu</span><h1>x</h1><b class=author>Jane Doe</b>", "Jane Doe"),
        ("", "<h1>x</h1><div class=comment-author>Troll</div>", None),
        ("", "<h1>x</h1><a href='/author/jd'>Jane Doe</a>", "Jane Doe"),
        ("", "<h1>x</h1><p><em>Von <b>Jane Doe</b></em></p>", "Jane Doe"),
        # An institution is the author only if nobody else is.
        ('<meta name="author" content="Daily Bugle">', "<b class=byline>By Jane Doe</b>",
         "Jane Doe"),
        ('<meta name="author" content="Daily Bugle">', "", "Daily Bugle"),
        (ld('{"@type":"Article","author":"By Jane Doe","creator":"X"}'), "", "Jane Doe"),
        (ld('{"@type":"Recipe","name":"Pie","author":{"@type":"Person","name":["Jane Doe"]}}'), "",
         "Jane Doe"),
    ],
)  # fmt: skip
def test_the_author_is_who_is_named_most_clearly(head: str, body: str, author: str | None):
    assert said(head, body).author == author


@pytest.mark.parametrize(
    ("head", "body", "date"),
    [
        ('<meta property="article:published_time" content="2019-11-23T10:00:00+01:00">', "", True),
        ('<meta itemprop=datePublished content="23.11.2019">', "", True),
        (ld('{"@type":"BlogPosting","datePublished":"2019-11-23"}'), "", True),
        ("", "<h1>x</h1><time datetime='2019-11-23 12:00'>yesterday</time>", True),
        ("", "<h1>x</h1><span itemprop=datePublished content=2019-11-23>x</span>", True),
        ("", "<h1>x</h1><abbr class=published title='2019-11-23T00:00'>Sat</abbr>", True),
        ("", "<h1>x</h1><p class=date>23. November 2019</p>", True),
        ("", "<p>1.1.2001</p><h1>x</h1><p>Stand: 23.11.2019, 18 Uhr</p><p>5.5.2005</p>", True),
        ("", "<h1>x</h1><p class=updated>5 May 2020</p><p class=published>Nov 23, 2019</p>", True),
        ('<meta name=date content="2020-05-05">', "<h1>x</h1><p class=date>23.11.2019</p>", True),
        ('<meta property="article:modified_time" content="2019-11-23">', "", True),
        # UTC's day, unless readers see the next one.
        ('<meta property="article:published_time" content="2019-11-22T23:30:00Z">',
         "<h1>x</h1><time>23.11.2019</time>", True),
        ('<meta property="article:published_time" content="1970-01-01T00:00:00Z">', "", False),
        ('<meta property="article:published_time" content="0000-00-00">', "", False),
        ("", "<h1>x</h1><p>Since 1850 the 31.2.2019 is no day</p>", False),
    ],
)  # fmt: skip
def test_the_date_is_the_day_of_publication(head: str, body: str, date: bool):
    assert said(head, body).date == ("2019-11-23" if date else None)


def test_the_address_tells_the_date_if_the_page_does_not():
    assert said(url="https://a.example/2019/11/23/story").date == "2019-11-23"
    assert said(url="https://a.example/story-20191123.html").date == "2019-11-23"
    assert said(url="https://a.example/2019/11/story-123").date is None


def test_nothing_is_published_after_it_was_fetched():
    head = head_of("<h1>x</h1><p>23.11.2019</p><p>1.2.2018</p>")
    assert describe(head, URL, fetched_at="2019-11-21T23:59:00Z").date == "2018-02-01"
    # On the 22nd by UTC it is the 23rd already in the east.
    for fetched_at in ("2019-11-22T23:59:00Z", "2020-01-01T00:00:00Z", "no time", "", None):
        assert describe(head, URL, fetched_at=fetched_at).date == "2019-11-23"


@pytest.mark.parametrize(
    "script",
    [
        '{"@type":"Article","headline":"Rain","datePublished":"2019-11-23",}',
        '<!-- {"@type":"Article","headline":"Rain","datePublished":"2019-11-23"} -->',
        '//<![CDATA[\n{"@type":"Article","headline":"Rain","datePublished":"2019-11-23"}\n//]]>',
        '/* a */ {"@type":["Article","x"],"headline":"Rain", // b\n "datePublished":"2019-11-23"};',
        '[[{"@graph":[{"@type":"http://schema.org/Article","headline":"Rain",'
        '"datePublished":"2019-11-23"}]}]]',
        '{"@type":"WebSite"}{"@type":"Article","headline":"Rain","datePublished":"2019-11-23"}',
        '{"@type":"Article","headline":"Rain","description":"two\nlines","datePublished":'
        '"2019-11-23"}',
        '{"@type":"Article","headline":"Rain","datePublished":"2019-11-23","image":"<a b="c">"}',
        '{"@type":"Article","url":"http://a//b","headline":"Rain","datePublished":"2019-11-23",}',
    ],
)
def test_broken_json_ld_is_read(script: str):
    found = said(ld(script))
    assert (found.title, found.date) == ("Rain", "2019-11-23")


@pytest.mark.parametrize(
    ("declared", "language"),
    [
        ("EN", "en"),
        ("de_DE", "de-DE"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("sr-latn", "sr-Latn"),
        ("es-419", "es-419"),
        ("rm-SURSILV", "rm-sursilv"),
        ("de, en", "de"),
        ("pt-br.UTF-8", "pt-BR"),
        ("und", None),
        ("x-default", None),
        ("English", None),
        ("", None),
        ("e", None),
    ],
)
def test_languages_are_spelt_as_bcp_47_does(declared: str, language: str | None):
    assert said(lang=declared).declared_language == language


def test_a_language_may_be_declared_elsewhere():
    assert (
        said('<meta http-equiv="Content-Language" content="fr">', lang="").declared_language == "fr"
    )
    assert (
        said('<meta property="og:locale" content="fr_CA">', lang="!").declared_language == "fr-CA"
    )


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ('<meta property="og:site_name" content=" The  Bugle ">', "The Bugle"),
        (ld('{"@type":"Article","author":"x","publisher":{"name":"Bugle Ltd"}}'), "Bugle Ltd"),
        (ld('{"@graph":[{"@type":"WebSite","name":"Bugle Web"}]}'), "Bugle Web"),
        ('<meta name="application-name" content="Bugle App">', "Bugle App"),
        ("<title>Rain on Monday | Weather | Daily Bugle</title>", "Daily Bugle"),
        ("<title>Rain on Monday | Weather</title>", None),
    ],
)
def test_the_site_is_named_as_it_names_itself(head: str, name: str | None):
    assert said(head).site_name == name


def test_a_canonical_address_is_absolute_and_of_the_web():
    assert said('<link rel="canonical" href="//b.example">').canonical_url == "https://b.example/"
    assert said('<link rel="canonical" href="ftp://b.example">').canonical_url is None
    og = '<link rel=canonical href="javascript:x"><meta property="og:url" content="/c?d=e#f">'
    assert said(og).canonical_url == "https://www.daily-bugle.example/c?d=e"


SEGMENT = st.text("abc-_~.", min_size=1, max_size=5)


@settings(max_examples=500)
@given(
    st.lists(SEGMENT, max_size=4).map("/".join),
    st.lists(SEGMENT, min_size=1, max_size=4).map("/".join),
    st.sampled_from(["", "/", "//c.example/", "https://d.example/"]),
    st.sampled_from(["", "?q=1/2", "?a#b"]),
)
def test_links_lead_where_the_standard_library_says(base: str, path: str, start: str, end: str):
    base_url = f"http://a.example/{base}?x=/y/#z"
    expected = urljoin(base_url, start + path + end).partition("#")[0]
    assert absolute_url(start + path + end, base_url) == absolute_url(expected, expected)


def test_links_are_bounded_and_unique():
    anchors = [(f"/{n // 2}", "") for n in range(3 * MAX_LINKS)]
    assert len(outgoing_links(anchors, URL, URL)) == MAX_LINKS
    assert outgoing_links([("/a#x", ""), ("/a#y", "nofollow")], URL, URL) == (
        "https://www.daily-bugle.example/a",
    )
    assert outgoing_links([("story.html#x", ""), (" ", ""), ("http://", "")], URL, URL) == ()


TEXT = st.text(max_size=60)
PAIRS = st.lists(st.tuples(st.sampled_from(["author", "date", "og:title", "x"]), TEXT), max_size=5)
SIGNS = st.lists(
    st.tuples(st.sampled_from(["h1", "time", "byline", "author", "credit", "dated"]), TEXT, TEXT),
    max_size=6,
)


@settings(max_examples=200)
@given(PAIRS, SIGNS, st.lists(TEXT, max_size=3), TEXT, TEXT)
def test_no_page_is_too_strange(pairs, signs, scripts, title, url):
    head = Head(
        title=title,
        language=title,
        metas=tuple(pairs),
        links=tuple(pairs),
        anchors=tuple(pairs),
        base=url,
        json_ld=tuple(scripts),
        signs=tuple(signs),
    )
    found = describe(head, url)
    for value in (found.title, found.author, found.site_name, found.date):
        assert value is None or (value == " ".join(value.split()) and value.encode())


EVIL = [
    '"' * 200_000,
    '\\"' * 100_000,
    "/*" * 100_000,
    "[" * 200_000,
    '{"a":' * 50_000,
    "{" * 200_000,
    '{"author":[{' * 20_000,
    ",}" * 100_000,
]
TIRING = [
    "a-" * 50_000,
    "by " * 50_000,
    " :" * 50_000,
    "1 de " * 50_000,
    "A. " * 50_000,
    "&amp;" * 50_000,
]


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_hostile_json_ld_costs_little(evil: str):
    start = time.process_time()
    read_linked([evil] * 3)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("text", TIRING, ids=range(len(TIRING)))
def test_hostile_heads_cost_little(text: str):
    head = Head(
        title=text,
        language=text,
        metas=tuple((name, text) for name in ("author", "og:title", "date", "x")) * 500,
        anchors=((text, ""),) * 5000,
        signs=tuple((kind, text, text) for kind in ("h1", "byline", "credit", "dated", "time"))
        * 400,
    )
    start = time.process_time()
    describe(head, "https://a.example/" + text)
    assert time.process_time() - start < 1.0
