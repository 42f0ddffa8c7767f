"""Phone numbers in a text. Pure: text in, spans out.

Three sorts are believed: international numbers that exist, numbers in the form of North America,
and national ones that either stand after a word such as phone, or begin with zero, come in groups
and exist in a country that the document's language or host suggests. What exists is known to
``phonenumbers`` (Google's libphonenumber), which is asked last because it is slow.
"""

import bisect
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import phonenumbers

from tasks.filter.personal.findings import Span
from tasks.filter.personal.stretches import Stretch

REGIONS_BY_LANGUAGE = {
    "en": ("GB", "US", "AU", "IE", "NZ", "IN", "ZA"),
    "de": ("DE", "AT", "CH"),
    "fr": ("FR", "BE", "CH", "CA"),
    "es": ("ES", "MX", "AR", "CO", "CL", "PE"),
    "it": ("IT", "CH"),
    "pt": ("PT", "BR"),
    "nl": ("NL", "BE"),
    "sv": ("SE", "FI"),
    "da": ("DK",),
    "nb": ("NO",),
    "no": ("NO",),
    "fi": ("FI",),
    "pl": ("PL",),
    "cs": ("CZ",),
    "sk": ("SK",),
    "sl": ("SI",),
    "hr": ("HR",),
    "hu": ("HU",),
    "ro": ("RO",),
    "el": ("GR", "CY"),
    "tr": ("TR",),
    "ru": ("RU",),
    "uk": ("UA",),
    "ja": ("JP",),
    "ko": ("KR",),
    "zh": ("CN", "TW", "HK"),
    "vi": ("VN",),
    "id": ("ID",),
    "hi": ("IN",),
}
COUNTRIES_BY_TLD = {"uk": "GB", "su": "RU", "eu": None, "io": None, "ai": None, "tv": None}

EXTENSION = r"(?:[ ,]{0,2}(?:x|ext\.?|#)[ ]?\d{1,6})?"
LEFT, RIGHT = r"(?<![\w./=$€£#-])(?<!\d,)", r"(?![\w%$€£]|[.,/-]\d)"
SEPARATOR = r"[ .\-/–\u00a0]"
INTERNATIONAL = re.compile(
    rf"(?<![\w+])\+[ ]?\d{{1,4}}(?:{SEPARATOR}{{0,2}}\(\d{{1,5}}\))?"
    rf"(?:{SEPARATOR}{{0,2}}\d{{1,14}}){{1,7}}{EXTENSION}(?!\d)"
)
NORTH_AMERICAN = re.compile(
    rf"{LEFT}(?:\+?1[-. ]{{1,2}})?(?:\([2-9]\d{{2}}\)[-. ]{{0,2}}|[2-9]\d{{2}}([-.])|[2-9]\d{{2}}/)"
    rf"[2-9]\d{{2}}[-. ]\d{{4}}{EXTENSION}{RIGHT}"
)
NATIONAL = re.compile(
    rf"{LEFT}(?:\(\d{{2,5}}\)|\d{{2,6}})(?:{SEPARATOR}{{1,2}}\d{{2,8}}){{1,6}}{EXTENSION}{RIGHT}"
    rf"|{LEFT}\d{{7,12}}{EXTENSION}{RIGHT}"
)
NO_PHONE = re.compile(
    r"(?:19|20)\d{2}[-./ –]\d{1,2}[-./ –]\d{1,2}(?: .*)?"
    r"|\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)\d{2}(?: .*)?|\d{5}-\d{4}"  # days, US postal codes
    r"|(?:1[5-9]|20)\d{2} ?[-–/] ?(?:1[5-9]|20)?\d{2}|\d{1,3}(?:[ .]000)+"
)
BEFORE = re.compile(
    r"(?i)(?<![^\W\d_])(?:tele)?(?:phones?|phoned?|fono|fon|f[oô]ne)(?![^\W\d_])"
    r"|(?<![^\W\d_])(?:tel|t[ée]l|tfno?|tlf|ph|cell(?:ular|phone)?|mobiles?|handy|mob|fax(?:nummer)?"
    r"|call(?:ed|ing)?(?: us| me| him| her| them)?|dial|ring|whatsapp|sms|text(?: me| us)|hotline"
    r"|helpline|toll[- ]free|voice|desk|pager|telefon(?:o|e|u|nummer)?|telefax"
    r"|t[ée]l[ée](?:phone|fono|copie)|portable|m[oó]vil|celular|cellulare|mobil|rufnummer"
    r"|puhelin|tel[eé]f|тел(?:ефон)?|电话|電話|전화)(?![^\W\d_])"
)
BEFORE_CHARS = 32
AFTER = re.compile(
    r"(?i)[ ]{0,2}[-,(]{0,2}[ ]{0,2}(?:office|fax|mobile|cell|home|work|voice|desk)\b"
)
EXAMPLE = re.compile(r"555\D?01\d\d\D*$")  # fictitious numbers of North America
NOBODYS = "000"  # stand-ins and examples begin with it, and no number does
FEW_KINDS = 3  # fewer different digits are a placeholder
NUM_DIGITS = range(7, 16)
MAX_MISSES = 500


def regions(language: str | None, host: str) -> tuple[str, ...]:
    """Countries whose numbers are likely in a document of that language, of that host."""
    tld = host.rpartition(".")[2].lower()
    country = COUNTRIES_BY_TLD.get(tld, tld.upper() if len(tld) == 2 else None)
    by_language = REGIONS_BY_LANGUAGE.get(language or "", ())
    if country in phonenumbers.SUPPORTED_REGIONS:
        return tuple(dict.fromkeys((str(country), *by_language)))
    return by_language


def find_phones(text: str, stretches: Sequence[Stretch], likely: Sequence[str]) -> Iterator[Span]:
    """Phone numbers in the given stretches; ``likely`` are countries as ``regions`` gives them."""
    asked = _Directory(likely)
    for stretch in stretches:
        if stretch.num_digits >= NUM_DIGITS.start:
            yield from _in_stretch(text, stretch.start, stretch.end, asked)


class _Directory:
    """Which numbers exist; a text with many that do not is no list of phones, nor worth the time.

    Attributes:
        likely: countries to try.
    """

    def __init__(self, likely: Sequence[str]) -> None:
        self.likely = likely
        self._num_misses = 0

    def has(self, number: str, *countries: str | None) -> bool:
        if self._num_misses > MAX_MISSES:
            return False
        if any(_exists(number, country) for country in countries):
            return True
        self._num_misses += 1
        return False


def _in_stretch(text: str, start: int, end: int, asked: _Directory) -> list[Span]:
    starts: list[int] = []
    ends: list[int] = []
    for pattern, is_phone in (
        (INTERNATIONAL, _is_international),
        (NORTH_AMERICAN, _is_north_american),
        (NATIONAL, _is_national),
    ):
        for match in pattern.finditer(text, start, end):
            first, after = match.span()
            at = bisect.bisect(starts, first)
            is_free = (at == 0 or ends[at - 1] <= first) and (
                at == len(starts) or starts[at] >= after
            )
            if is_free and _is_plausible(match.group()) and is_phone(text, match.span(), asked):
                starts.insert(at, first)
                ends.insert(at, after)
    return list(zip(starts, ends, strict=True))


def _is_plausible(number: str) -> bool:
    digits = re.sub(r"\D", "", re.split(r"x|e|#", number)[0])
    if digits.startswith(NOBODYS) or EXAMPLE.search(number):
        return False
    return len(digits) in NUM_DIGITS and len(set(digits)) >= FEW_KINDS


def _is_international(text: str, span: Span, asked: _Directory) -> bool:
    number = text[slice(*span)]
    return asked.has(number, None) or _has_word_near(text, span)


def _is_north_american(text: str, span: Span, asked: _Directory) -> bool:
    return asked.has(text[slice(*span)], "US") or _has_word_near(text, span)


def _is_national(text: str, span: Span, asked: _Directory) -> bool:
    number = text[slice(*span)]
    if NO_PHONE.fullmatch(number):
        return False
    if _has_word_near(text, span):
        return True
    num_groups = len(re.findall(r"\d+", number))
    begins_with_zero = number.lstrip("(").startswith("0")
    if not begins_with_zero or num_groups < 2:
        return False
    return asked.has(number, *asked.likely)


def _has_word_near(text: str, span: Span) -> bool:
    """A word about phones shortly before, or right after."""
    before = text[max(0, span[0] - BEFORE_CHARS) : span[0]]
    before = before[before.rfind("\n", 0, max(0, len(before.rstrip()) - 1)) + 1 :]
    return bool(BEFORE.search(before) or AFTER.match(text, span[1]))


@lru_cache(maxsize=10_000)
def _exists(number: str, region: str | None) -> bool:
    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(number, region)))
    except phonenumbers.NumberParseException:
        return False
