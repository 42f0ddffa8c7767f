"""Each rule refuses what it names and nothing else; measures are what their definitions say."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.language import identify
from tasks.filter.config import FilterConfig
from tasks.filter.lines import duplicate_shares
from tasks.filter.measure import measure
from tasks.filter.rules import Candidate, judge

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


def broken(
    text: str,
    config: FilterConfig = LOOSE,
    kind: str = "prose",
    language: str | None = "en",
    score: float | None = 0.8,
) -> list[str]:
    document = Candidate(text=text, kind=kind, language=language, language_score=score)
    return judge([document], config)[0].broken


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
    assert broken("x", FilterConfig(code=False), "code") == []


def test_a_recipe_that_is_off_drops_nothing():
    off = FilterConfig(
        languages=[], gopher_quality=False, gopher_repetition=False, fineweb=False, code=False
    )
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


@given(st.lists(WORDS, max_size=4))
def test_ngram_shares_are_what_their_definition_says(documents: list[list[str]]):
    found = measure([" ".join(words) for words in documents])
    for words, measures in zip(documents, found, strict=True):
        assert measures.num_words == len(words)
        assert measures.mean_word_chars == pytest.approx(sum(map(len, words)) / len(words))
        for n, share in measures.top_ngram_shares.items():
            assert share == pytest.approx(slow_top_share(words, n))
        for n, share in measures.duplicate_ngram_shares.items():
            assert share == pytest.approx(slow_duplicate_share(words, n))
        shares = (*measures.top_ngram_shares, *measures.duplicate_ngram_shares)
        assert shares == tuple(range(2, 11))


@given(st.lists(st.text(max_size=200), max_size=5))
def test_a_verdict_does_not_depend_on_the_neighbours(texts: list[str]):
    config = FilterConfig(c4=True)
    documents = [Candidate(text=text, kind="prose") for text in [GOOD, *texts, GOOD]]
    assert judge(documents, config) == [judge([one], config)[0] for one in documents]


@given(st.lists(st.text("ab", max_size=3), max_size=20))
def test_repeats_are_what_is_left_when_each_piece_is_counted_once(pieces: list[str]):
    share, chars = duplicate_shares(pieces, sum(map(len, pieces)))
    assert share * max(1, len(pieces)) == pytest.approx(len(pieces) - len(set(pieces)))
    left = sum(map(len, pieces)) - sum(map(len, set(pieces)))
    assert chars * max(1, sum(map(len, pieces))) == pytest.approx(left)


@given(st.text(max_size=300), st.sampled_from(["prose", "code"]))
def test_no_text_breaks_the_filter(text: str, kind: str):
    found = broken(text, FilterConfig(c4=True), kind)
    assert len(found) == len(set(found))


def test_bounds_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="min_words must not exceed max_words"):
        FilterConfig(min_words=100, max_words=10)
