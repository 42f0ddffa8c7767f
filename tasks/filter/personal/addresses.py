"""E-mail, IP and MAC addresses in a text. Pure: text in, spans out.

Every finder takes time in proportion to the text, whatever the text: each looks at what surrounds
a sign that is rare (``@``), or tries a pattern of bounded length.
"""

import ipaddress
import re
from collections.abc import Iterator

from tasks.filter.personal.findings import Span

LOCAL_REVERSED = re.compile(r"[\w.%+'-]{1,64}")
DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w@])")
EXAMPLE_DOMAIN = re.compile(r"(?:^|\.)(?:example\.(?:com|net|org)|example|invalid|test)$", re.I)

# Addresses without their first number: a pattern that begins with a rare sign is searched ten times
# as fast as one that begins with a digit.
IPV4_REST = re.compile(r"\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w-]|\.\w)")
IPV4_HEAD = re.compile(r"(?<![\w.:-])\d{1,3}$")
IPV6_REST = re.compile(r":[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){1,6}(?![\w:])")
IPV6_HEAD = re.compile(r"(?<![\w.:-])[23][0-9A-Fa-f]{3}$")  # as all global unicast addresses begin
HEAD_CHARS = 5  # the longest first number and what must not stand before it
MAX_SHORT_PARTS = 2  # sections are numbered 7.1.1.18; few addresses look like that
VERSION_BEFORE = re.compile(r"(?:\b(?:version|release|build|ver|rev)[.:]?|§)\s{0,2}$", re.I)
VERSION_LOOK_CHARS = 12

MAC_REST = re.compile(r"([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])")
MAC_HEAD = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}$")
MAC_PLACEHOLDERS = ("000000000000", "ffffffffffff", "001122334455", "aabbccddeeff", "123456789abc")
LOCALLY_GIVEN = 2  # the bit of the first byte that no manufacturer sets (IEEE 802)


def find_emails(text: str) -> Iterator[Span]:
    """E-mail addresses, those of example domains left out."""
    at = text.find("@")
    end = 0
    while at >= 0:
        local = LOCAL_REVERSED.match(text[max(end, at - 64) : at][::-1])
        domain = DOMAIN.match(text, at + 1)
        if local and domain and not EXAMPLE_DOMAIN.search(domain.group()):
            name = local.group()[::-1].lstrip(".%+'-")
            if name and not name.endswith("."):
                end = domain.end()
                yield at - len(name), end
        at = text.find("@", at + 1)


def find_ips(text: str) -> Iterator[Span]:
    """Public IP addresses; numbers of versions and sections look alike and are none."""
    for head_pattern, rest_pattern in ((IPV4_HEAD, IPV4_REST), (IPV6_HEAD, IPV6_REST)):
        for rest in rest_pattern.finditer(text):
            before = text[max(0, rest.start() - HEAD_CHARS) : rest.start()]
            if head := head_pattern.search(before):
                start = rest.start() - len(head.group())
                address = head.group() + rest.group()
                if _is_public(address) and not _is_version(address, text, start):
                    yield start, rest.end()


def find_macs(text: str) -> Iterator[Span]:
    """Addresses of network cards that a manufacturer gave; usual placeholders are left out."""
    for rest in MAC_REST.finditer(text):
        if head := MAC_HEAD.search(text[max(0, rest.start() - 3) : rest.start()]):
            digits = re.sub("[:-]", "", head.group() + rest.group()).lower()
            if digits not in MAC_PLACEHOLDERS and not int(digits[:2], 16) & LOCALLY_GIVEN:
                yield rest.start() - 2, rest.end()


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _is_version(address: str, text: str, start: int) -> bool:
    """Numbers most of which have one digit, or that stand after a word like version."""
    if sum(len(part) == 1 for part in address.split(".")) > MAX_SHORT_PARTS:
        return True
    return bool(VERSION_BEFORE.search(text[max(0, start - VERSION_LOOK_CHARS) : start]))
