"""What a source knows of a document beside its bytes, as named fields of its WARC record.

Crawl writes them, extract reads them; the WARC standard leaves a writer free to add fields.
"""

from collections.abc import Mapping

# Fact → the name of its field. ``date`` is when the document says it was published or changed;
# when it was fetched is the record's own WARC-Date. ``licence`` is an SPDX expression.
RECORD_FIELDS = {
    "item_id": "X-Item-Id",
    "revision_id": "X-Revision-Id",
    "title": "X-Title",
    "author": "X-Author",
    "date": "X-Date",
    "language": "X-Language",
    "licence": "X-Licence",
    "code_language": "X-Code-Language",
    "hidden_namespaces": "X-Wiki-Hidden-Namespaces",  # names of a wiki's files and categories
}
NO_DATE = "1970-01-01T00:00:00Z"  # WARC demands a date: that of what has none, such as files
MAX_VALUE_CHARS = 2000


def record_fields(facts: Mapping[str, object]) -> dict[str, str]:
    """Field names and values of the facts that have a value, each a single line that any file
    can hold.
    """
    lines = {RECORD_FIELDS[fact]: one_line(value) for fact, value in facts.items()}
    return {name: line for name, line in lines.items() if line}


def one_line(value: object) -> str:
    """A value as text without line breaks, NULs and halves of characters; nothing for None."""
    text = "" if value is None else str(value).replace("\0", "")
    text = text.encode("utf-8", "replace").decode()
    return " ".join(text[:MAX_VALUE_CHARS].split())
