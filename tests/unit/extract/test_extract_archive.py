"""One bad byte costs one record, and every loss is counted."""

import gzip
import io
from pathlib import Path

import pytest
import zstandard
from fastwarc.stream_io import Lz4Writer
from fastwarc.warc import ArchiveIterator

from tasks.extract.archive import read_archive
from tasks.extract.records import BadRecord, Record
from tests.unit.extract.archive_fixtures import pack, page_record, record

RECORDS = [page_record(number) for number in range(20)]
URLS = [f"https://a.example/{number}" for number in range(20)]


def read(path: Path, data: bytes) -> tuple[list[str], list[str]]:
    """The URLs of the records read, and the reasons of those that were not."""
    path.write_bytes(data)
    found = list(read_archive(path))
    return (
        [one.url for one in found if isinstance(one, Record)],
        [one.reason for one in found if isinstance(one, BadRecord)],
    )


def lz4(data: bytes) -> bytes:
    packed = io.BytesIO()
    with Lz4Writer(packed) as writer:
        writer.write(data)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("members.warc.gz", pack(RECORDS)),
        ("whole.warc.gz", gzip.compress(b"".join(RECORDS))),
        ("plain.warc", b"".join(RECORDS)),
        ("a.warc.zst", b"".join(map(zstandard.ZstdCompressor().compress, RECORDS))),
        ("a.warc.lz4", lz4(b"".join(RECORDS))),
    ],
)
def test_every_packing_reads_the_same(tmp_path: Path, name: str, packed: bytes):
    assert read(tmp_path / name, packed) == (URLS, [])


def test_we_read_what_fastwarc_reads(tmp_path: Path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(pack(RECORDS))
    theirs = [one.reader.read() for one in ArchiveIterator(path.open("rb"), parse_http=False)]
    ours = [one.payload for one in read_archive(path) if isinstance(one, Record)]
    assert ours == theirs


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.97])
def test_a_flipped_bit_costs_one_record(tmp_path: Path, share: float):
    members = [pack([one]) for one in RECORDS]
    bad = bytearray(members[10])
    bad[int(share * len(bad))] ^= 0x10
    members[10] = bytes(bad)
    urls, reasons = read(tmp_path / "a.warc.gz", b"".join(members))
    assert urls == URLS[:10] + URLS[11:]
    assert reasons == ["damaged_record"]


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_cut_file_yields_no_half_record(tmp_path: Path, cut: int):
    urls, reasons = read(tmp_path / "a.warc.gz", pack(RECORDS)[:-cut])
    assert (urls, reasons) == (URLS[:-1], ["truncated_record"])
    urls, reasons = read(tmp_path / "a.warc", b"".join(RECORDS)[: -cut - 4])
    assert (urls, reasons) == (URLS[:-1], ["truncated_record"])


@pytest.mark.parametrize("lie", [-40, -1, 5, 500, 10**9])
@pytest.mark.parametrize("name", ["members.warc.gz", "whole.warc.gz", "plain.warc"])
def test_a_lying_length_costs_one_record(tmp_path: Path, lie: int, name: str):
    honest = page_record(10)
    length = int(honest.split(b"Content-Length: ")[1].split(b"\r\n")[0])
    records = [*RECORDS[:10], page_record(10, length=length + lie), *RECORDS[11:]]
    packed = {
        "members.warc.gz": pack(records),
        "whole.warc.gz": gzip.compress(b"".join(records)),
        "plain.warc": b"".join(records),
    }[name]
    urls, reasons = read(tmp_path / name, packed)
    assert urls == URLS[:10] + URLS[11:]
    assert reasons == ["damaged_record"]


def test_noise_between_members_is_skipped_and_counted(tmp_path: Path):
    data = pack(RECORDS[:2]) + b"\x1f\x8b\x08noise" * 3 + pack(RECORDS[2:4])
    assert read(tmp_path / "a.warc.gz", data) == (URLS[:4], ["damaged_record"])


def test_arc_files_are_read(tmp_path: Path):
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>x</p>"
    head = b"1 0 X\nURL IP-address Archive-date Content-type Archive-length\n"
    arc = b"filedesc://a.arc 0.0.0.0 20080430204825 text/plain %d\n%s\n" % (len(head), head)
    arc += b"http://a.example/ 10.0.0.1 20080430204826 text/html %d\n%s\n" % (len(page), page)
    (tmp_path / "a.arc").write_bytes(arc)
    found = list(read_archive(tmp_path / "a.arc"))
    assert [(one.type, one.date) for one in found if isinstance(one, Record)] == [
        ("warcinfo", "2008-04-30T20:48:25Z"),
        ("response", "2008-04-30T20:48:26Z"),
    ]


def test_an_empty_file_and_an_empty_record_are_no_trouble(tmp_path: Path):
    assert read(tmp_path / "a.warc.gz", b"") == ([], [])
    assert read(tmp_path / "b.warc.gz", pack([record(b"")])) == (["https://a.example/"], [])
