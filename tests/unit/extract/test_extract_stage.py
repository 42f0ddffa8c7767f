"""The stage: every record is counted, in the same bytes whatever the workers."""

import pyarrow.parquet as pq
import pytest

from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.extract.config import ExtractConfig
from tasks.extract.stage import STAGE
from tests.unit.extract.archive_fixtures import given_archives, http, pack, page_record, record

CONFIG = ExtractConfig(source="site", domain="archives", licence="CC0-1.0")


def damaged() -> bytes:
    members = [pack([page_record(number)]) for number in range(20)]
    bad = bytearray(members[10])
    bad[len(bad) // 2] ^= 1
    members[10] = bytes(bad)
    return b"".join(members)


def test_every_record_is_kept_or_dropped_with_a_reason(machine: Machine, store: Store):
    others = [
        record(b"software: test", kind="warcinfo", content_type="application/warc-fields"),
        record(b"GET / HTTP/1.1\r\n\r\n", kind="request"),
        record(http(b"x", status=500), url="https://a.example/500"),
    ]
    pages = given_archives(machine, {"a.warc.gz": damaged(), "b.warc.gz": pack(others)})
    manifest, _ = materialise(STAGE, CONFIG, {"pages": [pages]}, machine)
    assert manifest.funnel.num_kept == 19
    assert manifest.funnel.dropped == {"damaged_record": 1, "http_status": 1}
    assert manifest.metrics["skipped_records"] == {"request": 1, "warcinfo": 1}
    artifact = store.open(manifest.ref)
    first = pq.read_table(artifact.fetch("part-00000.parquet")).to_pylist()[0]
    assert first["title"] == "Page 0"
    assert (first["source"], first["kind"], first["domain"]) == ("site", "prose", "archives")
    assert first["fetched_at"] == "2026-01-02T03:04:05Z"
    lost = pq.read_table(artifact.fetch("dropped/part-00000.parquet")).to_pylist()
    assert [row["reason"] for row in lost] == ["damaged_record"]


def test_what_is_too_large_or_no_page_is_counted_and_said(machine: Machine, store: Store):
    config = CONFIG.model_copy(update={"max_page_bytes": 10_000})
    large = http(b"x" * 20_000)
    members = [
        record(large, url="https://a.example/large"),
        record(large, kind="metadata", url="https://a.example/large"),
        page_record(1),
    ]
    pages = given_archives(
        machine, {"a.warc.gz": pack(members), "b.warc.wat.gz": pack(members[1:2])}
    )
    manifest, _ = materialise(STAGE, config, {"pages": [pages]}, machine)
    assert manifest.funnel.num_kept == 1
    assert manifest.funnel.dropped == {"too_large": 1}
    assert manifest.metrics["skipped_records"] == {"metadata": 2}
    lost = pq.read_table(store.open(manifest.ref).fetch("dropped/part-00000.parquet")).to_pylist()
    assert [(row["url"], row["reason"], row["fetched_at"]) for row in lost] == [
        ("https://a.example/large", "too_large", "2026-01-02T03:04:05Z")
    ]


def test_documents_carry_what_their_pages_reserve(machine: Machine, store: Store):
    text = "Some words that are worth reading, and some more of them, to be long enough. " * 3
    meta = "<meta name='tdm-reservation' content='1'><meta name='ROBOTS' content='noindex'>"
    pages = {
        "header": http(f"<p>{text}".encode(), extra="X-Robots-Tag: noai, nosnippet\r\n"),
        "meta": http(f"<head>{meta}</head><p>{text}".encode()),
        "plain": http(text.encode(), "text/plain", extra="Content-Usage: train-ai=n\r\n"),
        "none": http(f"<p>{text}".encode()),
    }
    members = [record(page, url=f"https://a.example/{name}") for name, page in pages.items()]
    made = given_archives(machine, {"a.warc.gz": pack(members)})
    manifest, _ = materialise(STAGE, CONFIG, {"pages": [made]}, machine)
    rows = pq.read_table(store.open(manifest.ref).fetch("part-00000.parquet")).to_pylist()
    assert {row["url"].rpartition("/")[2]: row["opt_outs"] for row in rows} == {
        "header": ["noai"],
        "meta": ["noindex", "tdm-reservation"],
        "plain": ["train-ai=n"],
        "none": None,
    }


def test_a_source_without_archives_is_refused(machine: Machine):
    pages = given_archives(machine, {"notes.txt": b"no archive"})
    with pytest.raises(ValueError, match="holds no archive"):
        materialise(STAGE, CONFIG, {"pages": [pages]}, machine)


def test_the_same_bytes_whatever_the_number_of_workers(tmp_path):
    digests = []
    for num_workers in (1, 2):
        machine = Machine(store=str(tmp_path / str(num_workers)), num_workers=num_workers)
        pages = given_archives(
            machine, {"a.warc.gz": damaged(), "b.warc.gz": pack([page_record(99)])}
        )
        manifest, _ = materialise(STAGE, CONFIG, {"pages": [pages]}, machine)
        digests.append({entry.name: entry.sha256 for entry in manifest.files})
    assert digests[0] == digests[1]
