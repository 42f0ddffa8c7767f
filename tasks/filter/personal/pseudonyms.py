"""Stand-ins for personal data: the same person or number gets the same one. Pure.

A stand-in is drawn from HMAC-SHA256 (RFC 2104) of what it stands for, under a secret key: without
the key nobody can tell which address a stand-in came from, nor try addresses out. It has the form
of what it replaces, and is nobody's: addresses lie in ranges for examples or private use, numbers
begin as no number of their kind does or fail its check.
"""

import hashlib
import hmac
import re
import string
from collections.abc import Callable, Iterator

from tasks.filter.personal.config import Kind

MIN_KEY_BYTES = 32
LETTERS = string.ascii_lowercase + string.digits
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"


class Pseudonyms:
    """Stand-ins under one key."""

    def __init__(self, key: bytes) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise ValueError(
                f"the key for stand-ins has {len(key)} bytes; it needs {MIN_KEY_BYTES}, for "
                f"example from: head -c {MIN_KEY_BYTES} /dev/urandom"
            )
        self._key = key

    def stand_in(self, kind: Kind, found: str) -> str:
        """What to write in the place of ``found``, which is of that kind."""
        if kind == "name":
            return " ".join(self._name(word) for word in found.split())
        lots = self._lots(kind, _normal(kind, found))
        return STAND_INS[kind](found, lots)

    def _name(self, word: str) -> str:
        """A word for a word, so that "Ada Lovelace" and "Lovelace" remain the same person."""
        lots = self._lots("name", word.casefold().strip(string.punctuation))
        made = "".join(_pick(CONSONANTS, lots) + _pick(VOWELS, lots) for _ in range(3))
        return made.capitalize() if word[:1].isupper() else made

    def _lots(self, kind: Kind, value: str) -> Iterator[int]:
        """Bytes without end, decided by key, kind and value."""
        seed = hmac.digest(self._key, f"{kind}\0{value}".encode(), "sha256")
        counter = 0
        while True:
            yield from hashlib.sha256(seed + counter.to_bytes(8, "big")).digest()
            counter += 1


def _normal(kind: Kind, found: str) -> str:
    """One spelling for what is written in several ways."""
    if kind == "phone":
        return re.sub(r"\D", "", found.replace("(0)", "")).lstrip("0")
    if kind in ("email", "ip"):
        return found.lower()
    return found if kind == "secret" else re.sub(r"[^0-9A-Za-z]", "", found).upper()


def _pick(signs: str, lots: Iterator[int]) -> str:
    return signs[next(lots) % len(signs)]


def _email(_found: str, lots: Iterator[int]) -> str:
    return "".join(_pick(LETTERS, lots) for _ in range(12)) + "@example.org"


def _ip(found: str, lots: Iterator[int]) -> str:
    if ":" in found:  # RFC 3849
        return "2001:db8:" + ":".join(f"{next(lots) << 8 | next(lots):x}" for _ in range(6))
    return f"10.{next(lots)}.{next(lots)}.{next(lots)}"  # RFC 1918


def _mac(found: str, lots: Iterator[int]) -> str:
    return found[2].join(["02", *(f"{next(lots):02x}" for _ in range(5))])


def _of_same_form(found: str, lots: Iterator[int]) -> str:
    """Digits for digits, letters for letters, other signs as they are.

    From the end on, so that a number with and without its prefix ends alike.
    """
    return "".join([_sign_like(sign, lots) for sign in reversed(found)][::-1])


def _sign_like(sign: str, lots: Iterator[int]) -> str:
    if sign.isdigit():
        return _pick(string.digits, lots)
    if sign.isalpha():
        return _pick(string.ascii_uppercase if sign.isupper() else string.ascii_lowercase, lots)
    return sign


def _beginning_with(zeros: int) -> Callable[[str, Iterator[int]], str]:
    """Of the same form, its first digits zero: so no phone, card, account or citizen begins."""

    def made(found: str, lots: Iterator[int]) -> str:
        drawn = _of_same_form(found, lots)
        for match in list(re.finditer(r"\d", drawn))[:zeros]:
            drawn = drawn[: match.start()] + "0" + drawn[match.end() :]
        return drawn

    return made


STAND_INS: dict[Kind, Callable[[str, Iterator[int]], str]] = {
    "secret": _of_same_form,
    "email": _email,
    "iban": _beginning_with(2),  # check digits are 02 to 98
    "credit_card": _beginning_with(1),
    "national_id": _beginning_with(3),
    "phone": _beginning_with(3),
    "ip": _ip,
    "mac": _mac,
    "crypto_wallet": _of_same_form,
}
