"""Each rule refuses what it names and nothing else; measures are what their definitions say."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.filter.config import FilterConfig
from tasks.filter.language import identify
from tasks.filter.measure import Measures, duplicate_shares
from tasks.filter.rules import broken_rules

CONFIG = FilterConfig()
SUBJECTS = [
    "baker",
    "sailor",
    "teacher",
    "farmer",
    "doctor",
    "painter",
    "lawyer",
    "miner",
    "tailor",
    "cook",
]
OBJECTS = [
    "bread",
    "ropes",
    "letters",
    "wheat",
    "splints",
    "canvas",
    "contracts",
    "copper",
    "coats",
    "soup",
]
GOOD = "\n".join(
    f"The {subject} who lives near the old bridge in the year {year} has to work with the {thing}, "
    f"and nobody in the {place} would say that this is easy."
    for year, (subject, thing, place) in enumerate(
        zip(
            SUBJECTS,
            OBJECTS,
            ["north", "south", "east", "west", "valley", "town", "port", "hills", "plain", "woods"],
            strict=True,
        )
    )
)
WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "dddd", "eeeee"]), min_size=1, max_size=60)
LOOSE = FilterConfig(gopher_repetition=False, fineweb=False)


def broken(text: str, config: FilterConfig = LOOSE, kind: str = "prose") -> list[str]:
    return broken_rules(text, kind, "en", 0.8, config)


def test_ordinary_prose_breaks_no_rule_of_quality():
    assert broken(GOOD) == []
    assert broken(GOOD, FilterConfig(gopher_repetition=False)) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("The end and nothing to be said.", "word_count"),
        ("a be to of " * 50, "mean_word_length"),
        (GOOD.replace("the", "#the"), "hash_signs"),
        (GOOD.replace("the", "the..."), "ellipses"),
        ("\n".join(f"- {line}" for line in GOOD.split("\n")), "bullet_lines"),
        (GOOD.replace(".\n", "...\n"), "ellipsis_lines"),
        (GOOD + " 12 34" * 60, "alphabetic_words"),
        ("lorem dolor amet sit " * 30, "stop_words"),
    ],
)
def test_gopher_quality_names_the_rule(text: str, rule: str):
    assert broken(text) == [rule]


def test_repetition_names_lines_paragraphs_and_ngrams():
    config = FilterConfig(gopher_quality=False, fineweb=False)
    assert "duplicate_lines" in broken(GOOD + "\nagain" * 10, config)
    assert "duplicate_paragraphs" in broken("\n\n".join([GOOD] * 2), config)
    assert "duplicate_paragraph_chars" in broken("\n\n".join([GOOD] * 2), config)
    assert "top_2gram" in broken(" ".join(f"{n} buy now" for n in range(50)), config)
    assert "duplicate_10gram" in broken(" ".join([GOOD] * 2), config)


def test_fineweb_and_c4_name_their_rules():
    fineweb = FilterConfig(gopher_quality=False, gopher_repetition=False)
    lines = "\n".join(f"Menu entry number {n}" for n in range(40))
    assert broken(lines, fineweb) == ["punctuated_lines", "short_lines"]
    assert broken("\n".join(GOOD.split()), fineweb)[-1] == "newline_ratio"
    c4 = FilterConfig(gopher_quality=False, gopher_repetition=False, fineweb=False, c4=True)
    assert broken("Lorem ipsum {x}.", c4) == ["lorem_ipsum", "curly_bracket", "sentences"]
    assert broken(GOOD, c4) == []


def test_code_is_judged_as_code_only():
    code = "def add(a, b):\n    return a + b\n" * 5
    assert broken(code, CONFIG, "code") == []
    assert broken("x", CONFIG, "code") == ["code_length"]
    assert broken(code * 3 + "y" * 1001, CONFIG, "code") == ["code_longest_line"]
    assert broken(("z" * 120 + "\n") * 30, CONFIG, "code") == ["code_mean_line"]
    assert broken("+-*/ ()[]\n" * 30 + "ab", CONFIG, "code") == ["code_alphanumeric"]
    assert broken_rules("x", "code", None, None, FilterConfig(code=False)) == []


def test_a_recipe_that_is_off_drops_nothing():
    off = FilterConfig(
        languages=[], gopher_quality=False, gopher_repetition=False, fineweb=False, code=False
    )
    assert broken_rules("# # #", "prose", None, None, off) == []


def test_languages():
    german = "Alle Menschen sind frei und gleich an Würde und Rechten geboren und sollen einander"
    assert identify(GOOD)[0] == "en"
    assert identify(german)[0] == "de"
    assert identify("")[0] in {None, "en"} or identify("")[1] <= 1
    assert broken_rules(GOOD, "prose", "de", 0.9, LOOSE) == ["language"]
    assert broken_rules(GOOD, "prose", "en", 0.1, LOOSE) == ["language_score"]


@given(WORDS)
def test_scores_of_a_language_are_shares(words: list[str]):
    assert 0 <= identify(" ".join(words))[1] <= 1


def slow_duplicate_share(words: list[str], n: int) -> float:
    """The definition, word by word: characters in n-grams that stood earlier in the text."""
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for start in range(len(words) - n + 1):
        gram = tuple(words[start : start + n])
        if gram in seen:
            covered.update(range(start, start + n))
        seen.add(gram)
    return sum(len(words[at]) for at in covered) / sum(map(len, words))


def slow_top_share(words: list[str], n: int) -> float:
    grams = Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
    most = max(grams.values(), default=0)
    if most < 2:
        return 0.0
    longest = max(sum(map(len, gram)) for gram, count in grams.items() if count == most)
    return min(1.0, most * longest / sum(map(len, words)))


@given(WORDS, st.integers(2, 10))
def test_ngram_shares_are_what_their_definition_says(words: list[str], n: int):
    measures = Measures(" ".join(words))
    assert measures.duplicate_ngram_share(n) == pytest.approx(slow_duplicate_share(words, n))
    assert measures.top_ngram_share(n) == pytest.approx(slow_top_share(words, n))


@given(st.lists(st.text("ab", max_size=3), max_size=20))
def test_repeats_are_what_is_left_when_each_piece_is_counted_once(pieces: list[str]):
    share, chars = duplicate_shares(pieces, sum(map(len, pieces)))
    assert share * max(1, len(pieces)) == pytest.approx(len(pieces) - len(set(pieces)))
    left = sum(map(len, pieces)) - sum(map(len, set(pieces)))
    assert chars * max(1, sum(map(len, pieces))) == pytest.approx(left)


@given(st.text(max_size=300), st.sampled_from(["prose", "code"]))
def test_no_text_breaks_the_filter(text: str, kind: str):
    found = broken_rules(text, kind, "en", 0.5, FilterConfig(c4=True))
    assert len(found) == len(set(found))


def test_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="min_words must not exceed max_words"):
        FilterConfig(min_words=100, max_words=10)
