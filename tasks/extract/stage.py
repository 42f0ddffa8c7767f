"""The extract stage: archives in, shards of documents out, one shard an archive."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.common.document import document_id
from tasks.common.funnel import Funnel
from tasks.common.shard import ShardWriter, part_name
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.extract.archive import ARCHIVE_SUFFIXES, read_archive
from tasks.extract.config import ExtractConfig
from tasks.extract.guard import Failure, Guard
from tasks.extract.page import Page
from tasks.extract.records import PAGE_TYPES, BadRecord, Record

PAGE_FUNCTION = "tasks.extract.page:extract_page"
BATCH_RECORDS = 32
BATCH_BYTES = 1_000_000  # what stays in a processor's cache is handed over at half the cost


def run(context: StageContext, config: ExtractConfig) -> Outcome:
    """Turn pages into documents. In: crawled archives. Out: their main text, with title and URL."""
    archives = [
        (artifact, name)
        for artifact in context.inputs["pages"]
        for name in artifact.names()
        if name.lower().endswith(ARCHIVE_SUFFIXES)
    ]
    if not archives:
        raise ValueError(
            f"the input of source {config.source!r} holds no archive; "
            f"expected files ending in {', '.join(ARCHIVE_SUFFIXES)}"
        )
    results = context.map(
        extract_archive,
        [(*archive, context.path, index, config) for index, archive in enumerate(archives)],
        names=lambda index: [part_name(index), f"dropped/{part_name(index)}"],
    )
    funnel = Funnel.total(Funnel(**result["funnel"]) for result in results)
    skipped = sum((Counter(result["skipped"]) for result in results), Counter[str]())
    _warn_of_damage(context.log, funnel)
    return Outcome(
        funnel=funnel,
        metrics={
            "skipped_records": dict(sorted(skipped.items())),
            "text_bytes": sum(result["text_bytes"] for result in results),
        },
    )


def extract_archive(
    artifact: Artifact, name: str, folder: Path, index: int, config: ExtractConfig
) -> dict[str, Any]:
    """Write one archive's shard; return its ledger and the kinds of records passed over."""
    skipped: Counter[str] = Counter()
    text_bytes = 0
    guard = Guard(
        PAGE_FUNCTION,
        config,
        timeout_seconds=config.page_timeout_seconds,
        max_memory_bytes=config.max_memory_bytes,
    )
    with ShardWriter(folder, index) as shard, guard:
        archive = read_archive(artifact.fetch(name), max_record_bytes=config.max_page_bytes)
        for batch in _batches(archive):
            for record, page in zip(batch, _extract(guard, batch), strict=True):
                if record.type not in PAGE_TYPES and not _is_damage(record):
                    skipped[record.type] += 1
                elif isinstance(record, BadRecord):
                    shard.drop(_bad_row(record, name, config), record.reason, record.detail)
                else:
                    assert page
                    text_bytes += _write(shard, record, page, config)
    return {
        "funnel": shard.funnel.model_dump(),
        "skipped": skipped,
        "text_bytes": text_bytes,
    }


def _batches(records: Iterable[Record | BadRecord]) -> Iterator[list[Record | BadRecord]]:
    """Records in order, so many at a time that handing them to the guard costs little."""
    batch: list[Record | BadRecord] = []
    num_bytes = 0
    for record in records:
        batch.append(record)
        num_bytes += len(record.payload) if isinstance(record, Record) else 0
        if len(batch) >= BATCH_RECORDS or num_bytes >= BATCH_BYTES:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch


def _is_damage(record: Record | BadRecord) -> bool:
    """Whether a record was lost; one that is whole but too large may be no page at all."""
    return isinstance(record, BadRecord) and record.reason != "too_large"


def _extract(guard: Guard, batch: Sequence[Record | BadRecord]) -> list[Page | None]:
    """What became of each record; None for those that are no pages."""
    pages: list[Page | None] = [None] * len(batch)
    parsed = [
        (at, record)
        for at, record in enumerate(batch)
        if isinstance(record, Record) and record.type in PAGE_TYPES
    ]
    answers = guard.call_all([record for _, record in parsed])
    for (at, _), answer in zip(parsed, answers, strict=True):
        if isinstance(answer, Failure):
            answer = Page(reason=answer.reason, detail=answer.detail)
        pages[at] = answer
    return pages


def _write(shard: ShardWriter, record: Record, page: Page, config: ExtractConfig) -> int:
    row = {
        "id": document_id(record.url, record.record_id),
        "url": record.url,
        "fetched_at": record.date,
        "text": page.text,
        "title": page.title,
        **_source_columns(config),
    }
    if page.reason:
        shard.drop(row, page.reason, page.detail)
        return 0
    shard.keep(row)
    return len(page.text.encode())


def _bad_row(bad: BadRecord, name: str, config: ExtractConfig) -> dict[str, Any]:
    url = (bad.about and bad.about.url) or f"file:{name}"
    return {
        "id": document_id(f"file:{name}", bad.place),  # a damaged head may repeat another's name
        "url": url,
        "fetched_at": bad.about and bad.about.date,
        "text": "",
        **_source_columns(config),
    }


def _source_columns(config: ExtractConfig) -> dict[str, Any]:
    return {
        "source": config.source,
        "kind": config.kind,
        "domain": config.domain,
        "licence": config.licence,
    }


def _warn_of_damage(log: logging.Logger, funnel: Funnel) -> None:
    num_bad = sum(funnel.dropped.get(r, 0) for r in ("damaged_record", "truncated_record"))
    if num_bad:
        log.warning("%d records are damaged or cut; see dropped/", num_bad)


STAGE = Stage(name="extract", version=2, config=ExtractConfig, inputs=("pages",), run=run)
