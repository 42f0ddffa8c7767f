"""Decontamination against brute force: every n-gram of every suite in every document."""

import gzip
import io
import json
import random
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tasks.filter.decontamination.config import DecontaminationRules
from tasks.filter.decontamination.index import Index, build_index
from tasks.filter.decontamination.match import Decontaminator, cut
from tasks.filter.decontamination.ngrams import word_spans, words_of
from tasks.filter.decontamination.suites import Item, Suite, as_item, read_suites

QUESTION = (
    "Which statement best explains why photosynthesis is the foundation of nearly all food webs "
    "that are found on land, given 1,234 kinds of plants?"
)
ANSWER = "Sunlight is the source of energy for nearly all ecosystems."  # 10 words
FILLER = "The quick brown fox jumped over one lazy dog and then went home to sleep a while. " * 20


def suite(*items: Item, name: str = "quiz") -> Suite:
    return Suite(name=name, fields=("question",), items=items)


def item(*texts: str, name: str = "1", together: str = "") -> Item:
    return Item(name=name, texts=texts, together=together)


def decontaminator(*suites: Suite, **rules) -> Decontaminator:
    config = DecontaminationRules(**rules)
    return Decontaminator(config, build_index(suites, config))


def plain_words(text: str) -> list[str]:
    """The words as the oracle reads them: one character after another."""
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", "".join(c.lower()[:1] for c in text))
    return "".join(c if c.isalnum() else " " for c in text).split()


def grams_of(words: list[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(words[at : at + n]) for at in range(len(words) - n + 1)}


def brute_force(texts: list[str], document: str, n: int, shortest: int) -> list[bool]:
    """Whether each word of the document lies in an n-gram of a text, or in a whole short text."""
    words = plain_words(document)
    wanted: set[tuple[str, ...]] = set()
    for text in texts:
        found = plain_words(text)
        if len(found) >= shortest:
            wanted |= grams_of(found, min(n, len(found)))
    wanted = {g for g in wanted if 2 * sum(any(map(str.isalpha, w)) for w in g) > len(g)}
    covered = [False] * len(words)
    for length in {len(gram) for gram in wanted}:
        for at in range(len(words) - length + 1):
            if tuple(words[at : at + length]) in wanted:
                covered[at : at + length] = [True] * length
    return covered


WORDS = st.lists(st.sampled_from(["a", "B", "c", "12", "1,000", "d-e", "İ", "é"]), max_size=40)
TEXTS = st.builds(str.join, st.sampled_from([" ", "\n", ", ", " **"]), WORDS)


@given(st.lists(TEXTS, min_size=1, max_size=4), st.lists(TEXTS, max_size=4))
def test_what_is_found_is_what_brute_force_finds(texts: list[str], documents: list[str]):
    rules = DecontaminationRules(ngram_words=6, min_words=4, max_items=1000)
    index = build_index([suite(*(item(t, name=str(n)) for n, t in enumerate(texts)))], rules)
    hits = index.look_up(words_of(documents))
    for number, document in enumerate(documents):
        covered = [False] * len(plain_words(document))
        for start, length in zip(
            hits.start[hits.document == number], hits.length[hits.document == number], strict=True
        ):
            covered[start : start + length] = [True] * length
        assert covered == brute_force(texts, document, 6, 4)


@given(st.text("aB é,1230İ\n_-’", max_size=60))
def test_each_word_is_where_it_is_said_to_be(text: str):
    spans = word_spans(text)
    assert len(spans) == len(words_of([text]).hashes)
    found = [re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text[start:end]) for start, end in spans]
    assert [plain_words(word) for word in found] == [[word] for word in plain_words(text)]


@pytest.mark.parametrize(
    "disguised",
    [
        QUESTION,
        QUESTION.upper(),
        QUESTION.replace(" ", "\n"),
        QUESTION.replace("photosynthesis", "**photosynthesis**").replace("land,", "<i>land</i> –"),
        QUESTION.replace("1,234", "1234"),
        "«" + QUESTION.replace(",", "").replace("?", "") + "»",
    ],
)
def test_no_disguise_of_signs_hides_an_item(disguised: str):
    finder = decontaminator(suite(item(QUESTION)))
    (result,) = finder.decontaminate([f"{FILLER}\n{disguised}\n{FILLER}"])
    assert result.done == "cut"
    assert "photosynthesis" not in result.text.lower()
    assert "land" not in result.text.lower()
    assert result.text.startswith("The quick brown fox")
    assert len(result.text) > 2 * len(FILLER) - 2 * 260, "only the overlap and its margins go"


def test_a_short_text_is_looked_for_as_a_whole_and_a_shorter_one_is_not():
    finder = decontaminator(suite(item(ANSWER, "Most of them do.")))
    whole, part, short = finder.decontaminate(
        [FILLER + ANSWER, FILLER + ANSWER[:-12], FILLER + "Most of them do."]
    )
    assert [bool(r.overlaps) for r in (whole, part, short)] == [True, False, False]


def test_question_and_answer_are_found_as_one_text_too():
    context = "The native language of Daniel Schneidermann is"
    one = as_item({"id": 7, "context": context, "answer": "French"}, ["context", "answer"], 1)
    finder = decontaminator(suite(one))
    found, other = finder.decontaminate(
        [
            "He said: the native language of Daniel Schneidermann is French.",
            "He said: the native language of Daniel Schneidermann is Dutch.",
        ]
    )
    assert [o.item for o in found.overlaps] == [0]
    assert other.overlaps == []


def test_what_many_items_say_is_form_and_what_many_documents_say_is_common():
    frame = "Given a sentence please select the one correct language among all of the choices below"
    items = [item(f"{frame} number {n} of the list", name=str(n)) for n in range(12)]
    finder = decontaminator(suite(*items))
    (result,) = finder.decontaminate([FILLER + frame])
    assert result.overlaps == []
    rules = DecontaminationRules(max_documents=2)
    index = build_index([suite(item(QUESTION))], rules)
    copies = [FILLER + QUESTION] * 5 + [QUESTION + FILLER]
    grams, _ = Decontaminator(rules, index).sightings(copies)
    assert set(np.bincount(grams)) == {2}, "copies of a text count once"
    common = np.bincount(grams, minlength=len(index.grams)) > 1
    assert Decontaminator(rules, index, common).decontaminate(copies)[0].overlaps == []


def test_rows_of_numbers_are_nobodys_content():
    row = " ".join(map(str, range(40)))
    (result,) = decontaminator(suite(item(row))).decontaminate([row])
    assert result.overlaps == []


def test_actions():
    page = f"{FILLER}{QUESTION} {FILLER}"
    (dropped,) = decontaminator(suite(item(QUESTION)), action="document").decontaminate([page])
    assert (dropped.reason, dropped.text, dropped.done) == ("contaminated", page, "dropped")
    (tagged,) = decontaminator(suite(item(QUESTION)), action="tag").decontaminate([page])
    assert (tagged.reason, tagged.text) == (None, page)
    assert tagged.tags == ["contaminated:quiz"]
    (short,) = decontaminator(suite(item(QUESTION))).decontaminate([QUESTION])
    assert short.reason == "contaminated", "nothing would be left of it"
    (shreds,) = decontaminator(suite(item(QUESTION))).decontaminate([page * 12])
    assert shreds.reason == "contaminated", "it would be cut into more than ten pieces"


def test_llama_wants_most_of_an_item_and_forgives_some_words():
    changed = QUESTION.replace("explains", "tells").replace("nearly", "almost")
    rules = {"method": "llama", "ngram_words": 5, "min_words": 5}
    finder = decontaminator(suite(item(QUESTION)), **rules)
    whole, half, none = finder.decontaminate(
        [f"{FILLER} {changed} {FILLER}", FILLER + QUESTION[: len(QUESTION) // 2], FILLER]
    )
    assert whole.done == "cut"
    assert "photosynthesis" not in whole.text
    assert half.overlaps == []
    assert none.overlaps == []
    strict = decontaminator(suite(item(QUESTION)), **rules, max_skipped_words=0, min_item_share=1)
    assert strict.decontaminate([f"{FILLER} {changed}"])[0].overlaps == []


@given(st.text("ab \n", max_size=80), st.lists(st.integers(0, 80), max_size=6), st.integers(0, 5))
def test_cuts_leave_what_is_outside_them(text: str, edges: list[int], margin: int):
    edges = sorted({min(edge, len(text)) for edge in edges})
    spans = list(zip(edges[::2], edges[1::2], strict=False))
    left = cut(text, spans, margin)
    assert len(left) <= len(spans) + 1
    kept = "".join(left)
    assert sum(map(len, left)) <= len(text)
    inside = {at for start, end in spans for at in range(start, end)}
    outside = "".join(sign for at, sign in enumerate(text) if at not in inside)
    remaining = iter(outside)
    assert all(sign in remaining for sign in kept), "in order, and nothing of the spans"


def test_no_document_depends_on_its_neighbours_nor_the_index_on_where_it_lies():
    texts = [FILLER + QUESTION, FILLER, "", f"{QUESTION}{FILLER}{ANSWER}{FILLER}", "short"]
    rules = DecontaminationRules()
    index = build_index([suite(item(QUESTION)), suite(item(ANSWER), name="other")], rules)
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder))
        stored = Index.load(Path(folder))
        together = Decontaminator(rules, stored).decontaminate(texts)
    assert together == [Decontaminator(rules, index).decontaminate([text])[0] for text in texts]


def test_no_suites_no_hits():
    (result,) = decontaminator(suite()).decontaminate([FILLER])
    assert result.text == FILLER
    assert decontaminator().decontaminate([]) == []


def test_suites_are_read_as_users_have_them(tmp_path: Path):
    records = [
        {"id": "q1", "question": QUESTION, "choices": ["yes", ANSWER], "answer": 1, "subject": "x"},
        {"id": "q2", "question": "Why?", "choices": {"text": ["a"], "label": ["A"]}},
    ]
    lines = "\n".join(map(json.dumps, records))
    with gzip.open(tmp_path / "quiz.jsonl.gz", "wt") as file:
        file.write(lines)
    (tmp_path / "list.json").write_text(json.dumps([{"Best Incorrect Answer": "No."}]))
    (tmp_path / "notes.txt").write_text("One\nparagraph.\n\n\nAnother.")
    (tmp_path / "README.md").write_text("not a suite")
    found = {s.name: s for s in read_suites([str(tmp_path)], [])}
    assert set(found) == {"quiz", "list", "notes"}
    assert found["quiz"].fields == ("question", "choices", "answer")
    assert [i.name for i in found["quiz"].items] == ["q1", "q2"]
    assert found["quiz"].items[0].texts == (QUESTION, "yes", ANSWER)
    assert found["quiz"].items[1].texts == ("Why?", "a", "A")
    assert found["list"].items[0].texts == ("No.",)
    assert [i.texts for i in found["notes"].items] == [("One\nparagraph.",), ("Another.",)]
    only = read_suites([str(tmp_path / "quiz.jsonl.gz")], ["choices"])
    assert only[0].fields == ("choices",)


def test_a_file_that_is_no_suite_is_refused_with_the_remedy(tmp_path: Path):
    path = tmp_path / "odd.jsonl"
    path.write_text('{"frage": "Warum?"}')
    with pytest.raises(ValueError, match=r"frage.*decontamination\.fields"):
        read_suites([str(path)], [])
    path.write_text('{"question": ')
    with pytest.raises(ValueError, match=r"odd\.jsonl, line 1"):
        read_suites([str(path)], [])
    path.write_text("[1]")
    with pytest.raises(ValueError, match="object"):
        read_suites([str(path)], [])
    with pytest.raises(ValueError, match="no suites"):
        read_suites([__file__], [])


@pytest.mark.external
def test_on_real_suites_and_articles_brute_force_finds_the_same(external_data: Path):
    rules = DecontaminationRules(max_items=10**6)
    suites = read_suites([str(external_data / "eval" / "reading_comprehension")], [])
    index = build_index(suites, rules)
    path = external_data / "text" / "encyclopedia" / "enwiki-2015.jsonl.zst"
    with zstandard.ZstdDecompressor().stream_reader(path.open("rb")) as stream:
        lines = io.TextIOWrapper(stream, encoding="utf-8")
        articles = [json.loads(line)["text"] for _, line in zip(range(150), lines, strict=False)]
    texts = [t for s in suites for i in s.items for t in (*i.texts, i.together)]
    chosen = random.Random(1).sample(articles, 40)
    wanted: dict[int, set[tuple[str, ...]]] = {}
    for text in texts:
        words = plain_words(text)
        if len(words) >= rules.min_words:
            n = min(13, len(words))
            wanted.setdefault(n, set()).update(grams_of(words, n))
    hits = index.look_up(words_of(chosen))
    found = {
        (int(d), int(s), int(n))
        for d, s, n in zip(hits.document, hits.start, hits.length, strict=True)
    }
    expected = set()
    for number, article in enumerate(chosen):
        words = plain_words(article)
        for n, grams in wanted.items():
            for at in range(len(words) - n + 1):
                gram = tuple(words[at : at + n])
                if gram in grams and 2 * sum(any(map(str.isalpha, w)) for w in gram) > n:
                    expected.add((number, at, n))
    assert found == expected
    assert expected, "BoolQ's passages are Wikipedia's"
