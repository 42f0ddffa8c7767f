"""The detector finds languages, says how sure it is, and takes any text."""

import base64
import random
import time
import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.common.language import (
    MODEL_FILE,
    NO_LANGUAGE,
    Detected,
    identify,
    identify_paragraphs,
    labels,
    model,
    without_other_languages,
)
from tasks.common.language_codes import language_of_tag

PARAGRAPHS = {
    "en": "The ferry leaves the harbour every morning at half past six, and by the time it comes "
    "back the market on the quay has already been packed away for the day.",
    "de": "Die Fähre verlässt den Hafen jeden Morgen um halb sieben, und wenn sie zurückkommt, "
    "ist der Markt am Kai für diesen Tag schon wieder abgebaut worden.",
    "fr": "Le bac quitte le port tous les matins à six heures et demie, et quand il revient, le "
    "marché du quai est déjà démonté pour la journée.",
    "es": "El transbordador sale del puerto todas las mañanas a las seis y media, y cuando vuelve "
    "ya han recogido el mercado del muelle hasta el día siguiente.",
    "pl": "Prom wypływa z portu każdego ranka o wpół do siódmej, a kiedy wraca, targ na nabrzeżu "
    "jest już zwinięty i nie ma tam nikogo.",
    "ru": "Паром уходит из порта каждое утро в половине седьмого, а когда он возвращается, рынок "
    "на набережной уже закрыт до следующего дня.",
    "el": "Το πλοίο φεύγει από το λιμάνι κάθε πρωί στις έξι και μισή και όταν γυρίζει, η αγορά "
    "στην προκυμαία έχει ήδη κλείσει για εκείνη την ημέρα.",
    "ja": "フェリーは毎朝六時半に港を出て、戻ってくるころには岸壁の市場はもう片付けられています。"
    "夕方になると町はとても静かになります。",
    "zh": "渡轮每天早上六点半离开港口，等它回来的时候，码头上的集市早就已经收摊了，"
    "街上只剩下几个回家的人。",
    "ko": "여객선은 매일 아침 여섯 시 반에 항구를 떠나고 돌아올 때쯤이면 부두의 시장은 이미 문을 "
    "닫은 뒤입니다. 저녁이 되면 마을은 아주 조용해집니다.",
}
CODE = "\n".join(
    f"for (i{n} = 0; i{n} < len(buf_{n}); i{n}++) {{ dst[i{n}] = src_ptr[{n}] ^ 0x{n:04x}; }}"
    for n in range(40)
)
ANY_TEXT = st.text(st.characters(), max_size=400)  # lone surrogates too
BLANKS = st.text(" \n\t\u00a0\u2003\u3000", max_size=5)


@pytest.mark.parametrize("language", PARAGRAPHS)
def test_ordinary_paragraphs_are_found_and_surely(language: str):
    for found, score in (
        identify(PARAGRAPHS[language]),
        (lambda d: (d.language, d.score))(identify_paragraphs(PARAGRAPHS[language])),
    ):
        assert found == language
        assert score > 0.8


def test_what_is_no_language_is_called_none():
    draw = random.Random(0)
    for text in (
        "",
        " \n ",
        "3.14 2026-11-25 (+49) 17",
        base64.b64encode(draw.randbytes(900)).decode(),
        draw.randbytes(400).hex(),
        CODE,
    ):
        assert identify_paragraphs(text).language is None, text[:40]
        assert identify_paragraphs(text).score == 0


@given(ANY_TEXT)
def test_any_text_has_a_probability_and_shares(text: str):
    detected = identify_paragraphs(text)
    assert 0 <= detected.score <= 1
    assert sum(detected.shares.values()) <= 1 + 1e-6
    assert NO_LANGUAGE not in detected.shares
    assert (detected.language is None) == (detected.score == 0)
    if detected.language:
        assert detected.language == next(iter(detected.shares))
    language, score = identify(text)
    assert 0 <= score <= 1
    assert language is None or language in labels()


@given(ANY_TEXT, BLANKS, BLANKS)
def test_white_space_around_a_text_says_nothing(text: str, before: str, after: str):
    assert identify_paragraphs(before + text + after) == identify_paragraphs(text)
    assert identify(before + text + after) == identify(text)


@given(ANY_TEXT)
def test_composed_and_decomposed_letters_are_the_same(text: str):
    composed, apart = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert identify(composed) == identify(apart)


@given(st.lists(st.sampled_from(sorted(PARAGRAPHS)), min_size=1, max_size=6), ANY_TEXT)
def test_a_text_does_not_depend_on_those_before_it(languages: list[str], other: str):
    alone = [identify_paragraphs(PARAGRAPHS[language]) for language in languages]
    identify_paragraphs(other)
    assert [identify_paragraphs(PARAGRAPHS[language]) for language in languages] == alone


@pytest.mark.parametrize("language", PARAGRAPHS)
@pytest.mark.parametrize("between", [" ", "\n", "\n\n"])
@pytest.mark.parametrize("times", [2, 9, 200])
def test_more_of_a_language_is_that_language(language: str, between: str, times: int):
    detected = identify_paragraphs(between.join([PARAGRAPHS[language]] * times))
    assert detected.language == language
    assert detected.shares == {language: pytest.approx(1)}


@pytest.mark.parametrize("times", [1, 40])
def test_shares_are_of_characters_and_the_greatest_names_the_document(times: int):
    text = "\n".join(([PARAGRAPHS["de"]] * 3 + [PARAGRAPHS["fr"]] * 2 + ["Ok."]) * times)
    detected = identify_paragraphs(text)
    assert detected.language == "de"
    assert list(detected.shares) == ["de", "fr"]
    lengths = {code: len(PARAGRAPHS[code]) for code in ("de", "fr")}
    share = 3 * lengths["de"] / (3 * lengths["de"] + 2 * lengths["fr"])
    # A long document is read in part.
    assert detected.shares["de"] == pytest.approx(share, abs=0.02 if times == 1 else 0.12)


def test_code_in_a_document_is_no_language_and_leaves_the_rest():
    text = "\n".join([PARAGRAPHS["en"]] * 8 + [CODE.replace("\n", " ")[:600]])
    detected = identify_paragraphs(text)
    assert detected.language == "en"
    assert set(detected.shares) == {"en"}
    assert sum(detected.shares.values()) < 0.95


def test_lines_in_other_languages_are_taken_out_and_counted():
    lines = [PARAGRAPHS["en"], PARAGRAPHS["de"], "Kurz.", PARAGRAPHS["en"], PARAGRAPHS["ja"], CODE]
    text = "\n".join(lines)
    kept = "\n".join([lines[0], lines[2], lines[3], CODE])
    assert without_other_languages(text, ["en"]) == (kept, Counter(de=1, ja=1))
    assert without_other_languages(text, ["en", "de", "ja"]) == (text, Counter())
    assert without_other_languages(kept, ["en"]) == (kept, Counter())


@given(ANY_TEXT)
def test_a_text_without_other_languages_stays_as_it_is(text: str):
    assert without_other_languages(text, labels()) == (text, Counter())


def test_the_compiled_scores_are_the_mean_rows_times_the_weights():
    with np.load(MODEL_FILE) as arrays:
        table, weights, biases = (
            arrays[n].astype(np.float64) for n in ("table", "weights", "biases")
        )
        steps = arrays["folding"]
    from tasks.common._language import Letters

    folded = np.where(steps > -(1 << 30), steps.astype(np.int64) + np.arange(len(steps)), 0)
    letters = Letters(folded.astype(np.uint32))
    for text in PARAGRAPHS.values():
        rows = letters.hashes(text) & (len(table) - 1)
        scores, _ = model().logits(text)
        np.testing.assert_allclose(scores, table[rows].mean(0) @ weights + biases, atol=1e-3)


def test_features_are_ngrams_of_single_words():
    from tasks.common._language import Letters

    letters = Letters(np.array([code if chr(code).isalpha() else 0 for code in range(128)]))
    two, one = letters.hashes("abc, de"), letters.hashes("abc")
    assert two.tolist() == one.tolist() + letters.hashes("de").tolist()
    # " abc ": four pairs, three triples, two of four letters; too short to count as a word
    assert len(one) == 4 + 3 + 2
    # " abcd ": five, four, three, and the word
    assert len(letters.hashes("abcd")) == 5 + 4 + 3 + 1
    assert len(set(letters.hashes("abcd").tolist())) == 13


def test_time_grows_no_faster_than_the_text():
    def seconds(text: str) -> float:
        started = time.process_time()
        identify_paragraphs(text)
        without_other_languages(text, ["en"])
        return time.process_time() - started

    for text in ("a", "\n", "漢", "a ", "ab\n", "\u0301"):
        seconds(text * 1000)
        assert seconds(text * 400_000) < 5, repr(text)


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("de-AT", "de"),
        ("zsm", "ms"),
        ("zh-Hant", "zh"),
        ("yue", "yue"),
        ("no", "nb"),
        ("ENG", "en"),
    ],
)
def test_tags_lead_to_codes(tag: str, code: str):
    assert language_of_tag(tag) == code


def test_answers_are_codes_that_their_own_tags_lead_to():
    assert [language_of_tag(label) for label in labels()] == list(labels())


def test_detected_fills_the_columns_of_a_document():
    detected = Detected("en", 0.9, {"en": 0.75, "de": 0.25})
    assert detected.columns() == {
        "language": "en",
        "language_score": 0.9,
        "language_shares": [("en", 0.75), ("de", 0.25)],
    }
