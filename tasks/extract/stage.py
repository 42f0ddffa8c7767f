"""The extract stage: archives in, shards of documents out, one shard an archive."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

from tasks.common.document import document_id
from tasks.common.funnel import Funnel
from tasks.common.shard import ShardWriter, part_name
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.extract.archive import ARCHIVE_SUFFIXES, read_archive
from tasks.extract.config import ExtractConfig
from tasks.extract.described import described, fetched_at
from tasks.extract.guard import Failure, Guard
from tasks.extract.page import Page
from tasks.extract.records import PAGE_TYPES, BadRecord, Record

PAGE_FUNCTION = "tasks.extract.page:extract_page"


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
        for record in read_archive(artifact.fetch(name)):
            if isinstance(record, BadRecord):
                row = _bad_row(record, name, config)
                shard.drop(row, record.reason, record.detail)
            elif record.type not in PAGE_TYPES:
                skipped[record.type] += 1
            else:
                page = _extract(guard, record, config)
                text_bytes += _write(shard, record, page, config)
    return {
        "funnel": shard.funnel.model_dump(),
        "skipped": skipped,
        "text_bytes": text_bytes,
    }


def _extract(guard: Guard, record: Record, config: ExtractConfig) -> Page:
    if len(record.payload) > config.max_page_bytes:
        return Page(reason="too_large", detail=f"{len(record.payload)} bytes")
    answer = guard.call(record)
    if isinstance(answer, Failure):
        return Page(reason=answer.reason, detail=answer.detail)
    assert isinstance(answer, Page)
    return answer


def _write(shard: ShardWriter, record: Record, page: Page, config: ExtractConfig) -> int:
    row = {
        "id": document_id(record.url, record.record_id),
        "url": record.url,
        "fetched_at": fetched_at(record),
        "text": page.text,
        "title": page.title,
        "author": page.author,
        "date": page.date,
        **_source_columns(config),
        **described(record),
    }
    if page.reason:
        shard.drop(row, page.reason, page.detail)
        return 0
    shard.keep(row)
    return len(page.text.encode())


def _bad_row(bad: BadRecord, name: str, config: ExtractConfig) -> dict[str, Any]:
    url = f"file:{name}"
    return {
        "id": document_id(url, str(bad.offset_bytes)),
        "url": url,
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
