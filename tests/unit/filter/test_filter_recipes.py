"""Recipes compose in the user's order; each rule breaks just beyond its threshold, and says so."""

import re
import time
from typing import Any

import pytest

from tasks.filter.c4 import clean_page
from tasks.filter.config import FilterConfig
from tasks.filter.dolma import longest_repetition
from tasks.filter.measure import measure
from tasks.filter.outliers import Reference, count_by_language
from tasks.filter.refinedweb import correct_lines
from tasks.filter.rules import Candidate, Lists, Verdict, judge
from tasks.filter.thresholds import RefinedWeb
from tests.unit.filter.test_filter_rules import GOOD

REFINEDWEB = RefinedWeb(max_removed_words=1.0)


def verdict(text: str, recipe: str, lists: Lists | None = None, **thresholds: Any) -> Verdict:
    """What one recipe says of an English text."""
    values = {"recipes": [recipe], recipe.replace("-", "_"): thresholds}
    config = FilterConfig.model_validate(values)
    document = Candidate(text=text, kind="prose", language="en", language_score=0.9)
    return judge([document], config, lists or Lists())[0]


def detail(text: str, recipe: str, rule: str, lists: Lists | None = None, **limits: Any) -> str:
    return next(
        (b.detail for b in verdict(text, recipe, lists, **limits).broken if b.rule == rule), ""
    )


def distinct(count: int, num_chars: int = 5) -> list[str]:
    """Different words of equal length."""
    return [chr(97 + n // 26) + chr(97 + n % 26) + "x" * (num_chars - 2) for n in range(count)]


@pytest.mark.parametrize(
    ("rule", "good", "bad", "says"),
    [
        ("word_count", distinct(50), distinct(49), "words 49 < 50"),
        (
            "mean_word_length",
            distinct(60, 3),
            [*distinct(59, 3), "ab"],
            "mean_word_chars 2.98333 < 3",
        ),
        ("mean_word_length", distinct(60, 10), distinct(60, 11), "mean_word_chars 11 > 10"),
        (
            "hash_signs",
            [*distinct(90), *["#"] * 10],
            [*distinct(88), *["#"] * 12],
            "hash_signs_a_word 0.12 > 0.1",
        ),
        (
            "ellipses",
            [*distinct(90), *["…"] * 10],
            [*distinct(88), *["..."] * 12],
            "ellipses_a_word 0.12 > 0.1",
        ),
        (
            "alphabetic_words",
            [*distinct(80), *["12345"] * 20],
            [*distinct(79), *["12345"] * 21],
            "alphabetic 0.79 < 0.8",
        ),
        (
            "stop_words",
            [*distinct(60), "the", "of"],
            [*distinct(60), "the", "The"],
            "stop_words 1 < 2",
        ),
    ],
)
def test_gopher_quality_at_its_thresholds(rule: str, good: list[str], bad: list[str], says: str):
    assert detail(" ".join(good), "gopher-quality", rule) == ""
    assert detail(" ".join(bad), "gopher-quality", rule) == says


@pytest.mark.parametrize(
    ("rule", "good", "bad", "says"),
    [
        ("bullet_lines", ["- x"] * 9 + ["x"], ["- x"] * 10 + ["x"], "bullet_lines 0.909091 > 0.9"),
        (
            "ellipsis_lines",
            ["x..."] * 3 + ["x"] * 7,
            ["x…"] * 4 + ["x"] * 6,
            "ellipsis_lines 0.4 > 0.3",
        ),
    ],
)
def test_gopher_quality_of_lines(rule: str, good: list[str], bad: list[str], says: str):
    assert detail("\n".join(good), "gopher-quality", rule) == ""
    assert detail("\n".join(bad), "gopher-quality", rule) == says


def test_stop_words_stand_alone_in_small_letters():
    for text, num in [("(of) state-of-the-art", 2), ("The OF other weather", 0), ("_of_ the.", 1)]:
        says = f"stop_words {num} < 8"
        assert detail(text, "gopher-quality", "stop_words", min_stop_words=8) == says


def test_gopher_repetition_at_its_thresholds():
    lines = distinct(20)
    assert (
        detail("\n".join([*lines[:7], *["again"] * 4]), "gopher-repetition", "duplicate_lines")
        == ""
    )
    six = "\n".join([*lines[:6], *["again"] * 5])
    assert detail(six, "gopher-repetition", "duplicate_lines") == "repeated_lines 0.363636 > 0.3"
    pair = [word for other in distinct(40) for word in ("buy", "now", other)]
    share = 40 * len("buy now") / len(" ".join(pair))
    found = detail(" ".join(pair), "gopher-repetition", "top_2gram")
    assert found == f"top_2gram_chars {share:.6g} > 0.2"
    assert detail(" ".join(pair), "gopher-repetition", "top_2gram", max_top_2gram_chars=share) == ""
    twice = " ".join([*distinct(10), *distinct(100)])
    assert detail(twice, "gopher-repetition", "duplicate_10gram") == ""
    thrice = " ".join([*distinct(10), *distinct(10), *distinct(60)])
    assert detail(thrice, "gopher-repetition", "duplicate_10gram").startswith(
        "repeated_10gram_chars"
    )


def test_fineweb_at_its_thresholds():
    lines = [f"A line that is numbered {n} and longer than thirty characters" for n in range(100)]
    dotted = [line + "." if n < 12 else line for n, line in enumerate(lines)]
    assert detail("\n".join(dotted), "fineweb", "punctuated_lines") == ""
    dotted[0] = lines[0]
    assert detail("\n".join(dotted), "fineweb", "punctuated_lines") == "punctuated 0.11 < 0.12"
    short = [f"{n:030}" if n < 67 else line for n, line in enumerate(lines)]
    assert detail("\n".join(short), "fineweb", "short_lines") == ""
    short[67] = "67"
    assert detail("\n".join(short), "fineweb", "short_lines") == "short_lines 0.68 > 0.67"
    assert detail("\n".join([*lines, lines[0]]), "fineweb", "fineweb_duplicate_line_chars") == ""
    again = detail("\n".join([*lines[:90], lines[0]]), "fineweb", "fineweb_duplicate_line_chars")
    assert again.startswith("repeated_line_chars 0.0108") and again.endswith(" > 0.01")
    newlines = "\n".join(["a b c"] * 10 + ["a"]), "\n".join(["a b c"] * 9 + ["a"])
    assert [detail(text, "fineweb", "newline_ratio") for text in newlines] == [
        "line_ends_a_word 0.322581 > 0.3",
        "line_ends_a_word 0.321429 > 0.3",
    ]
    assert detail("a b c d\nb c d", "fineweb", "newline_ratio") == ""


def test_c4_strict_takes_out_lines_without_an_end():
    text = 'This is a line.\nThis is none\nIs this one?\nThis trails off...\nHe said "this is."'
    assert clean_page(text, strict=True).text.split("\n") == [
        "This is a line.",
        "Is this one?",
        'He said "this is."',
    ]
    with pytest.raises(ValueError, match=r"bad_words\.paths"):
        FilterConfig(recipes=["c4-strict"])


def test_a_recipe_that_edits_is_seen_by_those_after_it_only():
    text = "\n".join([*GOOD.split("\n"), *["Menu"] * 30])
    document = Candidate(text=text, kind="prose", language="en", language_score=1.0)

    def rules(*recipes: str) -> list[str]:
        config = FilterConfig(recipes=list(recipes))
        return [breach.rule for breach in judge([document], config)[0].broken]

    assert rules("c4", "fineweb") == []
    assert rules("fineweb", "c4") == ["short_lines", "fineweb_duplicate_line_chars"]
    assert "duplicate_lines" in rules("gopher-repetition", "c4")
    assert "duplicate_lines" not in rules("c4", "gopher-repetition")


def test_bundles_stand_for_their_recipes():
    config = FilterConfig(recipes=["c4", "fineweb-all", "code"])
    assert config.chain == ["c4", "gopher-repetition", "gopher-quality", "fineweb", "code"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("BUY NOW OR NEVER", "uppercase"),
        ("12 34", "number"),
        ("3 likes", "counter"),
        ("1.2K comments", "counter"),
        ("Home", "one_word"),
        ("Read more...", "call_to_act"),
        ("2 items in cart", "call_to_act"),
        ("Half of all LETTERS", None),
        ("We met 3 likes minds there", None),
    ],
)
def test_refinedweb_takes_furniture_out(line: str, reason: str | None):
    edited = correct_lines(f"A line of text.\n{line}\nAnother one.", REFINEDWEB)
    assert edited.removed == ({reason: 1} if reason else {})
    assert (line in edited.text) == (reason is None)


def test_refinedweb_corrects_short_lines_and_drops_pages_full_of_furniture():
    short, long = (
        "The cat sat there. Read more...",
        "The cat sat on the mat by the door. Read more...",
    )
    assert correct_lines(short, REFINEDWEB).text == "The cat sat there."
    assert correct_lines(long, REFINEDWEB).text == long
    prose = "\n".join([" ".join(distinct(19))] * 5)  # 95 words
    assert correct_lines(prose + "\nHome" * 5, RefinedWeb()).breaches == ()
    (breach,) = correct_lines(prose + "\nHome" * 6, RefinedWeb()).breaches
    assert breach == ("refinedweb_words", "removed_words 0.0594059 > 0.05")


def test_dolma_counts_repetitions_on_end():
    (once, often, pairs) = measure(["a b c d", "so " + "ha " * 99, "x y " * 100 + "x"])
    assert list(map(longest_repetition, (once, often, pairs))) == [0, 99, 100]
    assert detail("so " + "ha " * 99, "dolma", "dolma_repetition") == ""
    assert detail("so " + "ha " * 100, "dolma", "dolma_repetition") == "repeats 100 > 99"
    assert detail(" ".join(distinct(49)), "dolma", "dolma_word_count") == "words 49 < 50"
    assert detail(" ".join(distinct(50)), "dolma", "dolma_word_count") == ""
    assert detail("the cat the dog", "dolma", "dolma_stop_words") == "", "each time counts"


def _references(texts: list[str]) -> Lists:
    documents = [Candidate(text=text, kind="prose", language="en") for text in texts]
    counts = count_by_language(documents)
    return Lists(references={language: Reference.of(c) for language, c in counts.items()})


def test_outliers_are_those_unlike_the_others():
    lists = _references([GOOD] * 300)
    limits: dict[str, Any] = {"min_reference_words": 1_000}
    assert verdict(GOOD, "outliers", lists, **limits).broken == []
    assert detail("Too short.", "outliers", "outlier_length") == "chars 10 < 200"
    noise = " ".join(f"{n * 7919:x}{n * 104729:x}" for n in range(1, 100))
    assert detail(noise, "outliers", "outlier_words", lists, **limits).startswith(
        "excess_bits_a_word"
    )
    assert detail(noise, "outliers", "outlier_chars", lists, **limits).startswith(
        "excess_bits_a_char"
    )
    assert detail(
        "the " * 100, "outliers", "outlier_words", lists, max_common_word_bits=2.0, **limits
    )
    assert verdict(noise, "outliers", lists).broken == [], "300 texts are too small a reference"


def test_the_reference_does_not_depend_on_how_texts_are_split_into_shards():
    texts = [GOOD, "one two three", GOOD[:200], "日本語 " * 20]
    whole = _references(texts).references["en"]
    counts = [
        count_by_language([Candidate(text=t, kind="prose", language="en")])["en"] for t in texts
    ]
    parts = Reference.of(counts[3] + counts[1] + (counts[2] + counts[0]))
    assert whole.excess_bits(GOOD) == parts.excess_bits(GOOD)
    assert whole.num_words == sum(len(re.findall(r"\w+", text)) for text in texts)


@pytest.mark.parametrize(
    "text", ["1" * 200_000 + "x", "1 " * 100_000, "a b\n" * 50_000, "#" * 200_000]
)
def test_time_is_in_proportion_to_the_text(text: str):
    config = FilterConfig(recipes=["refinedweb-all", "dolma", "c4", "fineweb"], signals=True)
    judge([Candidate(text=text[:1000], kind="prose")], config)
    started = time.process_time()
    judge([Candidate(text=text, kind="prose")], config)
    assert time.process_time() - started < 5
