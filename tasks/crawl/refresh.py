"""Refreshing: what an earlier crawl knows of each page, and when to ask for it again.

In: the page table of an earlier crawl. Out: the URLs to ask for now, the conditions to ask under,
and the rows of those that are left for later. A page that changed is asked for again after half the
time that was waited before, one that did not after twice the time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.crawl.answer import HOST_FAILURES
from tasks.crawl.config import SourceConfig
from tasks.crawl.frontier import Target, url_key
from tasks.crawl.table import PAGE_SCHEMA, PageRow

SECONDS_PER_DAY = 86_400
SLACK_SECONDS = 3_600  # a nightly schedule does not start on the second
ROWS_PER_BATCH = 10_000
# It was not read, or not kept for want of room: as if nobody had asked.
PASSING_REASONS = frozenset({*HOST_FAILURES, "max_total_bytes"})
NOT_DUE = "not_due"
OPT_OUTS = frozenset(
    {"robots", "robots_others", "noindex", "noai", "tdm_reservation", "no_training"}
)
# Not a redirect, a 403 or the like: they may be a login's or a passing mistake of the site's.
GONE = frozenset({"status_404", "status_410", "status_451"})


@dataclass(frozen=True)
class Recrawl:
    """How long to wait for a page, between two bounds."""

    min_days: float
    max_days: float

    @classmethod
    def of(cls, config: SourceConfig) -> "Recrawl":
        """As a source's configuration says."""
        return cls(config.min_recrawl_days, config.max_recrawl_days)

    def first(self) -> float:
        """Days to wait for a page that is new."""
        return self.min_days

    def next(self, interval_days: float | None, *, has_changed: bool) -> float:
        """Days to wait for a page that was waited for ``interval_days``."""
        if interval_days is None:
            return self.first()
        # a page that was always asked for must be able to slow down, too
        slower = max(interval_days * 2, 1.0 / 64)
        return min(max(interval_days / 2 if has_changed else slower, self.min_days), self.max_days)


def is_passing(row: PageRow) -> bool:
    """Whether a row says nothing of its page: it was not asked for, or could not be read now."""
    reason = row.reason or ""
    if reason in OPT_OUTS:  # known without asking for the page
        return False
    return row.status is None or reason in PASSING_REASONS or reason.startswith("status_5")


def is_withdrawn(row: PageRow) -> bool:
    """Whether a page may be kept no longer: it is gone, or its site asks us to stay away from it.

    Nothing is remembered of such a page, so that it is read anew should it come back.
    """
    return row.reason in OPT_OUTS or row.reason in GONE


def row_after(row: PageRow, before: PageRow | None, recrawl: Recrawl) -> PageRow:
    """A row of this crawl, with what is to be remembered of the earlier one's."""
    if is_passing(row):
        return row if before is None else _remembering(row, before)
    if before is None:
        return replace(row, interval_days=recrawl.first())
    if row.digest or before.digest:
        has_changed = row.digest != before.digest
    else:
        has_changed = row.status != before.status
    interval = recrawl.next(before.interval_days, has_changed=has_changed)
    return replace(row, interval_days=interval)


def _remembering(row: PageRow, before: PageRow) -> PageRow:
    return replace(
        row,
        fetched_at=before.fetched_at,
        digest=before.digest,
        etag=before.etag,
        last_modified=before.last_modified,
        stored_at=before.stored_at,
        canonical=before.canonical,
        withdrawn_at=before.withdrawn_at,
        interval_days=before.interval_days,
    )


class Earlier:
    """The page table of an earlier crawl; about 0.4 kB of memory a page.

    Args:
        path: the table.
        now: the date of the crawl that asks, ISO 8601.
    """

    def __init__(self, path: Path, now: str) -> None:
        table = pq.read_table(path)
        for field in PAGE_SCHEMA:  # a crawl made before a column was added knows nothing there
            if field.name not in table.column_names:
                table = table.append_column(field, pa.nulls(len(table), field.type))
        self._table = table.select(PAGE_SCHEMA.names).combine_chunks()
        self._now = now
        urls = (url for part in self._parts(["url"]) for url in part)
        self._places = {url_key(each["url"]): place for place, each in enumerate(urls)}

    def row(self, url: str) -> PageRow | None:
        """What became of a URL, or None if it was not known."""
        place = self._places.get(url_key(url))
        if place is None:
            return None
        (values,) = self._table.slice(place, 1).to_pylist()
        return PageRow(**values)

    def targets(self) -> Iterator[Target]:
        """Every URL that is to be asked for now, at its old depth, in the old order."""
        for row in self._rows():
            if self.is_due(row):
                yield Target(row.url, row.depth or 0)

    def is_due(self, row: PageRow, modified: str = "") -> bool:
        """Whether to ask for a page now.

        Args:
            modified: when its sitemap says that it was changed; may be empty, or anything.
        """
        if row.interval_days is None or row.fetched_at is None or not row.depth:
            return True  # never settled, or a seed, from which new pages are found
        if (changed := _time(modified)) and changed > _required_time(row.fetched_at):
            return True
        waited = _required_time(self._now) - _required_time(row.fetched_at)
        return waited.total_seconds() + SLACK_SECONDS >= row.interval_days * SECONDS_PER_DAY

    def carried(self, was_asked: Callable[[str], bool]) -> Iterator[PageRow]:
        """Rows of the URLs that were left for later, in the old order."""
        for row in self._rows():
            if not self.is_due(row) and not was_asked(row.url):
                yield replace(row, reason=NOT_DUE, shard=None)

    def _rows(self) -> Iterator[PageRow]:
        for part in self._parts(PAGE_SCHEMA.names):
            yield from (PageRow(**values) for values in part)

    def _parts(self, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
        for batch in self._table.select(columns).to_batches(max_chunksize=ROWS_PER_BATCH):
            yield batch.to_pylist()


def conditions(row: PageRow | None) -> dict[str, str]:
    """Headers that ask for a page only if it is not what it was (RFC 9110, 13.1)."""
    if row is None or row.digest is None:
        return {}
    found = {"If-None-Match": row.etag, "If-Modified-Since": row.last_modified}
    return {name: value for name, value in found.items() if value}


def _time(text: str) -> datetime | None:
    """A date or time as sitemaps write them: 2026-11, 2026-11-21, 2026-11-21T08:00:00+01:00."""
    try:
        parsed = datetime.fromisoformat(text if len(text) != len("2026-11") else f"{text}-01")
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _required_time(text: str) -> datetime:
    parsed = _time(text)
    assert parsed, f"the page table holds the time {text!r}"
    return parsed
