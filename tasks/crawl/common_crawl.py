"""Common Crawl as a source: whole archive files of a crawl, or single pages that its index finds.

In: a crawl id, and which and how much of it. Out: archive files as shards, and the page table.
Whole files come in untouched. Pages are found in the columnar URL index and read by byte range;
each keeps the gzip member that it has at Common Crawl. Everything is committed piece by piece (an
index file, an archive, a shard of pages), and a whole file that was cut is continued where it ends.

What comes out depends on the crawl and the choice, never on the mirror or the pace. A file or
record that is missing or damaged is set aside with its reason; a host that stays busy ends the run
instead, because a later run must not find a smaller result than the one it asked for.
"""

import gzip
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyarrow.parquet as pq

from tasks.common.fanout import map_pieces
from tasks.common.record_fields import NO_DATE
from tasks.common.stage import Outcome, StageContext
from tasks.crawl.config import COMMON_CRAWL_URL, INDEX_FILTERS, SourceConfig
from tasks.crawl.data_host import NotThereError
from tasks.crawl.files import ARCHIVE_SUFFIXES
from tasks.crawl.ranges import IndexedPage, Span, choose, look_into, page_groups, spans
from tasks.crawl.remote import Remote
from tasks.crawl.table import MAX_SHARD_BYTES, PageRow, Shards, finish, shard_name
from tasks.crawl.url_index import PAGES_SCHEMA, indexed_pages, lowest, read_part

SAMPLE_FIELDS = ("crawl_id", "crawl_part", "share", "sample_seed")
PAGES_FIELDS = (*INDEX_FILTERS, "mime_types", "statuses", "max_pages", "max_page_bytes")
# Dot-folders of the workspace, which live until the artifact is sealed.
DOWNLOAD_FOLDER = ".download"
INDEX_FOLDER = ".index"
MAX_SHARD_PAGES = 250  # read between two commits
# Between the answers of two pages of one site lie a request and a metadata record, some 2 kB.
MAX_GAP_BYTES = 32 * 1024
MAX_SPAN_BYTES = 8 * 1024 * 1024
PROGRESS_SECONDS = 5.0


def identity_fields(config: SourceConfig) -> tuple[str, ...]:
    """The fields that decide what comes out: not where it is read from, nor how fast."""
    if config.crawl_part == "pages":
        return (*SAMPLE_FIELDS, *PAGES_FIELDS)
    return (*SAMPLE_FIELDS, "num_files")


def take_common_crawl(context: StageContext, config: SourceConfig) -> Outcome:
    """Bring what a source wants of a crawl into ``context.path``."""
    remote = Remote(
        config.base_url,
        user_agent=config.user_agent,
        timeout_seconds=config.timeout_seconds,
        max_connections=config.max_connections_per_host,
        requests_per_second=config.requests_per_second,
        log=context.log,
    )
    with remote, _watched(context, remote):
        source = _CommonCrawl(context, config, remote)
        return source.take_pages() if config.crawl_part == "pages" else source.take_archives()


class _CommonCrawl:
    def __init__(self, context: StageContext, config: SourceConfig, remote: Remote) -> None:
        self._context = context
        self._config = config
        self._remote = remote

    def take_archives(self) -> Outcome:
        """Download the chosen archive files, whole."""
        config, folder = self._config, self._context.path
        paths = self._once("files", self._choose_archives)
        (folder / DOWNLOAD_FOLDER).mkdir(exist_ok=True)
        rows = self._map(
            "archive",
            lambda index: _download(self._remote, paths[index], folder),
            len(paths),
            lambda index, row: [] if row["reason"] else [_base_name(paths[index])],
        )
        self._context.log.info("%s: %d archive files", config.crawl_id, len(paths))
        return finish(folder, [PageRow(**row) for row in rows])

    def take_pages(self) -> Outcome:
        """Find pages in the index, then read each by its byte range."""
        config, folder = self._config, self._context.path
        paths = self._once("index-files", self._choose_index_files)
        (folder / INDEX_FOLDER).mkdir(exist_ok=True)
        parts = self._map(
            "index file",
            lambda index: _search(self._remote, paths[index], folder / _part_name(index), config),
            len(paths),
            lambda index, _: [_part_name(index)],
        )
        pages = self._chosen_pages(len(paths))
        num_found = sum(part["matches"] for part in parts)
        if not pages:
            raise ValueError(
                f"none of the pages of {config.crawl_id} that were looked at passes the filters of "
                f"source {config.name!r}; loosen them, or read a greater share"
            )
        self._context.log.info("%d pages pass, %d are taken", num_found, len(pages))
        groups = list(page_groups(pages, MAX_SHARD_PAGES, MAX_SHARD_BYTES))
        rows = self._map(
            "shard",
            lambda index: _read_pages(self._remote, groups[index], index, folder, config),
            len(groups),
            lambda index, _: [shard_name(index)],
        )
        outcome = finish(folder, [PageRow(**row) for group in rows for row in group])
        metrics = {
            "index_matches": num_found,
            "index_row_groups": sum(part["row_groups"] for part in parts),
            "index_row_groups_read": sum(part["read"] for part in parts),
        }
        return replace(outcome, metrics={**outcome.metrics, **metrics})

    def _choose_archives(self) -> list[str]:
        config = self._config
        paths = self._listing(f"{config.crawl_part}.paths.gz")
        if wrong := [path for path in paths if not path.endswith(ARCHIVE_SUFFIXES)]:
            raise ValueError(f"{config.base_url} lists {wrong[0]!r}, which is no archive file")
        num_files = config.num_files or max(1, round(len(paths) * (config.share or 0)))
        if num_files > len(paths):
            raise ValueError(f"{config.crawl_id} has {len(paths)} {config.crawl_part} files only")
        return choose(paths, num_files, config.sample_seed)

    def _choose_index_files(self) -> list[str]:
        subsets = ["/subset=warc/"]
        if set(self._config.statuses) != {200}:
            subsets.append("/subset=crawldiagnostics/")  # redirects, 404s and other failures
        paths = self._listing("cc-index-table.paths.gz")
        return [path for path in paths if any(subset in path for subset in subsets)]

    def _chosen_pages(self, num_parts: int) -> list[IndexedPage]:
        """Of all that the index gave the lowest ranks, ordered by where they are."""
        chosen = PAGES_SCHEMA.empty_table()
        for index in range(num_parts):
            part = pq.read_table(self._context.path / _part_name(index), schema=PAGES_SCHEMA)
            chosen = lowest([chosen, part], self._config.max_pages)
        return indexed_pages(
            chosen.sort_by([("archive", "ascending"), ("offset_bytes", "ascending")])
        )

    def _listing(self, name: str) -> list[str]:
        """The paths that a crawl lists in one of its ``….paths.gz`` files."""
        path = f"crawl-data/{self._config.crawl_id}/{name}"
        try:
            packed = self._remote.read(path)
        except NotThereError:
            raise ValueError(
                f"{self._remote.base_url}{path} is not there: look for the crawl id at "
                "https://index.commoncrawl.org, and whether that crawl has this part"
            ) from None
        try:
            return gzip.decompress(packed).decode().split()
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{self._remote.base_url}{path} is no list of paths: {error}"
            ) from None

    def _once(self, key: str, make: Callable[[], list[str]]) -> list[str]:
        """What ``make`` gave when the source was first begun."""
        if self._context.workspace.committed(key) is None:
            self._context.workspace.commit(key, make(), [])
        return list(self._context.workspace.committed(key))

    def _map(
        self,
        unit: str,
        work: Callable[[int], Any],
        num_pieces: int,
        names: Callable[[int, Any], list[str]],
    ) -> list[Any]:
        """As ``context.map``, but in threads: the host must see one client, not one a process."""
        workspace = self._context.workspace
        key = unit.replace(" ", "-")
        with ThreadPoolExecutor(self._config.max_connections_per_host) as executor:
            try:
                map_pieces(
                    executor,
                    work,
                    [(index,) for index in range(num_pieces)],
                    is_done=lambda i: workspace.committed(f"{key}-{i:05d}") is not None,
                    on_done=lambda i, result: workspace.commit(
                        f"{key}-{i:05d}", result, names(i, result)
                    ),
                    log=self._context.log,
                    unit=unit,
                )
            except BaseException:
                self._remote.stop()  # or leaving would wait for whole archives
                raise
        return [workspace.committed(f"{key}-{index:05d}") for index in range(num_pieces)]


def _download(remote: Remote, path: str, folder: Path) -> dict[str, Any]:
    """Bring one archive file in; return its row."""
    name = _base_name(path)
    row = PageRow(url=COMMON_CRAWL_URL + path)
    partial = folder / DOWNLOAD_FOLDER / name
    try:
        remote.download(path, partial)
    except NotThereError as error:
        partial.unlink(missing_ok=True)
        return replace(row, reason=error.reason).plain()
    partial.replace(folder / name)
    return replace(row, bytes=(folder / name).stat().st_size, shard=name).plain()


def _search(remote: Remote, path: str, target: Path, config: SourceConfig) -> dict[str, int]:
    """Write the matching lines of one index file; return how many there are and what it took."""
    try:
        part = read_part(remote.open(path), path, config)
    except NotThereError as error:
        raise ValueError(
            f"{remote.base_url}{path} of the URL index is not there ({error.reason}); "
            "use another base_url"
        ) from None
    pq.write_table(part.pages, target, compression="zstd")
    return {
        "matches": part.num_matches,
        "row_groups": part.num_row_groups,
        "read": part.num_read,
    }


def _read_pages(
    remote: Remote,
    pages: Sequence[IndexedPage],
    index: int,
    folder: Path,
    config: SourceConfig,
) -> list[dict[str, Any]]:
    """Write the records of ``pages``, as they are, into one shard; return a row for each page."""
    rows: list[PageRow] = []
    members: list[bytes] = []
    for span in spans(pages, MAX_GAP_BYTES, MAX_SPAN_BYTES):
        for page, member, reason in _read_span(remote, span):
            row, member = _judged(page, member, reason, config.max_page_bytes)
            rows.append(row)
            members.append(member)
    shards = Shards(folder, config.name, config.crawl_id, NO_DATE)
    name = shards.write_one(index, members)
    offset = (folder / name).stat().st_size - sum(map(len, members))  # an opening record is first
    placed = []
    for row, member in zip(rows, members, strict=True):
        placed.append(replace(row, shard=name, offset_bytes=offset) if member else row)
        offset += len(member)
    return [row.plain() for row in placed]


def _read_span(remote: Remote, span: Span) -> Iterator[tuple[IndexedPage, bytes, str | None]]:
    """The member of each page of a span, or why there is none."""
    try:
        found = remote.read(span.pages[0].archive, span.start_bytes, span.stop_bytes)
    except NotThereError as error:
        if len(span.pages) == 1:
            yield span.pages[0], b"", error.reason
        else:  # some of it may be there
            for page in span.pages:
                yield from _read_span(remote, Span((page,)))
        return
    for page in span.pages:
        start = page.offset_bytes - span.start_bytes
        yield page, found[start : start + page.length_bytes], None


def _judged(
    page: IndexedPage, member: bytes, reason: str | None, max_page_bytes: int
) -> tuple[PageRow, bytes]:
    """The row of a page, and its member if it is kept."""
    num_bytes = None
    if reason is None:
        reason, num_bytes = look_into(member, max_page_bytes)
    row = PageRow(
        url=page.url,
        reason=reason,
        status=page.status,
        content_type=page.content_type,
        bytes=num_bytes,
        fetched_at=page.fetched_at,
        language=page.languages,
    )
    return row, b"" if reason else member


def _base_name(path: str) -> str:
    return path.rpartition("/")[2]


def _part_name(index: int) -> str:
    return f"{INDEX_FOLDER}/part-{index:05d}.parquet"


@contextmanager
def _watched(context: StageContext, remote: Remote) -> Iterator[None]:
    """Tell the rate while something arrives, and end the reading when the stage is to stop."""
    ended = Event()

    def watch() -> None:
        before, since = 0, time.monotonic()
        while not ended.wait(PROGRESS_SECONDS):
            if context.should_stop():
                remote.stop()
            now, num_bytes = time.monotonic(), remote.num_bytes
            megabytes_per_second = (num_bytes - before) / (now - since) / 1e6
            context.log.info(
                "%.1f MB in %d requests, %.2f MB/s",
                num_bytes / 1e6,
                remote.num_requests,
                megabytes_per_second,
            )
            before, since = num_bytes, now

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
