"""Wikitext: what a reader reads, and nothing that takes long."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.extract.wikitext import wiki_text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("'''Bold''' and ''slanted''", "Bold and slanted"),
        ("A [[link]], a [[target|shown]] one, [[dog]]s", "A link, a shown one, dogs"),
        ("See [[:Category:Dogs]] and [[a#b|c]]", "See Category:Dogs and c"),
        ("x[[File:A b.jpg|thumb|100px|A [[dog]] ''here'']]y", "xy"),
        ("x[[Datei:A.jpg|mini|Ein [[Hund]]]]y [[Kategorie:Hunde|*]]", "xy"),
        ("x[[Bild:alt.png|mini|alter Name]]y", "xy"),
        ("x [[fr:Chien]] y [[fr:Chien|shown]]", "x y shown"),
        ("[https://a.example the site], [https://b.example] https://c.example",
         "the site, https://c.example"),
        ("a&nbsp;b &amp; &lt;c&gt; &#228;", "a b & <c> ä"),
        ("one<ref>{{cite web|url=x|title=[[y]]}}</ref> two<ref name=\"a\" /> three",
         "one two three"),
        ("one<ref>never closed two<ref>closed</ref> three", "onenever closed two three"),
        ("a <!-- hidden [[ {{ --> b __NOTOC__", "a b"),
        ("<nowiki>[[not]] {{a}} &lt;</nowiki> ''x''", "[[not]] {{a}} < x"),
        ("10<sup>6</sup> H<sub>2</sub>O", "10^6 H2O"),
        ("one<br />two", "one\ntwo"),
        ("<span style=\"display:none\">x</span>y<div class=\"navbox\">z</div>", "y"),
        ("{{Infobox|a={{b|[[c]]}}|d=\n* e}}\nText", "Text"),
        ("The '''Rhine''' ({{lang-de|Rhein}}; {{IPA-de|raɪn}}) is long.",
         "The Rhine (Rhein) is long."),
        ("Born ({{birth date|1900|1|2}}) there {{citation needed}}.", "Born there."),
        ("It is {{convert|5|km|mi}} or {{convert|5|to|10|km|mi}} of {{nowrap|10 [[mile]]s}}.",
         "It is 5 km or 5 to 10 km of 10 miles."),
        ("{{circa|1900}}{{snd}}{{lang|fr|''la vie''}} {{frac|1|2}} {{formatnum:1200}}",
         "c. 1900 – la vie 1/2 1200"),
        ("unclosed {{nowrap|a and [[b] c", "unclosed nowrap|a and b] c"),
        ("closed }} too ]] often", "closed }} too ]] often"),
        ("{{{1|given}}}", "given"),
        ("", ""),
    ],
)  # fmt: skip
def test_inline_markup(source, text):
    assert wiki_text(source, ["Datei", "Kategorie"]) == text


def test_formulas_and_code_are_kept_as_they_are():
    source = (
        "Let <math>a < b_{x}</math> and\n<math display=\"block\">\\sum_{i}\n {{i}}</math>\n"
        "Use <code>x = [[y]]</code> or\n<syntaxhighlight lang=\"python\" line>\n"
        "def f(a):\n\n\tif a < 1:  # [[no link]], {{no}}\n        return '''a'''\n"
        "</syntaxhighlight>\n<pre>\n  two &lt; spaces\n</pre> "
        "<syntaxhighlight inline>a|b</syntaxhighlight> <chem>H2O</chem>"
    )  # fmt: skip
    assert wiki_text(source) == (
        "Let $a < b_{x}$ and\n$$\\sum_{i} {{i}}$$\nUse x = y or\n\n"
        "def f(a):\n\n\tif a < 1:  # [[no link]], {{no}}\n        return '''a'''\n\n"
        "  two &lt; spaces\n\n a|b $\\ce{H2O}$".replace("&lt;", "<")
    )


def test_lists_headings_and_empty_sections():
    source = (
        "Lead.\n== One ==\n* a\n** b\n* c\n# first\n# second\n## inner\n# third\n; term : meaning\n"
        ": indented\n== Notes ==\n<references />\n{{reflist}}\n=== Sub ===\n[[Category:X]]\n"
        "== Two ==\n=== Deep ''er'' ===\ntext\n== End ==\n"
    )
    assert wiki_text(source) == (
        "Lead.\n\nOne\n\n- a\n  - b\n- c\n1. first\n2. second\n  1. inner\n3. third\n"
        "term : meaning\nindented\n\nTwo\n\nDeep er\n\ntext"
    )


def test_tables_are_rows_of_cells():
    source = (
        'Before\n{| class="wikitable"\n|+ Caption\n! City !! [[Population]]\n'
        "|-\n| Bonn || 330,000\n"
        "|- style=\"x\"\n| rowspan=2 | Köln<ref>x</ref>\n| ''1,080,000''\n* a\n* b\n|}\nAfter\n"
        '{| class="infobox"\n| gone\n|}'
    )
    assert wiki_text(source) == (
        "Before\n\nCaption\nCity | Population\nBonn | 330,000\nKöln | 1,080,000 a b\n\nAfter"
    )


@given(st.text(st.sampled_from("{}[]|<>='*#:;\n ab!-/&\ue000\ue001\ue002\ue003"), max_size=80))
def test_any_markup_gives_a_text_without_signs_of_ours(source):
    text = wiki_text(source)
    assert not set(text) & set("\ue000\ue001\ue002\ue003")


@pytest.mark.parametrize(
    "piece",
    ["{{", "[[", "{{a|", "[[a|", "{{a|[[b", "{{{", "<ref>", "<ref name=\"", "<math>", "<pre ",
     "<!--",
     "''", "'''''", "== ", "{|", "\n* {{a|[[b", "}}", "\n|-\n|", "(", "&", "<b ", "<i>"],
)  # fmt: skip
def test_brackets_that_nobody_closes_cost_no_more_than_others(piece):
    started = time.process_time()
    wiki_text(piece * (20_000 // len(piece)))
    assert time.process_time() - started < 3


def test_nested_templates_are_bounded():
    deep = "{{nowrap|" * 5000 + "x" + "}}" * 5000
    started = time.process_time()
    assert wiki_text(f"before {deep} after").startswith("before")
    assert time.process_time() - started < 3
