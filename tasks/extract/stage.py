"""The extract stage: archives in, shards of documents out, one shard an archive."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tasks.common.document import document_id
from tasks.common.funnel import Funnel
from tasks.common.shard import ShardWriter, part_name, read_tables, set_column
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.extract.archive import ARCHIVE_SUFFIXES, read_archive
from tasks.extract.config import ExtractConfig
from tasks.extract.described import described, fetched_at
from tasks.extract.guard import Failure, Guard
from tasks.extract.metadata import Metadata
from tasks.extract.page import Page
from tasks.extract.records import PAGE_TYPES, BadRecord, Record
from tasks.extract.site import host_key, page_keys, repeated_keys, without_repeats

FIRST_PASS = ".first-pass"  # shards before what their sites repeat is known
NO_KEYS = np.empty((2, 0), np.uint64)
METADATA_COLUMNS = [field.name for field in fields(Metadata)]
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
    folder = context.path / FIRST_PASS if config.learns_sites else context.path
    folder.mkdir(exist_ok=True)
    results = context.map(
        extract_archive,
        [(*archive, folder, index, config) for index, archive in enumerate(archives)],
        key="archive",
        names=lambda index: _names(folder.relative_to(context.path), index, config.learns_sites),
    )
    skipped = sum((Counter(result["skipped"]) for result in results), Counter[str]())
    metrics: dict[str, Any] = {"skipped_records": dict(sorted(skipped.items()))}
    if config.learns_sites:
        repeated = _site_paragraphs(folder, len(archives), config)
        results = context.map(
            drop_repeats,
            [(folder, context.path, index, repeated, config) for index in range(len(archives))],
            names=lambda index: _names(Path(), index, False),
        )
        metrics["site_paragraphs"] = sum(result["num_removed"] for result in results)
    funnel = Funnel.total(Funnel(**result["funnel"]) for result in results)
    _warn_of_damage(context.log, funnel)
    metrics["text_bytes"] = sum(result["text_bytes"] for result in results)
    return Outcome(funnel=funnel, metrics=metrics)


def _names(folder: Path, index: int, with_keys: bool) -> list[str]:
    names = [part_name(index), f"dropped/{part_name(index)}"]
    return [str(folder / name) for name in names + [keys_name(index)] * with_keys]


def keys_name(index: int) -> str:
    """The file with the keys of the paragraphs of shard ``index``."""
    return f"keys-{index:05d}.npy"


def extract_archive(
    artifact: Artifact, name: str, folder: Path, index: int, config: ExtractConfig
) -> dict[str, Any]:
    """Write one archive's shard and the keys of its paragraphs; return its ledger."""
    skipped: Counter[str] = Counter()
    text_bytes = 0
    keys: list[np.ndarray] = []
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
                    if not page.reason:
                        keys.append(_site_keys(record.url, page.text))
    if config.learns_sites:
        np.save(folder / keys_name(index), np.concatenate([NO_KEYS, *keys], axis=1))
    return {
        "funnel": shard.funnel.model_dump(),
        "skipped": skipped,
        "text_bytes": text_bytes,
    }


def _site_paragraphs(folder: Path, num_shards: int, config: ExtractConfig) -> np.ndarray:
    """Keys of the paragraphs that the sites of all shards repeat."""
    both = [np.load(folder / keys_name(index)) for index in range(num_shards)]
    keys, hosts = np.concatenate(both, axis=1)
    return repeated_keys(
        keys, hosts, min_repeats=config.min_repeats, min_share=config.min_repeat_share
    )


def drop_repeats(
    first_pass: Path, folder: Path, index: int, repeated: np.ndarray, config: ExtractConfig
) -> dict[str, Any]:
    """Write a shard again without the paragraphs that its sites repeat."""
    num_removed = text_bytes = 0
    with ShardWriter(folder, index) as shard:
        for table in read_tables(first_pass / "dropped" / part_name(index)):
            shard.pass_on_dropped(table)
        for table in read_tables(first_pass / part_name(index)):
            texts = []
            for url, text in zip(table["url"].to_pylist(), table["text"].to_pylist(), strict=True):
                own, num = without_repeats(_host(url), text, repeated)
                texts.append(own)
                num_removed += num
                text_bytes += len(own.encode())
            shard.split(set_column(table, "text", texts), [None] * len(texts))
    return {
        "funnel": shard.funnel.model_dump(),
        "num_removed": num_removed,
        "text_bytes": text_bytes,
    }


def _host(url: str) -> str:
    return urlsplit(url).netloc.lower()


def _site_keys(url: str, text: str) -> np.ndarray:
    """Keys of a page's paragraphs, a 0 for the page itself, above the key of its host."""
    host = _host(url)
    keys = np.concatenate([np.zeros(1, np.uint64), page_keys(host, text)])
    return np.stack([keys, np.full(len(keys), host_key(host), np.uint64)])


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
        "fetched_at": fetched_at(record),
        "text": page.text,
        **(page.language.columns() if page.language else {}),
        "metadata": _metadata(record, page),
        "opt_outs": list(page.opt_outs) or None,
        **{name: getattr(page.metadata, name) for name in METADATA_COLUMNS},
        **_source_columns(config),
        **described(record),
    }
    if page.reason:
        shard.drop(row, page.reason, page.detail)
        return 0
    shard.keep(row)
    return len(page.text.encode())


def _metadata(record: Record, page: Page) -> str:
    """The record's own headers as JSON, and what is missing of the page, if anything."""
    flaw = {"flaw": page.flaw} if page.flaw else {}
    return json.dumps({**record.headers.to_dict(), **flaw}, ensure_ascii=False)


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


STAGE = Stage(name="extract", version=3, config=ExtractConfig, inputs=("pages",), run=run)
