"""Personal data: what is masked, what only looks like it, and at what price."""

import gzip
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.filter.pii import FINDERS, find_emails, find_ips, mask

BOTH = ["email", "ip"]


def found(finder, text: str) -> list[str]:
    return [text[start:end] for start, end in finder(text)]


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("Write to jane.doe+news@mail.firma.de, please.", ["jane.doe+news@mail.firma.de"]),
        ("<a@b.io>(c_d@e-f.co.uk)'g@h.org'", ["a@b.io", "c_d@e-f.co.uk", "g@h.org"]),
        ("mailto:x@y.net?subject=1", ["x@y.net"]),
        ("jörg@müller.de", ["jörg@müller.de"]),
        ("a@b.com,c@d.com", ["a@b.com", "c@d.com"]),
        ("Ask jane@firma.de. Then wait.", ["jane@firma.de"]),
        ("@user, a@b, me@localhost, 5 @ 3.50, x@y.T, a@@b.com", []),
        ("you@example.com and you@mail.example.org", []),
    ],
)
def test_emails(text: str, addresses: list[str]):
    assert found(find_emails, text) == addresses


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("From 93.184.216.34 and (198.41.0.4).", ["93.184.216.34", "198.41.0.4"]),
        ("http://93.184.216.34:8080/", ["93.184.216.34"]),
        ("10.0.0.1 192.168.1.1 127.0.0.1 192.0.2.1 300.184.216.34", []),
        ("version 21.13.16.8, v21.13.16.8, 21.13.16.8-beta, 21.13.16.8.5, lib-21.13.16.8", []),
        ("see 1.2.3.4 and § 12.13.14.15", []),
        ("2606:2800:220:1:248:1893:25c8:1946 and 2606:4700::1111", None),
        ("2606::1", None),
        ("2001:db8::1, 12:30:45, std::vector, fe80::1, 2023: 2024:", []),
    ],
)
def test_ips(text: str, addresses: list[str] | None):
    expected = text.split(" and ") if addresses is None else addresses
    assert found(find_ips, text) == expected


def test_masked_text_reads_on_and_is_counted():
    text, counts = mask("Ask jane@firma.de at 93.184.216.34, or bob@firma.de.", BOTH)
    assert text == "Ask someone@example.org at 192.0.2.1, or someone@example.org."
    assert counts == {"email": 2, "ip": 1}
    assert mask(text, BOTH) == (text, {})
    assert mask("Ask jane@firma.de", ["ip"]) == ("Ask jane@firma.de", {})


@given(st.text("ab1.@:-_ 2\n", max_size=80))
def test_masking_leaves_nothing_to_mask(text: str):
    masked, _ = mask(text, BOTH)
    again, _ = mask(masked, BOTH)
    assert again == masked


HOSTILE = ["a.", "a@", "1.", "a.a@", "1.1.1.1", "2001:", "@a.", "a-", ".", "@", "a@a.", "::1."]


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("kind", list(FINDERS))
def test_time_is_in_proportion_to_the_text(unit: str, kind: str):
    started = time.process_time()
    mask(unit * (500_000 // len(unit)), [kind])
    assert time.process_time() - started < 4


@pytest.mark.external
def test_emails_of_a_labelled_set_are_found(external_data: Path):
    with gzip.open(external_data / "pii" / "presidio-synth-a.jsonl.gz", "rt") as file:
        rows = list(map(json.loads, file))
    hits = misses = wrong = 0
    for row in rows:
        gold = {
            (span["start_position"], span["end_position"])
            for span in row["spans"]
            if span["entity_type"] == "EMAIL_ADDRESS"
        }
        mine = set(find_emails(row["full_text"]))
        hits += len(gold & mine)
        misses += len(gold - mine)
        wrong += len(mine - gold)
    assert hits >= 20
    assert hits / (hits + misses) > 0.95
    assert hits / (hits + wrong) > 0.95
