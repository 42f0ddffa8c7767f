"""What an archive record says of its document beside the text: the facts that its source knew.

Pure. In: a record. Out: columns of the document schema, only those that have a value. What a source
states (a table's title column, a file's SPDX header) is nearer to the document than what is said of
the whole source, and wins over it.
"""

import re
from datetime import date
from typing import Any

from tasks.common.record_fields import NO_DATE, RECORD_FIELDS
from tasks.extract.records import Headers, Record

DAY = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?!\d)")
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
MAX_LANGUAGE_CHARS = 35


def described(record: Record) -> dict[str, Any]:
    """The columns that a record's own fields fill."""
    stated = _facts(record.headers)
    columns = {
        "title": stated.get("title"),
        "author": stated.get("author"),
        "date": iso_day(stated.get("date", "")),
        "licence": stated.get("licence"),
        "declared_language": _language(stated.get("language", "")),
    }
    return {name: value for name, value in columns.items() if value}


def fetched_at(record: Record) -> str | None:
    """When the record was captured; None for one whose date is there only because WARC has one."""
    return None if record.date == NO_DATE else record.date


def iso_day(text: str) -> str | None:
    """The day with which a date in ISO 8601 begins."""
    found = DAY.match(text)
    try:
        return date(*map(int, found.groups())).isoformat() if found else None
    except ValueError:
        return None


def _facts(headers: Headers) -> dict[str, str]:
    return {fact: value for fact, name in RECORD_FIELDS.items() if (value := headers.get(name))}


def _language(text: str) -> str | None:
    is_tag = len(text) <= MAX_LANGUAGE_CHARS and LANGUAGE.fullmatch(text)
    return text.replace("_", "-") if is_tag else None
