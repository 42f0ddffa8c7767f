"""Crawling sites: rounds of the frontier, each fetched at once and kept in order.

In: a web source and how to connect. Out: WARC files and the page table. A round is a batch of URLs
of one depth. Each answer goes into the round's journal as it comes; when all are there, pages are
written in the order in which the URLs were chosen, whatever the order of the answers, and the round
is committed together with the links it found. An interrupted crawl replays the committed rounds and
the journal, and asks for nothing again but what was under way at that moment.

A refresh begins with the URLs of an earlier crawl, asks for those that are due, and keeps what is
new or changed; what is not is recorded as a ``revisit``.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from tasks.common.manifest import ArtifactRef
from tasks.common.page_table import PAGE_TABLE_NAME
from tasks.common.stage import Outcome, StageContext
from tasks.common.store import Store
from tasks.crawl.answer import UNCHANGED
from tasks.crawl.config import LATEST, SourceConfig
from tasks.crawl.fetch import Fetcher
from tasks.crawl.frontier import Frontier, Offered, Target, url_key
from tasks.crawl.journal import Journal
from tasks.crawl.judge import Judge
from tasks.crawl.refresh import Earlier, Recrawl, conditions, is_withdrawn, row_after
from tasks.crawl.table import PageRow, Shards, finish
from tasks.crawl.traps import Budgets
from tasks.crawl.urls import Cleaner, Scope, normalise, origin_of

MAX_ROUND_URLS = 1000
MAX_ROUND_URLS_PER_HOST = 200  # so that a slow site is committed now and then
PROGRESS_SECONDS = 5.0
MAX_LOOKUPS = 32
STOP_SECONDS = 0.5  # how soon a crawl sees that it is told to stop
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
JOURNAL = ".journal"
SITEMAP = "sitemap of "  # before an origin: the key of what its sitemaps hold


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


def _earlier_crawl(context: StageContext, config: SourceConfig, now: str) -> Earlier | None:
    """The crawl that ``config`` asks to refresh, if it does.

    Raises:
        ValueError: it is not in the store.
    """
    if not config.refresh_of:
        return None
    if config.refresh_of == LATEST:
        raise ValueError(
            f"refresh_of of source {config.name!r} is {LATEST!r}, which a run resolves when it "
            "starts; here, name an artifact, crawl/…"
        )
    store = Store(context.machine.store)
    ref = ArtifactRef.parse(config.refresh_of)
    if not store.has(ref):
        raise ValueError(
            f"refresh_of of source {config.name!r} is {ref}, which is not in the store "
            f"{store.url}; `bloomery ls crawl` lists what is there"
        )
    return Earlier(store.open(ref).fetch(PAGE_TABLE_NAME), now)


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
        self._cleaner = Cleaner.of(config.strip_parameters)
        seeds = [self._cleaner.clean(seed) for seed in map(normalise, config.seeds) if seed]
        self._scope = Scope.around(seeds, config.include, config.exclude)
        self._judge = Judge(config, self._scope, self._cleaner, snapshot, self._date)
        budgets = Budgets(config.max_urls_per_host, config.max_urls_per_pattern)
        self._frontier = Frontier(self._scope, config.max_depth, budgets, config.max_known_urls)
        self._recrawl = Recrawl.of(config)
        self._earlier = _earlier_crawl(context, config, self._date)
        self._later: set[int] = set()  # URLs of the earlier crawl that are not due
        # Pages that are there, by the address that is their own; of copies the first is kept.
        self._owned: set[int] = set()
        self._origins: set[str] = set()  # whose sitemaps have been read
        self._sitemap_counts: Counter[str] = Counter()
        self._num_shards = self._num_pages = self._num_bytes = self._num_rounds = 0
        self._num_rows = self._num_answered = self._num_beyond = 0
        self._refused_at_start = self._begin(seeds)

    async def run(self) -> Outcome:
        self._replay()
        # names are looked up in threads; with the usual handful, slow ones would hold up all
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(MAX_LOOKUPS))
        async with Fetcher(self._config, self._connect_to) as fetcher:
            progress = asyncio.create_task(self._report_progress(fetcher))
            try:
                while targets := self._next_round():
                    await self._round(fetcher, targets)
            finally:
                progress.cancel()
        if not self._num_shards:  # a refresh in which nothing was due: an archive of nothing
            self._shards.write_one(0, [])
        metrics = {
            "sitemaps": dict(sorted(self._sitemap_counts.items())),
            "links_beyond_max_known_urls": self._num_beyond,
        }
        return finish(self._context.path, self._all_rows(), metrics)

    def _begin(self, seeds: Iterable[str]) -> list[tuple[Target, str]]:
        """Offer the seeds, and what is due of an earlier crawl; returns those refused."""
        refused = self._frontier.offer(Target(seed, depth=0) for seed in seeds).refused
        if self._earlier:
            refused += self._frontier.offer(self._earlier.targets()).refused
            for row in self._earlier.carried(self._frontier.knows):
                self._later.add(url_key(row.url))
                if row.digest:
                    self._owned.add(_owner(row))
                    self._num_pages += 1
        return refused

    def _replay(self) -> None:
        while record := self._context.workspace.committed(self._round_key(self._num_rounds)):
            self._next_round()
            self._offer(Target(*found) for found in record["found"])
            self._frontier.mark_known(url for url, _, _ in record["refused"])
            self._account(record)
        if self._num_rounds:
            self._context.log.info(
                "going on with an interrupted crawl: %d pages are there already", self._num_pages
            )

    @staticmethod
    def _round_key(number: int) -> str:
        return f"round-{number:05d}"

    def _next_round(self) -> list[Target]:
        config = self._config
        if self._num_bytes >= config.max_total_bytes:
            return []
        size = max(0, min(MAX_ROUND_URLS, config.max_pages - self._num_pages))
        return self._frontier.next_batch(size, MAX_ROUND_URLS_PER_HOST)

    async def _round(self, fetcher: Fetcher, targets: Sequence[Target]) -> None:
        """Ask for the pages of a round, and for the sitemaps of the sites that are new in it."""
        origins = self._new_origins(targets)
        path = self._context.path / f"{JOURNAL}-{self._round_key(self._num_rounds)}"
        with Journal(path) as journal:
            visits = [self._visit(fetcher, target, journal) for target in targets]
            harvests = [self._harvest(fetcher, origin, journal) for origin in origins]
            await self._all_unless_told(visits + harvests)
            self._commit(journal, targets, origins)
        path.unlink()

    async def _all_unless_told(self, work: Sequence[Coroutine[None, None, None]]) -> None:
        """Do all the work of a round; when told to stop, drop what is under way."""
        tasks = pending = {asyncio.create_task(each) for each in work}
        try:
            while pending:
                self._stop_if_told()
                done, pending = await asyncio.wait(
                    pending, timeout=STOP_SECONDS, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in done:
                    task.result()
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _new_origins(self, targets: Iterable[Target]) -> list[str]:
        if not self._config.follow_sitemaps or self._config.max_depth < 1:
            return []
        found = dict.fromkeys(origin_of(target.url) for target in targets)
        return [o for o in found if o not in self._origins and self._scope.may_enter(f"{o}/")]

    async def _visit(self, fetcher: Fetcher, target: Target, journal: Journal) -> None:
        if target.url in journal:
            return
        self._stop_if_told()
        before = self._before(target.url)
        answer = await fetcher.fetch(target.url, conditions(before))
        visit = self._judge.visit(target, answer, before)
        note = {"row": visit.row.plain(), "found": [[t.url, t.depth, t.hops] for t in visit.found]}
        journal.add(target.url, note, visit.record)
        self._num_answered += 1

    async def _harvest(self, fetcher: Fetcher, origin: str, journal: Journal) -> None:
        if SITEMAP + origin in journal:
            return
        self._stop_if_told()
        harvest = await fetcher.sitemaps(origin)
        counts = {"files": harvest.num_files, "urls": len(harvest.pages), **harvest.refused}
        journal.add(SITEMAP + origin, {"pages": harvest.pages, "counts": counts})

    def _stop_if_told(self) -> None:
        if self._context.should_stop():
            raise RuntimeError(
                f"the crawl of {self._config.name!r} was stopped; run it again to go on with it"
            )

    def _commit(self, journal: Journal, targets: Sequence[Target], origins: Sequence[str]) -> None:
        """Write a round's pages in order, offer what it found, and commit both."""
        settled: list[tuple[PageRow, bool]] = []
        offered = Offered()
        records = self._settle(journal, targets, settled, offered)
        written = self._shards.write(records, self._num_shards)
        homes = iter([name for name, num_records in written for _ in range(num_records)])
        rows = [replace(row, shard=next(homes)) if kept else row for row, kept in settled]
        counts = Counter[str]()
        for origin in origins:
            note = journal.note(SITEMAP + origin)
            counts.update(note["counts"])
            offered += self._offer(self._listed(origin, note["pages"]))
        names = [name for name, _ in written]
        record = {
            "rows": [row.plain() for row in rows],
            "found": [[t.url, t.depth, t.hops] for t in offered.accepted],
            "refused": [[t.url, t.depth, reason] for t, reason in offered.refused],
            "num_beyond": offered.num_beyond,
            "shards": names,
            "origins": list(origins),
            "sitemaps": dict(counts),
        }
        self._context.workspace.commit(self._round_key(self._num_rounds), record, names)
        self._account(record)

    def _settle(
        self,
        journal: Journal,
        targets: Sequence[Target],
        settled: list[tuple[PageRow, bool]],
        offered: Offered,
    ) -> Iterator[bytes]:
        """Yield the records of a round in order; fill in its rows and what its links brought."""
        num_bytes = self._num_bytes
        for target in targets:
            note, record = journal.note(target.url), journal.record(target.url)
            row = PageRow(**note["row"])
            if record and (refusal := self._one_too_many(row, num_bytes)):
                row, record = replace(row, reason=refusal, digest=None, stored_at=None), b""
            elif record:
                self._owned.add(_owner(row))
                num_bytes += _new_bytes(row)
            row = row_after(row, self._before(row.url), self._recrawl)
            if is_withdrawn(row):
                row = replace(row, withdrawn_at=self._date)
            settled.append((row, bool(record)))
            found = (Target(*found) for found in note["found"])
            offered += self._offer(t for t in found if url_key(t.url) not in self._later)
            if record:
                yield record

    def _one_too_many(self, row: PageRow, num_bytes: int) -> str | None:
        """Why a page is not kept that would have been, had it been the first."""
        if _owner(row) in self._owned:
            return "duplicate"
        is_full = row.reason is None and num_bytes >= self._config.max_total_bytes
        return "max_total_bytes" if is_full else None

    def _listed(self, origin: str, pages: Iterable[tuple[str, str]]) -> Iterator[Target]:
        """The pages that a sitemap lists, but for those that are to be asked for later."""
        for written, modified in pages:
            url = normalise(written, f"{origin}/")
            if url is None:
                continue
            url = self._cleaner.clean(url)
            if url_key(url) in self._later:
                before = self._before(url)
                if not (before and self._earlier and self._earlier.is_due(before, modified)):
                    continue
            yield Target(url, depth=1)

    def _offer(self, targets: Iterable[Target]) -> Offered:
        """Offer URLs; those that were left for later and are asked for all the same count anew."""
        offered = self._frontier.offer(targets)
        for target in offered.accepted if self._later else ():
            if url_key(target.url) in self._later:
                self._later.remove(url_key(target.url))
                before = self._before(target.url)
                if before and before.digest:
                    self._owned.discard(_owner(before))
                    self._num_pages -= 1
        return offered

    def _before(self, url: str) -> PageRow | None:
        return self._earlier.row(url) if self._earlier else None

    def _account(self, record: Mapping[str, Any]) -> None:
        """Take in a committed round, whether it was made now or before an interruption."""
        pages = [PageRow(**row) for row in record["rows"] if row["reason"] in (None, UNCHANGED)]
        self._owned.update(map(_owner, pages))
        self._num_pages += len(pages)
        self._num_bytes += sum(map(_new_bytes, pages))
        self._num_rows += len(record["rows"])
        self._num_beyond += record["num_beyond"]
        self._num_shards += len(record["shards"])
        self._origins.update(record["origins"])
        self._sitemap_counts.update(record["sitemaps"])
        self._num_rounds += 1

    def _all_rows(self) -> Iterator[PageRow]:
        """A row for each URL that was seen, the visited ones from the rounds' records."""
        yield from self._unvisited(self._refused_at_start)
        for number in range(self._num_rounds):
            record = self._context.workspace.committed(self._round_key(number))
            yield from (PageRow(**row) for row in record["rows"])
            refused = ((Target(url, depth), why) for url, depth, why in record["refused"])
            yield from self._unvisited(refused)
        limit = "max_pages" if self._num_pages >= self._config.max_pages else "max_total_bytes"
        yield from self._unvisited((target, limit) for target in self._frontier.rest())
        if self._earlier:
            yield from self._earlier.carried(self._frontier.knows)

    def _unvisited(self, refused: Iterable[tuple[Target, str]]) -> Iterator[PageRow]:
        for target, reason in refused:
            row = PageRow(url=target.url, depth=target.depth, reason=reason)
            yield row_after(row, self._before(target.url), self._recrawl)

    async def _report_progress(self, fetcher: Fetcher) -> None:
        started = time.monotonic()
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            self._context.log.info(
                "%d of ~%d pages, %.1f pages/s, %d hosts, %d answered otherwise",
                self._num_pages,
                min(self._num_rows + self._frontier.num_waiting, self._config.max_pages),
                self._num_answered / (time.monotonic() - started),
                fetcher.num_hosts,
                max(0, self._num_rows - self._num_pages),
            )


def _owner(row: PageRow) -> int:
    """The key of the address that is a page's own."""
    return url_key(row.canonical or row.url)


def _new_bytes(row: PageRow) -> int:
    return (row.bytes or 0) if row.reason is None else 0
