"""Bank accounts, credit cards, national numbers and wallets in a text. Pure: text in, spans out.

Each number must have its form, its checksum where the form has one, and a word about it near by
where form and checksum are not rare enough in ordinary text.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from stdnum import bitcoin, iban, luhn
from stdnum.be import nn as be_rrn
from stdnum.br import cpf
from stdnum.ca import sin
from stdnum.ch import ssn as ch_ahv
from stdnum.cn import ric
from stdnum.de import idnr
from stdnum.es import dni, nie
from stdnum.fi import hetu
from stdnum.fr import nir
from stdnum.in_ import aadhaar
from stdnum.it import codicefiscale
from stdnum.mx import curp
from stdnum.nl import bsn
from stdnum.pl import pesel
from stdnum.se import personnummer
from stdnum.us import ssn

from tasks.filter.personal.config import NationalId
from tasks.filter.personal.findings import Span
from tasks.filter.personal.stretches import Stretch

MIXED = re.compile(r"[A-Z][ -]?\d|\d[ -]?[A-Z]")
LEFT, RIGHT = r"(?<![\w.,+/=#-])", r"(?![\w-]|[.,]\d)"
NINE_DIGITS = re.compile(rf"{LEFT}\d(?=(?:[-. ]?\d){{8}})")  # so numbers without letters begin
WITH_LETTERS = {"uk_nino", "es_dni", "es_nie", "it_codice_fiscale", "mx_curp", "fr_nir"}
MIN_NATIONAL_DIGITS, MIN_IBAN_DIGITS, MIN_CARD_DIGITS = 9, 6, 12
CONTEXT_CHARS = 60  # how far before a number a word about it may stand

IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{2,4}){3,8}(?![A-Za-z0-9])")
IBAN_CHARS = range(15, 35)
CARD = re.compile(
    r"(?<![\w.,+/=#-])(?:\d{12,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{1,3})?"
    r"|\d{4}([ -])\d{6}\2\d{4,5})(?![\w-]|[.,]\d)"
)
# Issuers' first digits and lengths (ISO/IEC 7812): of which no other number is that usual, and
# those that need a word about cards near by.
CARD_FORMS = re.compile(
    r"4\d{15}|5[1-5]\d{14}|2(?:2[2-9]|[3-6]\d|7[01])\d{13}|3[47]\d{13}|3(?:0[0-59]|[689]\d)\d{11}"
    r"|6(?:011|4[4-9]\d|5\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14}"
)
RARE_CARD_FORMS = re.compile(r"4\d{12}(?:\d{6})?|(?:1800|2131)\d{11}|(?:5[0678]|6\d)\d{10,17}")
CARD_WORDS = re.compile(
    r"(?i)\b(?:card|visa|mastercard|amex|american express|maestro|discover|jcb|diners|cvv|kredit"
    r"karte|karte|carte|tarjeta|carta|cart[aã]o|kaart|kort|karta|cc)"
)
TEST_CARDS = {  # published by payment services for tests
    *("4111111111111111", "4242424242424242", "4012888888881881", "5555555555554444"),
    *("5105105105105100", "6011111111111117", "6011000990139424", "3530111333300000"),
    *("3566002020360505", "378282246310005", "371449635398431", "30569309025904"),
    "38520000023237",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NationalForm:
    """How a country's number is written and checked."""

    form: re.Pattern[str]
    is_valid: Callable[[str], bool]
    words: re.Pattern[str] | None  # one must stand near by; None: form and checksum suffice


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"{LEFT}(?:{pattern}){RIGHT}")


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?i)(?<!\w)(?:{pattern})")


def _ric(number: str) -> bool:
    """China: check digit and date of birth; its list of counties is never complete."""
    return ric.calc_check_digit(number) == number[-1].upper() and bool(ric.get_birth_date(number))


def _nino(number: str) -> bool:
    """UK: no checksum; prefixes that were never given out (HMRC NIM39110)."""
    return number[:2] not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}


NATIONAL_FORMS: dict[NationalId, NationalForm] = {
    "us_ssn": NationalForm(
        form=_form(r"\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4}|\d{9}"),
        is_valid=ssn.is_valid,
        words=_words(r"ssns?\b|social[- ]security|soc\.? sec|taxpayer|itin\b"),
    ),
    "uk_nino": NationalForm(
        form=_form(
            r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](\d{6}|\s\d{2}\s\d{2}\s\d{2}\s|\d{2} \d{2} \d{2})"
            r"\s?[A-D]"
        ),
        is_valid=_nino,
        words=_words(r"national insurance|ni (?:no|num)|nino?\b|insurance n"),
    ),
    "de_steuer_id": NationalForm(
        form=_form(r"\d{2} ?\d{3} ?\d{3} ?\d{3}"),
        is_valid=idnr.is_valid,
        words=_words(r"steuer|tax|tin\b|idnr|identifikationsn"),
    ),
    "fr_nir": NationalForm(
        form=_form(r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}"),
        is_valid=nir.is_valid,
        words=_words(r"s[ée]cu|nir\b|insee|num[ée]ro de s|social|nss\b|assur"),
    ),
    "es_dni": NationalForm(
        form=_form(r"\d{8}[- ]?[A-HJ-NP-TV-Z]"),
        is_valid=dni.is_valid,
        words=_words(r"d\.?n\.?i\b|n\.?i\.?f\b|documento|identi|passport|c[ée]dula"),
    ),
    "es_nie": NationalForm(
        form=_form(r"[XYZ][- ]?\d{7}[- ]?[A-HJ-NP-TV-Z]"), is_valid=nie.is_valid, words=None
    ),
    "it_codice_fiscale": NationalForm(
        form=_form(r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]"),
        is_valid=codicefiscale.is_valid,
        words=None,
    ),
    "nl_bsn": NationalForm(
        form=_form(r"\d{9}|\d{4}[. ]\d{2}[. ]\d{3}"),
        is_valid=bsn.is_valid,
        words=_words(r"bsn\b|burger ?service|sofi|persoonsn"),
    ),
    "pl_pesel": NationalForm(
        form=_form(r"\d{11}"), is_valid=pesel.is_valid, words=_words(r"pesel|ewidency")
    ),
    "br_cpf": NationalForm(
        form=_form(r"\d{3}\.\d{3}\.\d{3}-\d{2}"), is_valid=cpf.is_valid, words=None
    ),
    "se_personnummer": NationalForm(
        form=_form(r"(?:19|20)?\d{6}[-+]?\d{4}"),
        is_valid=personnummer.is_valid,
        words=_words(r"person ?n(?:umme)?r|personal (?:identity|id)|pnr\b|samordningsn"),
    ),
    "fi_hetu": NationalForm(
        form=_form(r"\d{6}[-+A]\d{3}[0-9A-FHJ-NPR-Y]"),
        is_valid=hetu.is_valid,
        words=None,
    ),
    "be_rrn": NationalForm(
        form=_form(r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}"), is_valid=be_rrn.is_valid, words=None
    ),
    "ch_ahv": NationalForm(
        form=_form(r"756\.\d{4}\.\d{4}\.\d{2}"), is_valid=ch_ahv.is_valid, words=None
    ),
    "ca_sin": NationalForm(
        form=_form(r"\d{3}([ -])\d{3}\1\d{3}|\d{9}"),
        is_valid=sin.is_valid,
        words=_words(r"sin\b|social insurance|assurance sociale|nas\b"),
    ),
    "mx_curp": NationalForm(
        form=_form(r"[A-Z]{4}\d{6}[HM][A-Z]{5}[A-Z0-9]\d"), is_valid=curp.is_valid, words=None
    ),
    "cn_ric": NationalForm(form=_form(r"\d{17}[\dXx]"), is_valid=_ric, words=None),
    "in_aadhaar": NationalForm(
        form=_form(r"\d{4}([ -]?)\d{4}\1\d{4}"),
        is_valid=aadhaar.is_valid,
        words=_words(r"aadhaa?r|uidai|uid\b|आधार"),
    ),
}

WALLET = re.compile(
    r"(?<![A-Za-z0-9/])(?:bc1[ac-hj-np-z02-9]{25,60}|0x[0-9a-fA-F]{40}"
    r"|[13][1-9A-HJ-NP-Za-km-z]{25,34})(?![A-Za-z0-9])"
)


def find_ibans(text: str, stretches: Sequence[Stretch]) -> Iterator[Span]:
    """Bank accounts whose country, length and check digits are right (ISO 13616)."""
    for stretch in stretches:
        if stretch.num_digits < MIN_IBAN_DIGITS:
            continue
        for match in IBAN.finditer(text, stretch.start, stretch.end):
            if length := _iban_length(match.group()):
                yield match.start(), match.start() + length


def _iban_length(candidate: str) -> int | None:
    """The length of the account that a candidate begins with: words after it may look like more."""
    for cut in (len(candidate), *(m.start() for m in reversed([*re.finditer("[ -]", candidate)]))):
        compact = re.sub("[ -]", "", candidate[:cut])
        if len(compact) in IBAN_CHARS and iban.is_valid(compact):
            return cut
    return None


def find_cards(text: str, stretches: Sequence[Stretch]) -> Iterator[Span]:
    """Credit cards: an issuer's digits, its length, Luhn's sum (ISO/IEC 7812)."""
    for stretch in stretches:
        if stretch.num_digits < MIN_CARD_DIGITS:
            continue
        for match in CARD.finditer(text, stretch.start, stretch.end):
            number = re.sub(r"\D", "", match.group())
            if not luhn.is_valid(number) or number in TEST_CARDS or len(set(number)) < 3:
                continue
            if CARD_FORMS.fullmatch(number) or (
                RARE_CARD_FORMS.fullmatch(number) and _is_near(CARD_WORDS, text, match.start())
            ):
                yield match.span()


def find_national_ids(
    text: str, stretches: Sequence[Stretch], wanted: Sequence[NationalId]
) -> Iterator[tuple[int, int, str]]:
    """Numbers of citizens: start, end, which."""
    for start, end, num_digits in stretches:
        has_letters = MIXED.search(text, start, end) is not None
        starts = []
        if num_digits >= MIN_NATIONAL_DIGITS:
            starts = [match.start() for match in NINE_DIGITS.finditer(text, start, end)]
        if not has_letters and not starts:
            continue
        for name in wanted:
            national = NATIONAL_FORMS[name]
            matches: Iterable[re.Match[str] | None]
            if has_letters and name in WITH_LETTERS:
                matches = national.form.finditer(text, start, end)
            else:
                matches = [national.form.match(text, at, end) for at in starts]
            for match in filter(None, matches):
                near = national.words is None or _is_near(national.words, text, match.start())
                if near and _is_valid(national, match.group()):
                    yield (*match.span(), name)


def _is_valid(national: NationalForm, number: str) -> bool:
    try:
        return national.is_valid(number)
    except (ValueError, LookupError):  # no such date or place; stdnum's own errors are ValueErrors
        return False


def find_wallets(text: str) -> Iterator[Span]:
    """Addresses of Bitcoin, whose checksum must be right, and of Ethereum."""
    for match in WALLET.finditer(text):
        address = match.group()
        if address.startswith("0x"):
            if len(set(address[2:].lower())) > 6:  # not the zero address, nor a bit mask
                yield match.span()
        elif bitcoin.is_valid(address):
            yield match.span()


def _is_near(words: re.Pattern[str], text: str, position: int) -> bool:
    return words.search(text, max(0, position - CONTEXT_CHARS), position) is not None
