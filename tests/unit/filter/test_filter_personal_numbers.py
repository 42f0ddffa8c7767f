"""Numbers of accounts, cards, citizens and phones: what is one, and what only looks like it."""

import random
from itertools import pairwise

import phonenumbers
import pytest
import stdnum.br.cpf
import stdnum.es.dni
import stdnum.iban
import stdnum.luhn
from hypothesis import given
from hypothesis import strategies as st

from tasks.filter.personal.config import NATIONAL_IDS
from tasks.filter.personal.numbers import (
    find_cards,
    find_ibans,
    find_national_ids,
    find_wallets,
)
from tasks.filter.personal.phones import find_phones, regions
from tasks.filter.personal.stretches import Batch


def digits(text: str):
    return Batch([text]).digits()[0]


def ids(text: str) -> list[tuple[str, str]]:
    spans = find_national_ids(text, digits(text), NATIONAL_IDS)
    return [(text[start:end], name) for start, end, name in spans]


def phones(text: str, language: str | None = "en", host: str = "") -> list[str]:
    found = find_phones(text, digits(text), regions(language, host))
    return [text[start:end] for start, end in found]


@given(st.lists(st.text("ab 1é2-\n", max_size=60), max_size=5))
def test_stretches_hold_every_run_of_digits_that_is_long_enough(texts: list[str]):
    for text, stretches in zip(texts, Batch(texts).digits(), strict=True):
        covered = {at for s in stretches for at in range(s.start, s.end)}
        places = [at for at, sign in enumerate(text) if sign in "0123456789"]
        runs: list[list[int]] = []
        for at in places:
            if runs and at - runs[-1][-1] <= 4:
                runs[-1].append(at)
            else:
                runs.append([at])
        for run in runs:
            assert len(run) < 6 or covered.issuperset(run)
        assert all(one.end <= two.start for one, two in pairwise(stretches))
        assert sum(s.num_digits for s in stretches) == sum(len(r) for r in runs if len(r) >= 6)


@given(st.integers(0, 10**18 - 1), st.sampled_from(["", " "]))
def test_ibans_are_found_as_written_and_not_with_one_digit_changed(number: int, blank: str):
    bban = f"{number:018d}"
    iban = "DE" + f"{98 - int(bban + '131400') % 97:02d}" + bban
    written = blank.join(iban[at : at + 4] for at in range(0, 22, 4))
    text = f"Pay to {written} today"
    assert stdnum.iban.is_valid(iban)
    assert [text[a:b] for a, b in find_ibans(text, digits(text))] == [written]
    wrong = written[:-1] + str((int(written[-1]) + 1) % 10)
    assert list(find_ibans(wrong, digits(wrong))) == []


def test_words_after_an_iban_are_none_of_it():
    text = "IBAN GB33 BUKB 2020 1555 5555 55 VAT AB12"
    assert [text[a:b] for a, b in find_ibans(text, digits(text))] == ["GB33 BUKB 2020 1555 5555 55"]


@given(st.integers(0, 10**14 - 1), st.sampled_from(["", " ", "-"]))
def test_cards_need_an_issuer_and_the_right_last_digit(number: int, blank: str):
    card = f"4{number:014d}"
    card += stdnum.luhn.calc_check_digit(card)
    written = blank.join(card[at : at + 4] for at in range(0, 16, 4))
    text = f"my number {written}."
    expected = [written] if len(set(card)) > 2 else []
    assert [text[a:b] for a, b in find_cards(text, digits(text))] == expected
    wrong = text.replace(written, written[:-1] + str((int(written[-1]) + 1) % 10))
    assert list(find_cards(wrong, digits(wrong))) == []


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1111 is a test",
        "https://social.example/help/379220725465972",
        "id=379220725465972",
        "ISBN 4006381333931",
        "4454794511390933.5",
    ],
)
def test_what_is_no_card(text: str):
    assert list(find_cards(text, digits(text))) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("His SSN is 536-22-8726.", [("536-22-8726", "us_ssn")]),
        ("part no. 536-22-8726", []),
        ("SSN 000-22-8726, SSN 666-22-8726", []),
        ("NI number: AB 12 34 56 C", [("AB 12 34 56 C", "uk_nino")]),
        ("Steuer-ID 36 574 261 809", [("36 574 261 809", "de_steuer_id")]),
        ("Steuer-ID 36 574 261 890", []),
        ("sécurité sociale 2 95 10 99 126 111 93", [("2 95 10 99 126 111 93", "fr_nir")]),
        ("DNI 54362315K", [("54362315K", "es_dni")]),
        ("DNI 54362315A", []),
        ("NIE X2482300W", [("X2482300W", "es_nie")]),
        ("RCCMNL83S18D969H", [("RCCMNL83S18D969H", "it_codice_fiscale")]),
        ("BSN 111222333", [("111222333", "nl_bsn")]),
        ("PESEL 44051401359", [("44051401359", "pl_pesel")]),
        ("390.533.447-05", [("390.533.447-05", "br_cpf")]),
        ("390.533.447-06", []),
        ("personnummer 880320-0016", [("880320-0016", "se_personnummer")]),
        ("131052-308T", [("131052-308T", "fi_hetu")]),
        ("756.9217.0769.85", [("756.9217.0769.85", "ch_ahv")]),
        ("85.07.30-033.28", [("85.07.30-033.28", "be_rrn")]),
        ("SIN 123-456-782", [("123-456-782", "ca_sin")]),
        ("BOXW310820HNERXN09", [("BOXW310820HNERXN09", "mx_curp")]),
        ("360426199101010071", [("360426199101010071", "cn_ric")]),
        ("Aadhaar 2341 2341 2346", [("2341 2341 2346", "in_aadhaar")]),
    ],
)
def test_national_numbers(text: str, expected: list[tuple[str, str]]):
    assert ids(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Call +44 20 7946 0958 now", ["+44 20 7946 0958"]),
        ("+46 (0)8 928 571 38", ["+46 (0)8 928 571 38"]),
        ("at (415) 626-0131 or 415.626.0132", ["(415) 626-0131", "415.626.0132"]),
        ("1-604-696-5272x565", ["1-604-696-5272x565"]),
        ("Phone:\n60-56-85-91", ["60-56-85-91"]),
        ("Tel. 0228/3077-160", ["0228/3077-160"]),
        ("call 450 0840 tonight", ["450 0840"]),
        ("07885 577 899", ["07885 577 899"]),
        ("01609-2280, MA", []),
        ("on 2003-08-28 12:13, 04-26-2011 10:11, 1998-1999", []),
        ("phone in 1998-1999 and on 2003-08-28", []),
        ("costs 1,234,567,890 or 3.14159265358", []),
        ("call 555-0142 or 202-555-0142", []),
        ("000-000-0000 call 0000000", []),
        ("10.1000/182.123-456-7890", []),
    ],
)
def test_phones(text: str, expected: list[str]):
    assert phones(text) == expected


def test_national_phones_are_believed_where_the_language_or_the_host_suggests_their_country():
    text = "Wir sind da: 06151 123 456 789"
    number = phonenumbers.parse("06151 123456", "DE")
    assert phonenumbers.is_valid_number(number)
    text = "Wir sind da: 06151 123 456"
    assert phones(text, "de") == ["06151 123 456"]
    assert phones(text, "xx", "www.firma.de") == ["06151 123 456"]
    assert phones(text, "xx", "www.firma.invalid") == []


def test_wallets_need_their_checksum():
    text = "send to 1NEDqZPvTWRaoho48qXuLLsrYomMXPABfD, not 1NEDqZPvTWRaoho48qXuLLsrYomMXPABfE"
    assert [text[a:b] for a, b in find_wallets(text)] == ["1NEDqZPvTWRaoho48qXuLLsrYomMXPABfD"]
    zero = "0x" + "0" * 40
    assert list(find_wallets(zero)) == []
    address = "0x" + "".join(random.Random(1).choices("0123456789abcdef", k=40))
    assert list(find_wallets(address)) == [(0, 42)]
