"""Judging: what an answer comes to.

Pure: an answer in; a row of the page table, the links to follow and, if it is a page, a WARC record
out. Whether the page is one too many, or a copy of another, is judged in order by ``web``.
"""

from dataclasses import dataclass, replace

from tasks.crawl.answer import NOT_MODIFIED, UNCHANGED, Answer
from tasks.crawl.config import SourceConfig
from tasks.crawl.frontier import Target
from tasks.crawl.links import PageLinks, decode, page_links
from tasks.crawl.record import page_record, payload_digest, revisit_record
from tasks.crawl.robots import product_token
from tasks.crawl.table import PageRow
from tasks.crawl.urls import Cleaner, Scope, believed_canonical


@dataclass(frozen=True, slots=True)
class Visit:
    """What a visit to one URL left: a row, a record if there is a page, and links."""

    row: PageRow
    found: tuple[Target, ...] = ()
    record: bytes = b""


@dataclass(frozen=True)
class Judge:
    """Judges the answers of one crawl.

    Args:
        config: what pages may ask of us.
        scope: which URLs the crawl visits.
        cleaner: how it spells them.
        snapshot, date: what its records say.
    """

    config: SourceConfig
    scope: Scope
    cleaner: Cleaner
    snapshot: str
    date: str

    def visit(self, target: Target, answer: Answer, before: PageRow | None) -> Visit:
        """Judge an answer; ``before`` is what an earlier crawl knows of the same URL."""
        row = PageRow(
            url=target.url,
            depth=target.depth,
            reason=answer.reason,
            status=answer.status,
            content_type=answer.content_type or None,
            fetched_at=self.date if answer.status else None,
            location=answer.location,
        )
        if answer.location:
            location = self.cleaner.redirect(answer.location, target.url)
            return Visit(row, (Target(location, target.depth, target.hops + 1),))
        if answer.reason == UNCHANGED and not (before and before.digest):
            return Visit(replace(row, reason=f"status_{NOT_MODIFIED}"))  # nobody had asked
        if answer.reason not in (None, UNCHANGED):
            return Visit(row)
        page = self._read(target.url, answer)
        links = dict.fromkeys(map(self.cleaner.clean, page.links))
        found = tuple(Target(link, target.depth + 1) for link in links)
        refusal = page.refusal(
            tags=self.config.respect_robots_tags, opt_out=self.config.respect_opt_out
        )
        if refusal:
            return Visit(replace(row, reason=refusal, bytes=len(answer.body)), found)
        if before and answer.reason == UNCHANGED:
            return self._revisited(row, answer, before, found)
        canonical = believed_canonical(target.url, page.canonical, self.scope)
        row = replace(
            row,
            bytes=len(answer.body),
            digest=payload_digest(answer.body),
            etag=answer.header("ETag") or None,
            last_modified=answer.header("Last-Modified") or None,
            canonical=self.cleaner.clean(canonical) if canonical else None,
        )
        if before and before.digest == row.digest:
            return self._revisited(row, answer, before, found)
        record = page_record(target.url, self.snapshot, self.date, answer.headers, answer.body)
        return Visit(replace(row, stored_at=self.date), found, record)

    def _read(self, url: str, answer: Answer) -> PageLinks:
        is_html = answer.content_type != "text/plain"
        return page_links(
            url,
            decode(answer.body, answer.charset) if is_html else "",
            answer.headers,
            product_token(self.config.user_agent).lower(),
            obey_nofollow=self.config.respect_robots_tags,
        )

    def _revisited(
        self, row: PageRow, answer: Answer, before: PageRow, found: tuple[Target, ...]
    ) -> Visit:
        """A page that is what it was: what the answer does not say is as it was, too."""
        assert before.digest
        row = replace(
            row,
            reason=UNCHANGED,
            content_type=row.content_type or before.content_type,
            bytes=before.bytes,
            digest=before.digest,
            etag=answer.header("ETag") or before.etag,
            last_modified=answer.header("Last-Modified") or before.last_modified,
            stored_at=before.stored_at,
            canonical=row.canonical if row.digest else before.canonical,
        )
        record = revisit_record(
            row.url,
            self.snapshot,
            self.date,
            answer.headers,
            digest=before.digest,
            stored_at=before.stored_at or self.date,
            not_modified=answer.status == NOT_MODIFIED,
        )
        return Visit(row, found, record)
