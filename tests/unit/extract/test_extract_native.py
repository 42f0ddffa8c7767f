"""The compiled reader: the text of a page in blocks, whatever the markup, in linear time."""

import html as html_module
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from tasks.extract import _native
from tasks.extract.content import as_markdown, as_text, content_model, head_of

SECONDS_A_PAGE = 2.0
MAX_BLOCKS = 50_000
BYTES_A_BYTE = 60
NOT_TEXT = [
    "script",
    "style",
    "noscript",
    "template",
    "svg",
    "iframe",
    "select",
    "textarea",
    "title",
    "head",
    "math",
]


def texts(html: str) -> list[str]:
    return [block.text for block in _native.Page(html).blocks]


def text_of(html: str, markdown: bool = False) -> str:
    blocks = _native.Page(html, markdown).blocks
    return as_markdown(blocks) if markdown else as_text(blocks)


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>one<p>two<div>three</div>four", ["one", "two", "three", "four"]),
        ("<ul><li>a<li>b<ul><li>c</ul><li>d</ul>", ["a", "b", "c", "d"]),
        ("<dl><dt>t<dd>d<dt>u</dl>", ["t", "d", "u"]),
        ("one<br><br>two<br>three", ["one", "two\nthree"]),
        ("<b>bold<p>in</b>side</p>", ["bold", "inside"]),
        ("a<!-- <p>no</p> -->b<!DOCTYPE x>c<?php no ?>d", ["abcd"]),
        ("<script>if (a < b) '<p>no</p>'</script>yes<style>p{}</style>", ["yes"]),
        ("<h1>head</h2>tail", ["head", "tail"]),
        ("  many \n\t blanks&nbsp; here ", ["many blanks here"]),
        ("soft&shy;hyphen zero​width", ["softhyphen zerowidth"]),
        ("ꦥ\u200bꦿꦚ", ["ꦥ\u200bꦿꦚ"]),
        ("2 < 3 &amp;&amp; 4 > 1", ["2 < 3 && 4 > 1"]),
        ("<p>cut <a href='x", ["cut"]),
        ("<p title='a > b'>quoted", ["quoted"]),
        ("<table><tr><td>a<td>b</table>after", ["a", "b", "after"]),
        ("<select><option>no</select>yes", ["yes"]),
        ("<svg><text>no</text></svg><p>yes", ["yes"]),
        ("<div><svg><g><text>no<p>yes</div>", ["yes"]),
        ("<div><svg><foreignObject><p>no</foreignObject></svg>yes</div>", ["yes"]),
        ("<div><noscript><p>no</noscript>yes</div>", ["yes"]),
        ("<div><select><p>no</select>yes</div>", ["yes"]),
        ("<p>a<math/>b", ["ab"]),
        ("<p>a<math><mi>b<p>c<math><mi>d</mi></math>", ["ab", "c$d$"]),
        ("<head><title/><script src=x /></head><p>yes", ["yes"]),
        (
            "<?xml version='1.0'?><title/><p>yes<script src=x /> and</p><script>no</script>",
            ["yes and"],
        ),
        ("<script src=x/><p>no</p></script>yes", ["yes"]),
        ("<a title=x/>open</a>", ["open"]),
        ("<div/>a<div>b</div></div>c", ["a", "b", "c"]),
        ("<frameset><frame src=a><noframes><p>yes</noframes></frameset>", ["yes"]),
    ],
)
def test_blocks_are_what_a_browser_shows(html, expected):
    assert texts(html) == expected


def test_a_data_table_gives_a_row_a_block_and_empty_cells_keep_their_place():
    table = (
        "<table><tr><th>city<th>people<th>since<tr><td>Bonn<td><td>11"
        "<tr><td><td>3,500<td>40</table>"
    )
    assert texts(table) == ["city | people | since", "Bonn |  | 11", " | 3,500 | 40"]


def test_a_table_that_lays_out_a_page_is_no_data():
    long = "A sentence that goes on for some time, as sentences in articles do. " * 5
    page = f"<table><tr><td><ul><li>menu</ul><td><p>{long}<p>{long}</table>"
    assert texts(page) == ["menu", long.strip(), long.strip()]


def test_code_keeps_its_indentation():
    page = "<pre><code class='language-python'>def f():\n    return 1 &lt; 2\n</code></pre>"
    assert text_of(page) == "def f():\n    return 1 < 2"
    assert text_of(page, markdown=True) == "```python\ndef f():\n    return 1 < 2\n```"


def test_numbers_beside_code_are_left_out():
    page = (
        "<table><tr><td class='gutter'><pre>1\n2</pre></td>"
        "<td class='code'><pre>a\n  b</pre></td></tr></table>"
    )
    assert texts(page) == ["a\n  b"]


@pytest.mark.parametrize(
    ("html", "tex"),
    [
        ("<math alttext='x^2'><mi>x</mi></math>", "$x^2$"),
        ("<math><msup><mi>e</mi><mrow><mi>i</mi><mi>π</mi></mrow></msup></math>", "$e^{i π}$"),
        (
            "<math><mfrac><mn>1</mn><msqrt><mi>n</mi></msqrt></mfrac></math>",
            r"$\frac{1}{\sqrt{n}}$",
        ),
        (
            "<span class='katex'><span class='katex-mathml'><math><semantics><mi>E</mi>"
            "<annotation encoding='application/x-tex'>E=mc^2</annotation></semantics></math></span>"
            "<span class='katex-html' aria-hidden='true'>E=mc2</span></span>",
            "$E=mc^2$",
        ),
        (
            "<span class='MathJax_Preview'>dup</span><script type='math/tex; mode=display'>a&b"
            "</script>",
            "$$a&b$$",
        ),
        ("<img class='tex' alt='{\\displaystyle \\sum_i x_i}'>", r"$\sum_i x_i$"),
        ("<img src='/latex.php?latex=x' alt='\\alpha' class='latex'>", r"$\alpha$"),
    ],
)
def test_mathematics_comes_out_as_tex_once(html, tex):
    assert texts(f"<p>so {html} holds") == [f"so {tex} holds"]


def test_lists_and_headings_are_marked():
    page = (
        "<h2>Plan</h2><ol start=3><li>three<li>four<ul><li>deep</ul></ol>"
        "<blockquote>said</blockquote>"
    )
    assert text_of(page) == "Plan\n\n- three\n- four\n  - deep\n\nsaid"
    assert text_of(page, markdown=True) == "## Plan\n\n3. three\n4. four\n  - deep\n\n> said"


def test_markdown_marks_code_and_emphasis_inside_blocks():
    page = "<p>Call <code>f(x)</code>, <b>now</b> or<i> never</i>."
    assert text_of(page, markdown=True) == "Call `f(x)`, **now** or *never*."
    assert text_of(page) == "Call f(x), now or never."


def test_what_a_page_says_of_itself():
    page = _native.Page(
        "<html lang=de><head><title>A &amp; B</title><meta property='og:title' content='x&quot;y'>"
        "<link rel=CANONICAL href='/c'><base href='/b/'>"
        "<script type='application/ld+json'>{\"a\": 1}</script></head><body>"
        "<h1>Head <i>line</i></h1>"
        "<span class='byline'>By Ann</span><time datetime='2020-01-02'>Jan 2</time>"
        "<a href='/x?a=1&amp;b=2' rel='Author'>x</a>"
    )
    assert (page.title, page.language, page.base) == ("A & B", "de", "/b/")
    assert page.metas == [("og:title", 'x"y')]
    assert page.links == [("canonical", "/c")]
    assert page.json_ld == ['{"a": 1}']
    assert page.signs[:3] == [
        ("h1", "", "Head line"),
        ("byline", "byline", "By Ann"),
        ("credit", "", "By Ann"),
    ]
    assert page.signs[3] == ("time", "", "2020-01-02")
    assert page.anchors == [("/x?a=1&b=2", "author")]


@given(st.text(alphabet="&#;x0123456789abcAamplgtcopynotineur= <", max_size=40))
@settings(max_examples=300, deadline=None)
def test_character_references_are_those_of_the_standard_library(text):
    text = "." + text.replace("<", "") + "."
    oracle = html_module.unescape(text)
    shown = texts("<p>" + text)[0]
    if "\ufffd" in shown or any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in shown):
        return  # the library drops what no text may hold, browsers show a sign in its place
    oracle = re.sub("[\xad\u200b\ufeff]", "", oracle)
    assert shown.split() == oracle.replace("\xa0", " ").split()


MARKUP = st.sampled_from(
    [
        "<p>",
        "</p>",
        "<div>",
        "</div>",
        "<ul>",
        "<li>",
        "</ul>",
        "<table>",
        "<tr>",
        "<td>",
        "</td>",
        "</table>",
        "<b>",
        "</b>",
        "<a",
        "href=x>",
        "</a>",
        "<br>",
        "<h1>",
        "</h1>",
        "<h3>",
        "</h2>",
        "<section>",
        "</section>",
        "<span>",
        "</span>",
        "<dl>",
        "<dt>",
        "<dd>",
        "</dl>",
        "<em>",
        "</em>",
        "<blockquote>",
        "</blockquote>",
        "<!--x-->",
        "<script>no</script>",
        "<select><option>no</select>",
        "<textarea>no<p></textarea>",
        "<title>no</title>",
        "<font>",
        "</font>",
        "<center>",
        "</center>",
        "<pre>",
        "</pre>",
        "<button>",
        "</button>",
        "<form>",
        "</form>",
        "<option>",
        "<img src=x>",
        "<div/>",
        "<br/>",
        "<body>",
        "</body>",
        "<xmp><b></xmp>",
    ]
)


@given(st.lists(st.one_of(MARKUP, st.sampled_from(["ab", "cd ", " ef", "x<y"])), max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_letter_is_lost_added_or_moved_against_lexbor(parts):
    html = "<body>" + "".join(parts)
    tree = LexborHTMLParser(html)
    tree.strip_tags(NOT_TEXT, recursive=True)
    expected = re.findall(r"\w", tree.body.text() if tree.body else "")
    found = re.findall(r"\w", " ".join(texts(html)))
    if "<t" in html:  # browsers move text in a table that is in no cell before it
        expected, found = sorted(expected), sorted(found)
    assert found == expected


@pytest.mark.parametrize("html", ["", "<!", "<body>", "<body>a", "</body>", "<td>", "<table><td>"])
def test_the_shortest_pages_are_pages(html):
    page = _native.Page(html)
    assert [block.text for block in page.blocks] == (["a"] if html.endswith("a") else [])
    assert len(_native.seen(page)) == len(page.blocks)


@pytest.mark.parametrize(
    "html",
    [
        "<meta name=description content='{}'>",
        "<title>{}</title>",
        "<script type='application/ld+json'>{}</script>",
        "<h1>{}</h1>",
        "<p>2020 {}",
    ],
)
@pytest.mark.parametrize("shift", range(4))
def test_no_limit_cuts_a_character_in_two(html, shift):
    """Half a character is no text: Python could not read it, and the page would be lost."""
    long = "-" * shift + " \N{EARTH GLOBE EUROPE-AFRICA}" * 50_000
    head_of(_native.Page(html.format(long)))


def test_text_beyond_the_largest_number_of_blocks_or_elements_is_kept():
    num_paragraphs = MAX_BLOCKS + 1000
    blocks = _native.Page("<p><a href=x>word</a>" * num_paragraphs).blocks
    assert len(blocks) == MAX_BLOCKS
    assert blocks[-1].text == "\n".join(["word"] * 1001)
    assert blocks[-1].link_chars == 1001 * len("word")
    full = "<i></i>" * 1_000_000
    assert texts(f"<div>{full}<p>one</p><div>two</div></div>three") == ["one", "two", "three"]


def test_a_model_of_other_features_is_refused():
    """It would be read beyond the end of a row."""

    def forest(feature, left=1):
        return {
            "feature": np.array([feature, 0, 0], np.int32),
            "left": np.array([left, 1, 2], np.int32),
            "right": np.array([2, 1, 2], np.int32),
            "threshold": np.array([0.5, np.inf, np.inf]),
            "value": np.array([0.0, -1.0, 1.0], np.float32),
            "roots": np.array([0], np.int32),
            "depths": np.array([1], np.int32),
        }

    seen, guessed = map(len, _native.feature_names())
    page = _native.Page("<p>text")
    assert _native.Model(forest(seen - 1), forest(seen + guessed - 1)).score(page).shape == (1,)
    for first, second in [
        (forest(seen), forest(0)),
        (forest(0), forest(seen + guessed)),
        (forest(0), forest(-1)),
        (forest(0, left=3), forest(0)),
        (forest(0, left=-1), forest(0)),
    ]:
        with pytest.raises(ValueError, match="does not fit"):
            _native.Model(first, second)


HOSTILE = {
    "nested": "<div>" * 100_000 + "deep" + "</div>" * 100_000,
    "nested inline": "<b><i>" * 100_000 + "deep",
    "attributes": "<p " + " ".join(f"a{i}=x" for i in range(200_000)) + ">deep",
    "wide table": "<table>" + ("<tr>" + "<td>x" * 20) * 20_000 + "</table>deep",
    "nested tables": "<table><tr><td>" * 20_000 + "deep",
    "one text": "<p>" + "word " * 2_000_000 + "deep",
    "paragraphs": "<p>x" * 200_000 + "<p>deep",
    "open comment": "<!--" * 100_000 + "--><p>deep",
    "references": "&amp" * 500_000 + "deep",
    "misnested": "<a><p></a>" * 100_000 + "deep",
    "items": "<ul><li>" * 50_000 + "deep",
    "end tags": "<p>deep" + "</p></div></b>" * 200_000,
    "deep text": "<div>" * 250 + "word " * 400_000 + "deep",
    "deep paragraphs": "<div>" * 250 + "<p>x" * 500_000 + "<p>deep",
    "rows begun anew": "<table><tr><td>a<td>b<tr><td>a<td>b<tr>"
    + "<td>x<td><table><tr><td><table><tr><td>y</table></table>" * 20_000
    + "</table>deep",
    "long language": f"<pre class='language-{'a' * 300_000}'>" + "<b></b>" * 100_000 + "deep",
    "names": "".join(f"<x{i}></x{i}>" for i in range(200_000)) + "deep",
    "formulas without end": "<math><mi>x" * 100_000 + "<p>deep",
    "scripts that close themselves": "<script/>" * 300_000 + "deep",
    "pictures without end": "<svg><g>" * 300_000 + "<p>deep",
}


@pytest.mark.parametrize("markdown", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pages_take_linear_time(name, markdown):
    model = content_model()
    started = time.process_time()
    page = _native.Page(HOSTILE[name], markdown)
    assert page.blocks[-1].text.rstrip("*`").endswith("deep")
    model.score(page)
    assert time.process_time() - started < SECONDS_A_PAGE


@pytest.mark.parametrize("part", ["<p>x", "<b></b>", "<td>", "<p class=a>x y z "])
def test_hostile_pages_take_linear_memory(part):
    num_bytes = 10_000_000
    program = (
        "import resource; from tasks.extract import _native;"
        f"html = {part!r} * ({num_bytes} // {len(part)}) + 'end';"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024;"
        "before = peak(); _native.seen(_native.Page(html)); print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(done.stdout) < BYTES_A_BYTE * num_bytes


def test_the_model_scores_as_its_trainer_does():
    """LightGBM on the same features is the witness, also at thresholds no float can hold."""
    lightgbm = pytest.importorskip("lightgbm")
    from tasks.extract.train import forest_arrays

    words = ["a", "the", "of", "stone", "water", "shelf", "archive", "Read", "more", "2019"]
    html = "".join(f"<p class=c{i % 7}>{' '.join(words[: i % 11])} {i}</p>" for i in range(300))
    page = _native.Page(html)
    seen = _native.seen(page)
    labels = (np.arange(len(seen)) % 3 == 0).astype(float)

    def fit(rows):
        settings = {"objective": "cross_entropy", "num_leaves": 15, "verbose": -1, "num_threads": 1}
        return lightgbm.train(settings, lightgbm.Dataset(rows, labels), num_boost_round=20)

    first = fit(seen)
    guess = first.predict(seen)
    both = np.concatenate([seen, _native.guessed(page, guess.astype(np.float32))], axis=1)
    second = fit(both)
    model = _native.Model(forest_arrays(first), forest_arrays(second))
    np.testing.assert_allclose(model.score(page), second.predict(both), atol=1e-6)
