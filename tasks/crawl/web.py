"""Crawling sites: rounds of the frontier, each fetched at once and kept in order.

In: a web source and how to connect. Out: WARC files and the page table. A round is a batch of URLs
of one depth; when all of it has been answered, its pages are written in the order in which the
URLs were discovered, whatever the order of the answers, and the round is committed together with
the links it found. An interrupted crawl replays the committed rounds without asking for anything
again; it loses at most the round that was under way.
"""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from tasks.common.stage import Outcome, StageContext
from tasks.crawl.config import SourceConfig
from tasks.crawl.fetch import Answer, Fetcher
from tasks.crawl.frontier import Frontier, Target
from tasks.crawl.links import decode, page_links
from tasks.crawl.record import page_record
from tasks.crawl.robots import product_token
from tasks.crawl.table import PageRow, Shards, finish
from tasks.crawl.urls import Scope, normalise

MAX_ROUND_URLS = 100
MAX_ROUND_BYTES = 256 * 1024 * 1024  # what the pages of one round may take of memory
PROGRESS_SECONDS = 5.0
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Visit:
    """What a visit to one URL left: a row, a record if the page is kept, and links."""

    row: PageRow
    record: bytes = b""
    found: tuple[Target, ...] = ()


def crawl_web(
    context: StageContext, config: SourceConfig, connect_to: Mapping[str, str], snapshot: str
) -> Outcome:
    """Crawl a source's sites into ``context.path``."""
    return asyncio.run(_Crawl(context, config, connect_to, snapshot).run())


def crawl_date(context: StageContext, snapshot: str) -> str:
    """When the crawl took place, for its records: the snapshot's date, if that is one.

    Otherwise the time at which it first started, which an interrupted crawl finds again.
    """
    found = ISO_DATE.match(snapshot)
    try:
        return f"{date.fromisoformat(found[0] if found else '')}T00:00:00Z"
    except ValueError:
        pass
    if context.workspace.committed("start") is None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        context.workspace.commit("start", now, [])
    return str(context.workspace.committed("start"))


class _Crawl:
    def __init__(
        self,
        context: StageContext,
        config: SourceConfig,
        connect_to: Mapping[str, str],
        snapshot: str,
    ) -> None:
        self._context = context
        self._config = config
        self._connect_to = connect_to
        self._snapshot = snapshot
        self._date = crawl_date(context, snapshot)
        self._shards = Shards(context.path, config.name, snapshot, self._date)
        seeds = [seed for seed in map(normalise, config.seeds) if seed]
        self._frontier = Frontier(
            Scope.around(seeds, config.include, config.exclude), config.max_depth
        )
        self._frontier.offer(Target(seed, depth=0) for seed in seeds)
        self._rows: list[PageRow] = []
        self._num_shards = self._num_kept = self._num_bytes = self._num_rounds = 0
        self._num_answered = 0

    async def run(self) -> Outcome:
        self._replay()
        async with Fetcher(self._config, self._connect_to) as fetcher:
            progress = asyncio.create_task(self._report_progress(fetcher))
            try:
                while targets := self._next_round():
                    await self._round(fetcher, targets)
            finally:
                progress.cancel()
        limit = "max_pages" if self._num_kept >= self._config.max_pages else "max_total_bytes"
        unvisited = [(target, limit) for target in self._frontier.rest()]
        rows = [
            PageRow(url=target.url, depth=target.depth, reason=reason)
            for target, reason in self._frontier.refused + unvisited
        ]
        return finish(self._context.path, self._rows + rows)

    def _replay(self) -> None:
        while record := self._context.workspace.committed(self._round_key()):
            self._next_round()
            self._account(record)
        if self._num_rounds:
            self._context.log.info(
                "going on with an interrupted crawl: %d pages are there already", self._num_kept
            )

    def _round_key(self) -> str:
        return f"round-{self._num_rounds:05d}"

    def _next_round(self) -> list[Target]:
        config = self._config
        if self._num_bytes >= config.max_total_bytes:
            return []
        in_memory = max(1, MAX_ROUND_BYTES // config.max_page_bytes)
        return self._frontier.next_batch(
            min(MAX_ROUND_URLS, in_memory, config.max_pages - self._num_kept)
        )

    async def _round(self, fetcher: Fetcher, targets: Sequence[Target]) -> None:
        visits = self._within_total(await self._visit_all(fetcher, targets))
        written = self._shards.write(
            (visit.record for visit in visits if visit.record), self._num_shards
        )
        homes = iter([name for name, num_records in written for _ in range(num_records)])
        rows = [replace(v.row, shard=next(homes)) if v.record else v.row for v in visits]
        names = [name for name, _ in written]
        record = {
            "rows": [row.plain() for row in rows],
            "found": [[t.url, t.depth, t.hops] for v in visits for t in v.found],
            "shards": names,
        }
        self._context.workspace.commit(self._round_key(), record, names)
        self._account(record)

    async def _visit_all(self, fetcher: Fetcher, targets: Sequence[Target]) -> list[Visit]:
        return await asyncio.gather(*(self._visit(fetcher, target) for target in targets))

    async def _visit(self, fetcher: Fetcher, target: Target) -> Visit:
        if self._context.should_stop():
            raise RuntimeError(
                f"the crawl of {self._config.name!r} was stopped; run it again to go on with it"
            )
        visit = self._judge(target, await fetcher.fetch(target.url))
        self._num_answered += 1
        return visit

    def _judge(self, target: Target, answer: Answer) -> Visit:
        row = PageRow(
            url=target.url,
            depth=target.depth,
            reason=answer.reason,
            status=answer.status,
            content_type=answer.content_type or None,
            fetched_at=self._date if answer.status else None,
            location=answer.location,
        )
        if answer.location:
            return Visit(row, found=(Target(answer.location, target.depth, target.hops + 1),))
        if answer.reason:
            return Visit(row)
        page = page_links(
            target.url,
            decode(answer.body, answer.charset) if answer.content_type != "text/plain" else "",
            answer.header("X-Robots-Tag"),
            product_token(self._config.user_agent).lower(),
        )
        found = tuple(Target(link, target.depth + 1) for link in page.links)
        row = replace(row, reason=page.refusal, bytes=len(answer.body))
        if page.refusal:
            return Visit(row, found=found)
        record = page_record(target.url, self._snapshot, self._date, answer.headers, answer.body)
        return Visit(row, record, found)

    def _within_total(self, visits: Sequence[Visit]) -> list[Visit]:
        """Refuse the pages after the one that fills the crawl's measure of bytes."""
        kept, num_bytes = [], self._num_bytes
        for visit in visits:
            if visit.record and num_bytes >= self._config.max_total_bytes:
                visit = Visit(replace(visit.row, reason="max_total_bytes"))
            num_bytes += (visit.row.bytes or 0) if visit.record else 0
            kept.append(visit)
        return kept

    def _account(self, record: Mapping[str, Any]) -> None:
        """Take in a committed round, whether it was made now or before an interruption."""
        rows = [PageRow(**row) for row in record["rows"]]
        self._rows += rows
        self._frontier.offer(Target(*found) for found in record["found"])
        kept = [row for row in rows if row.reason is None]
        self._num_kept += len(kept)
        self._num_bytes += sum(row.bytes or 0 for row in kept)
        self._num_shards += len(record["shards"])
        self._num_rounds += 1

    async def _report_progress(self, fetcher: Fetcher) -> None:
        started = time.monotonic()
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            rate = self._num_answered / (time.monotonic() - started)
            num_refused = sum(row.reason is not None for row in self._rows)
            known = len(self._rows) + self._frontier.num_waiting
            self._context.log.info(
                "%d of ~%d pages, %.1f pages/s, %d hosts, %d refused",
                self._num_kept,
                min(known, self._config.max_pages),
                rate,
                fetcher.num_hosts,
                num_refused,
            )
