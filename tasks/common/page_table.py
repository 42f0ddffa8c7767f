"""What every crawl leaves beside its archives: a table of what became of each URL.

Crawl writes it, and says there which pages were withdrawn; duplicates takes out what there is of
those.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

PAGE_TABLE_NAME = "pages.parquet"


def withdrawn_pages(path: Path) -> pa.Table:
    """The URLs that a crawl found gone or closed to it, and since when, ISO 8601 in UTC.

    Returns:
        A table of ``url`` and ``withdrawn_at``; groups of rows that hold none are not read.
    """
    columns = ["url", "withdrawn_at"]
    return pq.read_table(path, columns=columns, filters=pc.field("withdrawn_at").is_valid())
