"""Dates as people and programs write them, to ISO 8601 days.

Pure. In: a short text or a URL. Out: the first date in it as ``YYYY-MM-DD``, or None. What is no
day of the web's time (before 1990, after 2099, or the 31st of June) is not taken for a date.
"""

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC, date, datetime

MIN_YEAR = 1990
MAX_YEAR = 2099
MAX_TEXT_CHARS = 400

# Full names (in the case that dates take) and abbreviations, without accents.
MONTH_NAMES = (
    "january jan januar jaenner janner janvier janv enero ene gennaio gen janeiro januari stycznia"
    " styczen sty ledna января янв січня ιανουαριου ocak tammikuuta január ianuarie ian januar"
    " يناير ינואר януари",
    "february feb februar fevrier fevr fev febrero febbraio fevereiro februari lutego luty lut"
    " unora февраля фев лютого φεβρουαριου subat helmikuuta februarie فبراير פברואר февруари",
    "march mar marz maerz mrz mars marzo marco maart marca marzec brezna марта мар березня μαρτιου"
    " mart maaliskuuta marcius martie مارس מרץ март maret",
    "april apr avril avr abril abr aprile kwietnia kwiecien kwi dubna апреля апр квітня απριλιου"
    " nisan huhtikuuta aprilis aprilie أبريل ابريل אפריל април",
    "may mai mayo maggio mag maio mei maja maj kvetna мая май травня μαιου mayis toukokuuta majus"
    " مايو מאי",
    "june jun juni juin junio giugno giu junho czerwca czerwiec cze cervna июня июн червня ιουνιου"
    " haziran kesakuuta junius iunie يونيو יוני юни",
    "july jul juli juillet juil julio luglio lug julho lipca lipiec lip cervence июля июл липня"
    " ιουλιου temmuz heinakuuta julius iulie يوليو יולי юли",
    "august aug aout agosto ago augustus sierpnia sierpien sie srpna августа авг серпня αυγουστου"
    " agustos elokuuta augusztus augusti أغسطس אוגוסט август agustus",
    "september sep sept septembre septiembre settembre set setembro wrzesnia wrzesien wrz zari"
    " сентября сен сент вересня σεπτεμβριου eylul syyskuuta szeptember septembrie سبتمبر ספטמבר"
    " септември setiembre",
    "october oct oktober okt octobre octubre ottobre ott outubro out pazdziernika pazdziernik paz"
    " rijna октября окт жовтня οκτωβριου ekim lokakuuta octombrie أكتوبر אוקטובר октомври",
    "november nov листопада novembre noviembre novembro listopada listopad lis listopadu ноября ноя"
    " νοεμβριου kasim marraskuuta noiembrie نوفمبر נובמבר ноември",
    "december dec dezember dez decembre diciembre dic dicembre dezembro grudnia grudzien gru"
    " prosince декабря дек грудня δεκεμβριου aralik joulukuuta decembrie ديسمبر דצמבר декември"
    " desember des",
)
MONTH_OF_NAME = {
    "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c)): month
    for month, names in enumerate(MONTH_NAMES, start=1)
    for name in names.split()
}

YEAR = r"(?P<y>(?:19|20)\d\d)(?!\d)"
DAY = r"(?<!\d)(?P<d>\d{1,2})(?!\d)"
NAME = r"(?P<name>[^\W\d_]{3,13})"
GLUE = r"(?:[\s.,]|\bde\b|\bdel\b|\bof\b){0,6}"
PATTERNS = [
    re.compile(pattern)
    for pattern in (
        rf"(?<!\d){YEAR}\s?[-/.年]\s?(?P<m>\d{{1,2}})\s?[-/.月]\s?(?P<d>\d{{1,2}})(?!\d)",
        r"(?<!\d)(?P<a>\d{1,2})\s?(?P<mark>[./-])\s?(?P<b>\d{1,2})\s?(?P=mark)\s?"
        + YEAR
        + r"(?!\.\d)",
        r"(?<!\d)(?P<a>\d{1,2})(?P<mark>\.)\s?(?P<b>\d{1,2})\.\s?(?P<yy>\d\d)(?![\d.])",
        rf"{DAY}(?:st|nd|rd|th|er|º)?{GLUE}-?{NAME}{GLUE}-?{YEAR}",
        rf"{NAME}\.?\s?{DAY}(?:st|nd|rd|th)?,?\s?{YEAR}",
        rf"(?<!\d){YEAR}\.?\s?{NAME}\.?\s?{DAY}",
        r"(?<!\d)(?P<d>\d{1,2}) tháng (?P<m>\d{1,2}),? (?:năm )?" + YEAR,
    )
]
ISO = re.compile(r"\s*((?:19|20)\d\d)-(\d\d)-(\d\d)(?!\d)")
COMPACT = re.compile(r"\s*((?:19|20)\d\d)(\d\d)(\d\d)(?:T?\d{2,6}Z?)?\s*\Z")
SECONDS = re.compile(r"\s*(\d{10})(?:\d{3})?\s*\Z")
IN_ADDRESS = re.compile(
    r"[/_.=-]((?:19|20)\d\d)([/_-])(\d{1,2})\2(\d{1,2})(?=[/_.?&-]|$)"
    r"|[/_.=-]((?:19|20)\d\d)(\d\d)(\d\d)(?=[/_.?&-]|$)"
)


def day_in(text: str, *, month_first: bool = False, latest: str | None = None) -> str | None:
    """The first date in ``text``; none after ``latest``, itself an ISO 8601 day.

    ``month_first`` says how to read 4/5/2019, which Americans write for the fifth of April.
    """
    text = text[:MAX_TEXT_CHARS]
    if not _may_hold_a_date(text):
        return None
    found = sorted(_days(text, month_first))
    return next((day for _, day in found if not latest or day <= latest), None)


def day_in_address(url: str, latest: str | None = None) -> str | None:
    """The date in a URL's path, as in /2019/11/23/ or /20191123-."""
    path = url.partition("://")[2].partition("/")[2]
    for match in IN_ADDRESS.finditer("/" + path[:MAX_TEXT_CHARS]):
        year, _, month, day, *compact = match.groups()
        found = _day(*((year, month, day) if year else compact))
        if found and (not latest or found <= latest):
            return found
    return None


def is_month(word: str) -> bool:
    """Whether a word names a month."""
    return _plain(word.rstrip(".")) in MONTH_OF_NAME


def _may_hold_a_date(text: str) -> bool:
    return sum(map(str.isdigit, text)) >= 4


def _days(text: str, month_first: bool) -> Iterator[tuple[int, str]]:
    """Where each date begins, and the date."""
    if match := ISO.match(text) or COMPACT.match(text):
        if day := _day(*match.groups()):
            yield 0, day
            return
    elif match := SECONDS.match(text):
        found = datetime.fromtimestamp(int(match.group(1)), UTC).date()
        if day := _day(found.year, found.month, found.day):
            yield 0, day
    for pattern in PATTERNS:
        for match in pattern.finditer(text):
            if day := _read(match.groupdict(), month_first):
                yield match.start(), day


def _read(parts: dict[str, str], month_first: bool) -> str | None:
    year = parts.get("y") or "20" + parts["yy"]
    if "name" in parts:
        month = MONTH_OF_NAME.get(_plain(parts["name"]))
        return _day(year, month, parts["d"]) if month else None
    if "a" in parts:
        first, second = int(parts["a"]), int(parts["b"])
        is_month_first = second > 12 or (month_first and parts["mark"] == "/" and first <= 12)
        return _day(year, first, second) if is_month_first else _day(year, second, first)
    return _day(year, parts["m"], parts["d"])


def _plain(name: str) -> str:
    folded = unicodedata.normalize("NFKD", name.lower())
    return "".join(char for char in folded if not unicodedata.combining(char)).replace("ı", "i")


def _day(year: str | int, month: str | int, day: str | int) -> str | None:
    try:
        found = date(int(year), int(month), int(day))
    except ValueError:
        return None
    return found.isoformat() if MIN_YEAR <= found.year <= MAX_YEAR else None
