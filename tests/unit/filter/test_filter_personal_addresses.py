"""Addresses: what is one, and what only looks like it."""

import pytest

from tasks.filter.personal.addresses import find_emails, find_ips, find_macs


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
        ("see 1.2.3.4 and § 12.13.14.15 or section 7.1.1.18", []),
        ("2606:2800:220:1:248:1893:25c8:1946 and 2606:4700::1111", None),
        ("2606::1", None),
        ("2001:db8::1, 12:30:45, std::vector, fe80::1, 2023: 2024:", []),
    ],
)
def test_ips(text: str, addresses: list[str] | None):
    expected = text.split(" and ") if addresses is None else addresses
    assert found(find_ips, text) == expected


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("eth0 3c:22:fb:9a:01:7e up", ["3c:22:fb:9a:01:7e"]),
        ("3C-22-FB-9A-01-7E.", ["3C-22-FB-9A-01-7E"]),
        ("00:11:22:33:44:55, 02:42:ac:11:00:02, 3c:22-fb:9a:01:7e, 3c:22:fb:9a:01:7e:99", []),
    ],
)
def test_macs(text: str, addresses: list[str]):
    assert found(find_macs, text) == addresses
