"""Each rule refuses what it names and nothing else; measures are what their definitions say."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.language import identify
from tasks.filter.config import FilterConfig
from tasks.filter.lines import duplicate_shares
from tasks.filter.measure import measure
from tasks.filter.outliers import Reference, count_by_language
from tasks.filter.rules import Candidate, Lists, judge

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
EVERY = ["refinedweb-all", "gopher-quality", "c4", "fineweb", "dolma", "outliers", "code"]
LOOSE = FilterConfig(recipes=["gopher-quality", "code"])


def broken(
    text: str,
    config: FilterConfig = LOOSE,
    kind: str = "prose",
    language: str | None = "en",
    score: float | None = 0.8,
) -> list[str]:
    document = Candidate(text=text, kind=kind, language=language, language_score=score)
    return [breach.rule for breach in judge([document], config)[0].broken]


@pytest.mark.parametrize("bundle", ["gopher-all", "fineweb-all", "refinedweb-all"])
def test_bundles_judge_code_too_and_by_its_own_rules(bundle: str):
    config = FilterConfig(languages=[], recipes=[bundle])
    assert broken("x = 1\n" * 200 + "y" * 5000, config, kind="code") == ["code_longest_line"]
    assert broken("def add(a, b):\n    return a + b\n" * 5, config, kind="code") == []
    without = FilterConfig(languages=[], recipes=[n for n in config.chain if n != "code"])
    assert broken("The end.", config) == broken("The end.", without) != []


def test_ordinary_prose_breaks_no_rule_of_quality():
    assert broken(GOOD) == []
    assert broken(GOOD, FilterConfig(recipes=["gopher-quality", "fineweb"])) == []


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
    config = FilterConfig(recipes=["gopher-repetition"])
    assert "duplicate_lines" in broken(GOOD + "\nagain" * 10, config)
    assert "duplicate_paragraphs" in broken("\n\n".join([GOOD] * 2), config)
    assert "duplicate_paragraph_chars" in broken("\n\n".join([GOOD] * 2), config)
    assert "top_2gram" in broken(" ".join(f"{n} buy now" for n in range(50)), config)
    assert "duplicate_10gram" in broken(" ".join([GOOD] * 2), config)


def test_fineweb_and_c4_name_their_rules():
    fineweb = FilterConfig(recipes=["fineweb"])
    lines = "\n".join(f"Menu entry number {n}" for n in range(40))
    assert broken(lines, fineweb) == ["punctuated_lines", "short_lines"]
    assert broken("\n".join(GOOD.split()), fineweb)[-1] == "newline_ratio"
    c4 = FilterConfig(recipes=["c4"])
    assert broken("Lorem ipsum {x}.", c4) == ["lorem_ipsum", "curly_bracket", "sentences"]
    assert broken(GOOD, c4) == []


def test_code_is_judged_as_code_only():
    code = "def add(a, b):\n    return a + b\n" * 5
    assert broken(code, CONFIG, "code") == []
    assert broken("x", CONFIG, "code") == ["code_length"]
    assert broken(code * 3 + "y" * 1001, CONFIG, "code") == ["code_longest_line"]
    assert broken(("z" * 120 + "\n") * 30, CONFIG, "code") == ["code_mean_line"]
    assert broken("+-*/ ()[]\n" * 30 + "ab", CONFIG, "code") == ["code_alphanumeric"]
    assert broken("x", FilterConfig(recipes=[]), "code") == []


def test_a_recipe_that_is_off_drops_nothing():
    off = FilterConfig(languages=[], recipes=[])
    assert broken("# # #", off, language=None, score=None) == []


def test_languages():
    german = "Alle Menschen sind frei und gleich an Würde und Rechten geboren und sollen einander"
    assert identify(GOOD)[0] == "en"
    assert identify(german)[0] == "de"
    assert identify("")[0] in {None, "en"} or identify("")[1] <= 1
    assert broken(GOOD, language="de") == ["language"]
    assert broken(GOOD, score=0.1) == ["language_score"]


def test_paragraphs_in_other_languages_go_where_that_is_asked():
    german = "Alle Menschen sind frei und gleich an Würde und Rechten geboren und sollen einander"
    document = Candidate(text=f"{GOOD}\n{german}", kind="prose", language="en", language_score=0.9)
    [verdict] = judge([document], LOOSE)
    assert (verdict.text, verdict.removed_paragraphs) == (document.text, {})
    wanted = LOOSE.model_copy(update={"keep_paragraphs": "wanted"})
    [verdict] = judge([document], wanted)
    assert (verdict.text, verdict.removed_paragraphs) == (GOOD, {"de": 1})
    both = wanted.model_copy(update={"languages": ["de", "en"]})
    assert judge([document], both)[0].text == document.text


@given(WORDS)
def test_scores_of_a_language_are_shares(words: list[str]):
    assert 0 <= identify(" ".join(words))[1] <= 1


def slow_covered_chars(words: list[str], n: int, *, with_first: bool = False) -> int:
    """The definition, word by word: characters in n-grams that stood earlier in the text."""
    grams = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
    covered: set[int] = set()
    for at, gram in enumerate(grams):
        if gram in grams[:at] or (with_first and grams.count(gram) > 1):
            covered.update(range(at, at + n))
    return sum(len(words[at]) for at in covered)


def slow_stepped_chars(words: list[str], n: int) -> int:
    """Repeated n-grams one after another, each stepped over whole."""
    seen: list[list[str]] = []
    at = chars = 0
    while at + n <= len(words):
        gram = words[at : at + n]
        repeats = gram in seen
        chars += sum(map(len, gram)) if repeats else 0
        seen += [] if repeats else [gram]
        at += n if repeats else 1
    return chars


def slow_top(words: list[str], n: int) -> tuple[int, int]:
    """How often the commonest n-gram occurs, of several the first, and its characters."""
    grams = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
    gram, count = Counter(grams).most_common(1)[0] if grams else ((), 0)
    return (count, sum(map(len, gram))) if count > 1 else (0, 0)


@given(st.lists(WORDS, max_size=4), st.booleans())
def test_ngrams_are_what_their_definition_says(documents: list[list[str]], with_first: bool):
    found = measure([" ".join(words) for words in documents], with_first=with_first)
    for words, measures in zip(documents, found, strict=True):
        assert measures.num_words == measures.num_tokens == len(words)
        assert measures.mean_word_chars == pytest.approx(sum(map(len, words)) / len(words))
        assert measures.top_ngrams == {n: slow_top(words, n) for n in (2, 3, 4)}
        for n in range(5, 11):
            covered = slow_covered_chars(words, n, with_first=with_first)
            assert measures.repeated_ngram_chars[n] == covered
            assert measures.repeated_chars(n) == slow_stepped_chars(words, n) <= covered


@given(st.lists(st.text(max_size=200), max_size=5))
def test_a_verdict_does_not_depend_on_the_neighbours(texts: list[str]):
    config = FilterConfig(recipes=EVERY)
    documents = [Candidate(text=t, kind="prose", language="en") for t in [GOOD, *texts, GOOD]]
    lists = Lists(references={"en": Reference.of(count_by_language(documents)["en"])})
    assert judge(documents, config, lists) == [judge([d], config, lists)[0] for d in documents]


@given(st.lists(st.text("ab", max_size=3), max_size=20))
def test_repeats_are_what_is_left_when_each_piece_is_counted_once(pieces: list[str]):
    share, chars = duplicate_shares(pieces, sum(map(len, pieces)))
    assert share * max(1, len(pieces)) == pytest.approx(len(pieces) - len(set(pieces)))
    left = sum(map(len, pieces)) - sum(map(len, set(pieces)))
    assert chars * max(1, sum(map(len, pieces))) == pytest.approx(left)


@given(st.text(max_size=300), st.sampled_from(["prose", "code"]))
def test_no_text_breaks_the_filter(text: str, kind: str):
    found = broken(text, FilterConfig(recipes=EVERY, signals=True), kind)
    assert len(found) == len(set(found))


def test_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="min_words must not exceed max_words"):
        FilterConfig.model_validate({"gopher_quality": {"min_words": 100, "max_words": 10}})
