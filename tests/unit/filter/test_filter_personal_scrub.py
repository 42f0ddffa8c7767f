"""Personal data as a whole: what becomes of it, kind by kind; time in proportion to the text."""

import gzip
import json
import random
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.filter.personal.config import KINDS, KindRule, NameRules, PersonalDataRules
from tasks.filter.personal.names import model_identity, name_finder
from tasks.filter.personal.pseudonyms import Pseudonyms
from tasks.filter.personal.scrub import Page, Scrubber

EVERY = {kind: KindRule(action="mask") for kind in KINDS if kind != "name"}
MASK = Scrubber(PersonalDataRules(**EVERY))
CARD, IBAN, SSN = "4454 7945 1139 0933", "GB49AHER72277635787006", "536-22-8726"
TEXT = (
    f"Ask jane@firma.de at 93.184.216.34, or bob@firma.de. Call (415) 626-0131. My card is {CARD}, "
    f"IBAN {IBAN}, SSN {SSN}."
)


def scrub(text: str, *, is_code: bool = False, scrubber: Scrubber = MASK):
    (result,) = scrubber.scrub([Page(text=text, is_code=is_code, language="en")])
    return result


def test_masked_text_reads_on_and_is_counted():
    result = scrub(TEXT)
    assert result.text == (
        "Ask someone@example.org at 192.0.2.1, or someone@example.org. Call (000) 000-0000. "
        "My card is 0000 0000 0000 0000, IBAN XX00XXXX00000000000000, SSN 000-00-0000."
    )
    assert result.found == {
        "email": 2,
        "ip": 1,
        "phone": 1,
        "credit_card": 1,
        "iban": 1,
        "national_id.us_ssn": 1,
    }
    assert scrub(result.text) == scrub(result.text, is_code=True) or not scrub(result.text).found


@given(st.text("ab1.@:-_ 2(+)\n0xAٳ٣é", max_size=120))
def test_masking_leaves_nothing_to_mask(text: str):
    masked = scrub(text).text
    assert scrub(masked).text == masked


@given(st.lists(st.sampled_from([TEXT, "nothing here", "call 450 0840", "a" * 50]), max_size=6))
def test_no_page_depends_on_its_neighbours(texts: list[str]):
    together = MASK.scrub([Page(text=text) for text in texts])
    assert together == [MASK.scrub([Page(text=text)])[0] for text in texts]


def test_code_is_searched_for_secrets_only():
    token = "ghp_" + "".join(random.Random(3).choices("abcdefGHIJKL0123456789", k=36))
    text = f'x@y.grad(); server = "93.184.216.34"; key = "{token}"'
    result = scrub(text, is_code=True, scrubber=Scrubber(PersonalDataRules()))
    assert result.text == text.replace(token, "EXAMPLE_SECRET")
    assert result.found == {"secret": 1}


def test_documents_are_dropped_by_kind_by_number_and_by_sum():
    drop = Scrubber(PersonalDataRules(credit_card=KindRule(action="drop")))
    assert scrub(TEXT, scrubber=drop).reason == "personal_data_credit_card"
    assert scrub(TEXT, scrubber=drop).text == TEXT
    many = Scrubber(PersonalDataRules(email=KindRule(drop_above=1)))
    assert scrub(TEXT, scrubber=many).reason == "personal_data_email"
    assert scrub(TEXT, scrubber=many).detail == "email 2 > 1"
    assert scrub("jane@firma.de", scrubber=many).reason is None
    for limit, reason in ((6, "personal_data"), (7, None)):
        of_all = Scrubber(PersonalDataRules(drop_above=limit))
        assert scrub(TEXT, scrubber=of_all).reason == reason


def test_tags_leave_the_text_as_it_is():
    rules = {kind: KindRule(action="tag") for kind in EVERY}
    result = scrub(TEXT, scrubber=Scrubber(PersonalDataRules(**rules)))
    assert result.text == TEXT
    assert result.tags == [
        f"personal_data:{kind}"
        for kind in ("email", "iban", "credit_card", "national_id", "phone", "ip")
    ]


def form(text: str) -> str:
    """A text in which only what kind of sign stands where is left of names and numbers."""
    text = re.sub(r"[A-Z]{2}\d\d[A-Z]{4}", "XX00XXXX", re.sub("[a-z0-9]+@", "x@", text))
    return re.sub(r"\d", "0", re.sub(r"\d+(\.\d+){3}", "0.0.0.0", text))


def test_stand_ins_are_the_same_throughout_of_the_same_form_and_nobodys():
    rules = PersonalDataRules(
        **{kind: KindRule(action="pseudonymise") for kind in EVERY}, key_file="corpus.key"
    )
    one, other = (Scrubber(rules, Pseudonyms(key * 32)) for key in (b"k", b"l"))
    result = scrub(TEXT, scrubber=one)
    again = scrub(f"First. {TEXT}", scrubber=one)
    assert again.text == f"First. {result.text}"
    assert scrub(TEXT, scrubber=other).text != result.text
    assert not any(datum in result.text for datum in (CARD, IBAN, SSN, "firma", "626-0131"))
    assert form(result.text) == form(re.sub(r"\w+@firma.de", "x@example.org", TEXT))
    found = scrub(result.text, scrubber=Scrubber(PersonalDataRules(**EVERY))).found
    assert not found, "a stand-in is nobody's: no finder takes it for real"
    jane, bob = re.findall(r"[a-z0-9]+@example\.org", result.text)
    assert jane != bob


def test_one_number_written_in_two_ways_is_one():
    names = Pseudonyms(b"k" * 32)
    assert (
        names.stand_in("phone", "+46 (0)8 928 571 38")[-4:]
        == (names.stand_in("phone", "+46 8 928 571 38")[-4:])
    )
    assert names.stand_in("name", "Ada Lovelace").split()[1] == names.stand_in("name", "Lovelace")
    assert names.stand_in("email", "A@B.de") == names.stand_in("email", "a@b.de")


def test_a_short_key_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="urandom"):
        Pseudonyms(b"secret")
    with pytest.raises(ValueError, match="key_file"):
        PersonalDataRules(email=KindRule(action="pseudonymise"))


def test_names_come_from_a_function_of_the_users_choice():
    def capitalised(texts):
        return [[m.span() for m in re.finditer(r"[A-Z]\w+ [A-Z]\w+", text)] for text in texts]

    rules = PersonalDataRules(name=KindRule(action="mask"))
    result = scrub("I met Ada Lovelace.", scrubber=Scrubber(rules, None, capitalised))
    assert result.text == "I met Jane Doe."
    assert result.found == {"name": 1}


def test_who_asks_for_names_without_a_model_is_told_what_to_install():
    with pytest.raises(ValueError, match=r"bloomery\[names\]"):
        model_identity(NameRules(model="no_such_model"))
    with pytest.raises(ValueError, match=r"bloomery\[names\]"):
        name_finder(NameRules(model="no_such_model"))


@given(st.text("0123456789٣AXB -./+(", min_size=8, max_size=60))
def test_no_row_of_digits_is_an_error(text: str):
    scrub(text)
    scrub(f"SSN DNI BSN PESEL phone card {text}", is_code=True)


@pytest.mark.external
def test_personal_data_of_a_labelled_set_is_found(external_data: Path):
    with gzip.open(external_data / "pii" / "presidio-synth-a.jsonl.gz", "rt") as file:
        rows = list(map(json.loads, file))
    kinds = {
        "EMAIL_ADDRESS": ("email", 0.95),
        "CREDIT_CARD": ("credit_card", 0.9),
        "IBAN_CODE": ("iban", 0.95),
        "US_SSN": ("national_id", 0.95),
        "PHONE_NUMBER": ("phone", 0.8),
        "IP_ADDRESS": ("ip", 0.8),
    }
    findings = MASK.find([Page(text=row["full_text"], language="en") for row in rows])
    for label, (kind, least) in kinds.items():
        num_gold = num_hit = num_found = num_right = 0
        for row, found in zip(rows, findings, strict=True):
            gold = [
                (span["start_position"], span["end_position"])
                for span in row["spans"]
                if span["entity_type"] == label
            ]
            mine = [(f.start, f.end) for f in found if f.kind == kind]
            num_gold, num_found = num_gold + len(gold), num_found + len(mine)
            num_hit += sum(any(a < d and c < b for c, d in mine) for a, b in gold)
            num_right += sum(any(a < d and c < b for c, d in gold) for a, b in mine)
        assert num_gold >= 5
        assert num_hit / num_gold >= least, kind
        assert num_right / num_found >= 0.95, kind


HOSTILE = [
    *("a.", "a@", "1.1.1.1", "2001:", "@a.", "a-", "@", "a@a.", "::1.", "1", "12 ", "4111 "),
    *("212-555-1234 ", "01234 567 890 ", "+1", "(1)", "(0", "GB49AHER7227", "A1", "AB12 "),
    *("eyJ", "eyJa.eyJa.", "xoxb-", "AKIA", "-----BEGIN PRIVATE KEY-----", "://a:b", "key='"),
    *("secret_", 'token="a1B2', "0x", "bc1", "tel 1 ", "aa:"),
]


@pytest.mark.slow
@pytest.mark.parametrize("unit", HOSTILE)
def test_time_is_in_proportion_to_the_text(unit: str):
    scrubber = Scrubber(PersonalDataRules(**EVERY, in_code=list(EVERY)))
    page = Page(text=unit * (1_000_000 // len(unit)), is_code=True, language="en")
    started = time.process_time()
    scrubber.find([page])
    assert time.process_time() - started < 20
