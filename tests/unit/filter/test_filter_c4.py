"""C4's rules: which lines go, and where the rules for pages look."""

import time

import pytest

from tasks.filter.c4 import clean_page, count_sentences

PAGE = """\
A first line of prose with a source.[12] It has two sentences.
Menu entry
We use cookies to make this site better for you.
Please enable JavaScript to read this page.
Home
A last line, which ends without a full stop"""


def test_unwanted_lines_go_and_are_counted():
    page = clean_page(PAGE)
    assert page.text == (
        "A first line of prose with a source. It has two sentences.\n"
        "A last line, which ends without a full stop"
    )
    assert page.removed == {"few_words": 2, "policy": 1, "javascript": 1}
    assert count_sentences(page.text.split("\n")) == 3


def test_a_line_with_an_endless_word_goes():
    assert clean_page(f"three words here {'x' * 1001}").removed == {"long_word": 1}
    assert clean_page(f"three words here {'x' * 1000}").removed == {}


@pytest.mark.parametrize(
    ("text", "has_curly", "has_lorem"),
    [
        ("A line that shows {code} to all.", True, False),
        ("{", False, False),  # a line of too few words is gone before
        ("The javascript function f() { x }", False, False),
        ("Lorem Ipsum dolor sit amet", False, True),
        ("Lorem ipsum", False, False),
    ],
)
def test_the_rules_for_pages_look_at_lines_that_are_left(text, has_curly, has_lorem):
    rules = {breach.rule for breach in clean_page(text).breaches}
    assert ("curly_bracket" in rules, "lorem_ipsum" in rules) == (has_curly, has_lorem)


@pytest.mark.parametrize(
    ("text", "num_sentences"),
    [
        ("One sentence here.", 1),
        ("One is here. Two is here! Is three?", 3),
        ('He said: "This is one." And this two.', 2),
        ("Version 1.2.3 is one sentence", 1),
        ("一句 话 在这里。第二句。第三句", 3),
        ("", 0),
    ],
)
def test_sentences_are_counted_by_what_ends_them(text, num_sentences):
    assert count_sentences([text] if text else []) == num_sentences


@pytest.mark.parametrize("text", ["[" * 300_000, "." * 300_000, ". " * 150_000, ".\"'" * 100_000])
def test_time_is_in_proportion_to_the_text(text: str):
    started = time.process_time()
    clean_page(text)
    assert time.process_time() - started < 2
