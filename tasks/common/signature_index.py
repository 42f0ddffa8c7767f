"""The signature index: of each document the keys that duplicates are found by, without its text.

``signatures`` writes it source by source, ``duplicates`` decides from those of all sources. Beside
each table of keys lies an array of MinHash signatures, uint32, with a line for each permutation and
a column for each row of the table: so the lines of one band are one stretch of the file.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import xxhash

from tasks.common.document import SCORES
from tasks.common.url_list import spell

KEYS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("fetched_at", pa.int64(), nullable=False),  # see instants
        pa.field("url_key", pa.uint64(), nullable=False),  # of source and URL as it is written
        pa.field("page_key", pa.uint64(), nullable=False),  # of the URL in one spelling
        pa.field("exact_key", pa.binary(16), nullable=False),  # of the text
        pa.field("num_chars", pa.int64(), nullable=False),
        pa.field("is_signed", pa.bool_(), nullable=False),  # else it has no shingle: all zeros
        pa.field("quality_score", pa.float32()),
        pa.field("signals", SCORES),
    ]
)
NO_URL = 0
UNKNOWN = np.iinfo(np.int64).min
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def signatures_name(keys_name: str) -> str:
    """The name of the signatures that lie beside the table of keys ``part-….parquet``."""
    return keys_name.replace("part-", "signatures-").replace(".parquet", ".npy")


def url_keys(sources: Sequence[str], urls: Sequence[str]) -> np.ndarray:
    """64 bits for each document that are equal where source and URL are; NO_URL if it has none.

    A URL is taken as it is written: within one source, one crawler spelled them all. What a page
    says of its canonical address is not believed, since a mistaken template says the same on all
    pages of a site, and would leave one of them.
    """
    keys = (
        xxhash.xxh3_64_intdigest(f"{source}\0{url}".encode()) if url else NO_URL
        for source, url in zip(sources, urls, strict=True)
    )
    return np.fromiter(keys, np.uint64, len(urls))


def page_keys(urls: Sequence[str]) -> np.ndarray:
    """64 bits for each URL, equal for spellings of one address; NO_URL where it cannot be read.

    Scheme, port, user, fragment, case of the host, ``www.`` and a last slash make no difference.
    """
    spelled = (spell(url) if url else None for url in urls)
    keys = (xxhash.xxh3_64_intdigest(url.encode()) if url else NO_URL for url in spelled)
    return np.fromiter(keys, np.uint64, len(urls))


def instants(dates: Sequence[str | None]) -> np.ndarray:
    """ISO 8601 times as microseconds since 1970, UTC where they name no zone, else UNKNOWN."""
    return np.fromiter(map(_instant, dates), np.int64, len(dates))


def _instant(date: str | None) -> int:
    try:
        time = datetime.fromisoformat(date or "")
    except ValueError:
        return int(UNKNOWN)
    since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
