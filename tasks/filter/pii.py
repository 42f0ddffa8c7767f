"""Personal data in a text: found, and put out of sight. Pure: text in, text out.

Each kind has a finder that yields spans; a new kind is a finder and a placeholder. Every finder
takes time in proportion to the text, whatever the text: each looks at what surrounds a sign that
is rare (``@``), or tries a pattern of bounded length.

What is masked is replaced by something of the same form from the ranges that are reserved for
examples (RFC 2606 and 5737), so that sentences still read as sentences; masking twice changes
nothing.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from tasks.filter.config import PersonalData

Span = tuple[int, int]

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
SECTION = re.compile(r"\d(?:\.\d){3}")
VERSION_BEFORE = re.compile(r"(?:\b(?:version|release|build|ver|rev)[.:]?|§)\s{0,2}$", re.I)
VERSION_LOOK_CHARS = 12


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


def _is_public(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def _is_version(address: str, text: str, start: int) -> bool:
    """Four numbers of one digit each, or numbers after a word like version."""
    if SECTION.fullmatch(address):
        return True
    return bool(VERSION_BEFORE.search(text[max(0, start - VERSION_LOOK_CHARS) : start]))


FINDERS: dict[PersonalData, tuple[Callable[[str], Iterator[Span]], str]] = {
    "email": (find_emails, "someone@example.org"),
    "ip": (find_ips, "192.0.2.1"),
}


def mask(text: str, kinds: Sequence[PersonalData]) -> tuple[str, Counter[str]]:
    """Replace personal data of the given kinds; also how many of each were found."""
    found = sorted((start, end, kind) for kind in kinds for start, end in FINDERS[kind][0](text))
    if not found:
        return text, Counter()
    pieces, position, counts = [], 0, Counter[str]()
    for start, end, kind in found:
        if start < position:  # inside what another kind has taken
            continue
        pieces += [text[position:start], FINDERS[kind][1]]
        position = end
        counts[kind] += 1
    return "".join([*pieces, text[position:]]), counts
