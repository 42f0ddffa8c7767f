"""Days are read as people write them."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.extract.dates import day_in, day_in_address, is_month

DAYS = st.dates(date(1990, 1, 1), date(2099, 12, 31))

MONTHS = {  # January to December, as they stand in a date
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre"
    " diciembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro"
    " dezembro",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre"
    " dicembre",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "sv": "januari februari mars april maj juni juli augusti september oktober november december",
    "no": "januar februar mars april mai juni juli august september oktober november desember",
    "fi": "tammikuuta helmikuuta maaliskuuta huhtikuuta toukokuuta kesäkuuta heinäkuuta elokuuta"
    " syyskuuta lokakuuta marraskuuta joulukuuta",
    "pl": "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października"
    " listopada grudnia",
    "cs": "ledna února března dubna května června července srpna září října listopadu prosince",
    "ru": "января февраля марта апреля мая июня июля августа сентября октября ноября декабря",
    "uk": "січня лютого березня квітня травня червня липня серпня вересня жовтня листопада грудня",
    "el": "Ιανουαρίου Φεβρουαρίου Μαρτίου Απριλίου Μαΐου Ιουνίου Ιουλίου Αυγούστου Σεπτεμβρίου"
    " Οκτωβρίου Νοεμβρίου Δεκεμβρίου",
    "tr": "Ocak Şubat Mart Nisan Mayıs Haziran Temmuz Ağustos Eylül Ekim Kasım Aralık",
    "ro": "ianuarie februarie martie aprilie mai iunie iulie august septembrie octombrie noiembrie"
    " decembrie",
    "ar": "يناير فبراير مارس أبريل مايو يونيو يوليو أغسطس سبتمبر أكتوبر نوفمبر ديسمبر",
}


@pytest.mark.parametrize("language", MONTHS)
def test_months_are_known_by_their_names(language: str):
    for month, name in enumerate(MONTHS[language].split(), start=1):
        for spelt in (name, name.lower(), name.capitalize()):
            assert day_in(f"(7. {spelt} 2021, 18:30)") == f"2021-{month:02}-07"
        assert day_in(f"{name} 7, 2021") == f"2021-{month:02}-07"
        assert is_month(name)


@pytest.mark.parametrize(
    "form",
    [
        *("{0:%Y-%m-%d}", "{0:%Y-%m-%dT%H:%M:%SZ}", "{0:%Y%m%d}", "{0:%Y/%m/%d}"),
        *("on {0:%d.%m.%Y}", "{0:%a, %d %b %Y %H:%M:%S} GMT", "{0:%d-%b-%Y}", "{0:%B %d, %Y} | x"),
        *("{0:%Y}. {0:%B} {0.day}.", "{0.day} de {0:%B} de {0:%Y}", "{0.day}th of {0:%B} {0:%Y}"),
        "{0:%Y年%m月%d日}",
    ],
)
@given(day=DAYS)
def test_a_day_is_read_back_in_every_form(form: str, day: date):
    assert day_in(form.format(day)) == day.isoformat()


@given(DAYS)
def test_numbers_alone_are_read_by_the_habits_of_the_country(day: date):
    assert day_in(f"{day:%d/%m/%Y}") == day.isoformat()
    assert day_in(f"{day:%m/%d/%Y}", month_first=True) == day.isoformat()
    if day.day > 12:  # no doubt
        assert day_in(f"{day:%m/%d/%Y}") == day_in(f"{day:%d/%m/%Y}", month_first=True)


@given(DAYS, DAYS)
def test_the_first_day_within_the_limit_is_taken(day: date, limit: date):
    text = f"Updated {day:%d %B %Y}, first published 1 January 1990"
    found = day_in(text, latest=limit.isoformat())
    assert found == (day.isoformat() if day <= limit else "1990-01-01")


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "2021", "12.2021", "99.99.2021", "31.6.2020", "30 February 2020", "1850-01-01"),
        *("3 Euro 2020", "2 Fast 2002", "version 1.2.2019.3", "call 0202020202", "7 2021 May"),
        *("id 120200131x", "1.1.0001"),
    ],
)
def test_what_is_no_day_is_none(text: str):
    assert day_in(text) is None


def test_seconds_since_1970_are_days_too():
    assert day_in("1574500000") == day_in("1574500000123") == "2019-11-23"


@given(DAYS)
def test_addresses_hold_days(day: date):
    for form in (
        "/{0:%Y/%m/%d}/x",
        "/a/x-{0:%Y-%m-%d}",
        "/x_{0:%Y%m%d}.html",
        "/{0:%Y/%m}/{0.day}",
    ):
        assert day_in_address("https://a.example" + form.format(day)) == day.isoformat()
    assert day_in_address(f"https://a{day:%Y-%m-%d}.example/x") is None


@given(st.text(max_size=500))
def test_any_text_may_be_read(text: str):
    assert day_in(text) is None or date.fromisoformat(day_in(text) or "")
    day_in_address(text)
