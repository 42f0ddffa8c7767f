"""One bad byte costs one record, and every loss is counted."""

import gzip
import io
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

import lz4.frame
import pytest
import zstandard
from fastwarc.stream_io import Lz4Writer
from fastwarc.warc import ArchiveIterator
from warcio.archiveiterator import ArchiveIterator as WarcioIterator

from tasks.extract.archive import read_archive
from tasks.extract.records import BadRecord, Record, parse_headers
from tests.benchmarks.fuzz import Archives, fuzz
from tests.unit.extract.archive_fixtures import PROSE, http, pack, page_record, record

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


def lz4_frame(data: bytes) -> bytes:
    packed = io.BytesIO()
    with Lz4Writer(packed) as writer:
        writer.write(data)
    return packed.getvalue()


def in_pieces(pack_one: Callable[[bytes], bytes], data: bytes) -> bytes:
    """Members that end where they happen to end, as bgzip and pzstd write them."""
    return b"".join(pack_one(data[i : i + 333]) for i in range(0, len(data), 333))


def zstd_with_dictionary(records: list[bytes], *, is_packed: bool) -> bytes:
    """As the WARC community's zstd proposal has it: the dictionary first, in a skippable frame."""
    dictionary = zstandard.train_dictionary(2000, records * 20)
    raw = dictionary.as_bytes()
    raw = zstandard.compress(raw) if is_packed else raw
    packer = zstandard.ZstdCompressor(dict_data=dictionary)
    head = b"\x5d\x2a\x4d\x18" + len(raw).to_bytes(4, "little") + raw
    return head + b"".join(packer.compress(one) for one in records)


WHOLE = b"".join(RECORDS)
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
PACKINGS = {
    "members.warc.gz": pack(RECORDS),
    "whole.warc.gz": gzip.compress(WHOLE),
    "pieces.warc.gz": in_pieces(gzip.compress, WHOLE),
    "padded.warc.gz": b"\0\0".join(map(gzip.compress, RECORDS)) + b"\0" * 100,
    "two-files.warc.gz": gzip.compress(b"".join(RECORDS[:9])) + pack(RECORDS[9:]),
    "plain.warc": WHOLE,
    "frames.warc.zst": b"".join(map(zstandard.compress, RECORDS)),
    "whole.warc.zst": zstandard.compress(WHOLE),
    "pieces.warc.zst": in_pieces(lambda one: SKIPPABLE + zstandard.compress(one), WHOLE),
    "dictionary.warc.zst": zstd_with_dictionary(RECORDS, is_packed=False),
    "packed-dictionary.warc.zst": zstd_with_dictionary(RECORDS, is_packed=True),
    "frames.warc.lz4": b"".join(map(lz4_frame, RECORDS)),
    "whole.warc.lz4": lz4_frame(WHOLE),
    "pieces.warc.lz4": in_pieces(lambda one: SKIPPABLE + lz4_frame(one), WHOLE),
    "unpacked-on-the-way.warc.gz": WHOLE,
    "packed-unsaid.warc": pack(RECORDS),
}


@pytest.mark.parametrize("name", PACKINGS)
def test_every_packing_reads_the_same(tmp_path: Path, name: str):
    assert read(tmp_path / name, PACKINGS[name]) == (URLS, [])


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


def test_what_precedes_a_break_in_a_member_of_many_records_is_read(tmp_path: Path):
    packed = bytearray(gzip.compress(WHOLE, 1))
    at = len(packed) * 2 // 3
    num_whole = (
        zlib.decompressobj(31).decompress(bytes(packed[:at])).count(b"</html>\r\n\r\nWARC/1.0")
    )
    packed[at : at + 8] = b"\xff" * 8
    urls, reasons = read(tmp_path / "a.warc.gz", bytes(packed))
    assert urls[:num_whole] == URLS[:num_whole]
    assert num_whole >= 5
    assert reasons[-1] == "damaged_record"
    urls, reasons = read(tmp_path / "a.warc.gz", bytes(packed[:at]))
    assert (urls, reasons) == (URLS[:num_whole], ["truncated_record"])


def _renamed(old: bytes, new: bytes) -> bytes:
    changed = page_record(10).replace(old, new, 1)
    assert changed != page_record(10)
    return changed


@pytest.mark.parametrize("name", ["members.warc.gz", "whole.warc.gz", "plain.warc"])
@pytest.mark.parametrize(
    "odd",
    [
        _renamed(b"WARC/1.0", b"warc/1.0"),
        _renamed(b"WARC/1.0", b"WARC/0.17"),
        _renamed(b"WARC/1.0", b"WARC/2"),
        _renamed(b"WARC/1.0\r\n", b"WARC/1.1 \r\n"),
        _renamed(b"Content-Length: ", b"CONTENT-length:\t"),
        _renamed(b"WARC-Type: response", b"WARC-Type:\r\n response"),
        _renamed(b"WARC-Type", b"X-Note: \xff\xe9\xe2\x80\xa8\x0b\x85\r\nWARC-Type"),
        _renamed(b"WARC-Type", b"no colon\r\nWARC-Type"),
        _renamed(b"https://a.example/10", b"<https://a.example/10>"),
        page_record(10).replace(b"\r\n", b"\n", 8),  # the head's line ends
        page_record(10)[:-4],  # no blank lines after it
        page_record(10) + b"\r\n\n\n" * 60,
    ],
)
def test_odd_records_are_read_and_cost_no_neighbour(tmp_path: Path, name: str, odd: bytes):
    records = [*RECORDS[:10], odd, *RECORDS[11:]]
    data = {"members.warc.gz": pack(records), "plain.warc": b"".join(records)}
    data["whole.warc.gz"] = gzip.compress(data["plain.warc"])
    assert read(tmp_path / name, data[name]) == (URLS, [])


@pytest.mark.parametrize("name", ["members.warc.gz", "whole.warc.gz", "plain.warc"])
@pytest.mark.parametrize(
    "broken",
    [
        _renamed(b"WARC/1.0\r\n", b""),
        _renamed(b"WARC/1.0", b"WARX/1.0"),
        _renamed(b"Content-Length", b"Content-Len"),
        _renamed(b"Content-Length: ", b"Content-Length: -"),
        _renamed(b"Content-Length: ", b"Content-Length: 99999999999999999999"),
        page_record(10)[:100],  # cut in its head
        page_record(10)[:400],  # and in its body
        b"noise\n" * 50,
        bytes(500),
    ],
)
def test_a_broken_record_costs_itself(tmp_path: Path, name: str, broken: bytes):
    records = [*RECORDS[:10], broken, *RECORDS[11:]]
    data = {"members.warc.gz": pack(records), "plain.warc": b"".join(records)}
    data["whole.warc.gz"] = gzip.compress(data["plain.warc"])
    assert read(tmp_path / name, data[name]) == (URLS[:10] + URLS[11:], ["damaged_record"])


def test_very_many_heads_without_an_end_take_no_long_time(tmp_path: Path):
    urls, reasons = read(tmp_path / "a.warc", b"WARC/1.0\n" * 100_000 + RECORDS[0])
    assert (urls, len(reasons)) == (URLS[:1], 100_000)


@pytest.mark.parametrize("at", [0, 4, 8, 12, 30, 500])
@pytest.mark.parametrize("is_packed", [False, True])
def test_a_damaged_dictionary_costs_its_records_and_no_more(
    tmp_path: Path, at: int, is_packed: bool
):
    data = bytearray(zstd_with_dictionary(RECORDS, is_packed=is_packed))
    data[at] ^= 0xFF
    urls, reasons = read(tmp_path / "a.warc.zst", bytes(data) + zstandard.compress(page_record(99)))
    assert urls[-1:] == ["https://a.example/99"]
    assert reasons or urls[:-1] == URLS
    read(tmp_path / "a.warc.zst", bytes(data[:at]))


def test_a_cut_head_does_not_take_the_next_records_payload_for_its_own(tmp_path: Path):
    head = page_record(10).split(b"Content-Type")[0]
    path = tmp_path / "a.warc"
    path.write_bytes(RECORDS[9] + head + RECORDS[11])
    payloads = {one.url: one.payload for one in read_archive(path) if isinstance(one, Record)}
    assert payloads.keys() == {URLS[9], URLS[11]}
    assert b"Number 11." in payloads[URLS[11]]


def test_losses_say_what_is_known_of_them_and_have_names_of_their_own(tmp_path: Path):
    lie = page_record(3, length=7)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzip.compress(RECORDS[0] + lie + RECORDS[1] + lie + RECORDS[2]))
    losses = [one for one in read_archive(path) if isinstance(one, BadRecord)]
    assert [one.about.url for one in losses] == [URLS[3]] * 2
    assert [one.type for one in losses] == ["response"] * 2
    assert len({one.place for one in losses}) == 2


@pytest.mark.parametrize("name", ["members.warc.gz", "whole.warc.gz", "a.warc.zst", "plain.warc"])
def test_a_record_over_the_limit_is_passed_over(tmp_path: Path, name: str):
    large = record(http(b"x" * 5_000_000), url="https://a.example/large")
    lie = page_record(5, length=10**12)
    records = [RECORDS[0], large, RECORDS[1], lie, RECORDS[2], lie, RECORDS[3]]
    plain = b"".join(records)
    data = {
        "members.warc.gz": pack(records),
        "whole.warc.gz": gzip.compress(plain),
        "a.warc.zst": zstandard.compress(plain),
        "plain.warc": plain,
    }
    path = tmp_path / name
    path.write_bytes(data[name])
    found = list(read_archive(path, max_record_bytes=1_000_000))
    assert [one.url for one in found if isinstance(one, Record)] == URLS[:4]
    losses = [(one.reason, one.about.url) for one in found if isinstance(one, BadRecord)]
    assert losses == [
        ("too_large", "https://a.example/large"),
        ("damaged_record", URLS[5]),
        ("damaged_record", URLS[5]),
    ]


READ_IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from tasks.extract.archive import read_archive
resource.setrlimit(resource.RLIMIT_DATA, (150_000_000, 150_000_000))
for one in read_archive(Path(sys.argv[1]), max_record_bytes=20_000_000):
    print(one.type, getattr(one, "reason", len(one.payload) if hasattr(one, "payload") else 0))
"""


@pytest.mark.parametrize("packing", ["gz", "zst", "lz4"])
def test_memory_does_not_grow_with_the_file_or_with_a_bomb(tmp_path: Path, packing: str):
    size, num_pages = 200_000_000, 12
    page = http(b"<p>" + bytes(8_000_000))
    head = record(b"", url="https://a.example/bomb", length=size)[:-4]
    path = tmp_path / f"a.warc.{packing}"
    with path.open("wb") as file:
        with _packer(packing, file) as packer:
            for number in range(num_pages):
                packer.write(record(page, url=f"https://a.example/{number}"))
            packer.write(head)
            for _ in range(size // 8_000_000):
                packer.write(bytes(8_000_000))
            packer.write(b"\r\n\r\n" + RECORDS[0])
    run = subprocess.run(
        [sys.executable, "-c", READ_IN_LITTLE_MEMORY, str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    *pages, bomb, last = run.stdout.splitlines()
    assert pages == [f"response {len(page)}"] * num_pages
    assert (bomb, last.split()[0]) == ("response too_large", "response")


def _packer(packing: str, file: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    if packing == "gz":
        return gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1)
    if packing == "zst":
        return zstandard.ZstdCompressor(level=1).stream_writer(file, closefd=False)
    return lz4.frame.LZ4FrameFile(file, mode="wb")


def test_headers_keep_their_spelling_and_are_found_in_any():
    headers = parse_headers(
        b"WARC/1.0\r\nX-Item-Id: a 1\r\nwarc-concurrent-to: <x>\r\n"
        b"WARC-Concurrent-To: <y>\r\nNote: one\r\n  two\r\n\tthree\r\nEmpty:\r\nx-item-ID: b"
    )
    assert headers.get("x-item-id") == headers.get("X-ITEM-ID") == "a 1"
    assert headers.get_all("WARC-Concurrent-To") == ["<x>", "<y>"]
    assert headers.get("none") == ""
    assert headers.to_dict() == {
        "X-Item-Id": ["a 1", "b"],
        "warc-concurrent-to": ["<x>", "<y>"],
        "Note": "one two three",
        "Empty": "",
    }


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


def arc_record(url: str, payload: bytes, fields: str = "text/html") -> bytes:
    line = f"{url} 10.0.0.1 20080430204826 {fields} {len(payload)}\n"
    return line.encode() + payload + b"\n"


ANSWER = http(PROSE.encode())
ARC = [
    arc_record("filedesc://a.arc", b"2 0 X\n", "text/plain 200 - - 0 a.arc"),
    arc_record("dns:a.example", b"a.example. 60 IN A 10.0.0.1", "text/dns"),
    arc_record("http://a.example/1", ANSWER),
    arc_record("http://a.example/with blanks", ANSWER, "text/html; charset=utf-8"),
    arc_record("https://a.example/2", ANSWER, "text/html 200 A1B2 - 1234 IA-0001.arc.gz"),
    arc_record("http://a.example/no-head", b"<p>raw</p>"),
    arc_record("http://a.example/3", ANSWER),
]
ARC_URLS = [one.split(b" 10.0.0.1")[0].decode() for one in ARC]


@pytest.mark.parametrize("name", ["a.arc", "a.arc.gz", "whole.arc.gz", "a.arc.zst"])
def test_every_kind_of_arc_record_is_read(tmp_path: Path, name: str):
    plain = b"".join(ARC)
    data = {
        "a.arc": plain,
        "a.arc.gz": pack(ARC),
        "whole.arc.gz": gzip.compress(plain),
        "a.arc.zst": zstandard.compress(plain),
    }
    path = tmp_path / name
    path.write_bytes(data[name])
    found = list(read_archive(path))
    assert [one.url for one in found] == ARC_URLS
    assert [one.type for one in found] == (
        ["warcinfo", "response", "response", "response", "response", "resource", "response"]
    )
    assert [one.content_type for one in found][1:4] == ["text/dns", *["application/http"] * 2]
    assert found[4].headers.to_dict() == {
        "URL": "https://a.example/2",
        "IP-address": "10.0.0.1",
        "Archive-date": "20080430204826",
        "Content-type": "text/html",
        "Result-code": "200",
        "Checksum": "A1B2",
        "Location": "-",
        "Offset": "1234",
        "Filename": "IA-0001.arc.gz",
        "Archive-length": str(len(ANSWER)),
    }


def test_arc_records_are_those_that_warcio_finds(tmp_path: Path):
    """But for ARC 2, which warcio does not read, and spaces in addresses, which it escapes."""
    path = tmp_path / "a.arc.gz"
    path.write_bytes(pack([ARC[1], ARC[2], ARC[5], ARC[6]]))
    with path.open("rb") as file:
        theirs = [
            (one.rec_headers.get_header("uri"), one.rec_headers.get_header("archive-date"))
            for one in WarcioIterator(file, no_record_parse=True)
        ]
    ours = [(one.headers.get("url"), one.headers.get("archive-date")) for one in read_archive(path)]
    assert ours == theirs


@pytest.mark.parametrize("broken", [ARC[4].replace(b" 10.0.0.1", b""), ARC[4][:200], b"x" * 300])
def test_a_broken_arc_record_costs_itself_in_a_member_of_its_own(tmp_path: Path, broken: bytes):
    data = pack([*ARC[:4], broken, *ARC[5:]])
    assert read(tmp_path / "a.arc.gz", data) == (ARC_URLS[:4] + ARC_URLS[5:], ["damaged_record"])


def test_in_a_plain_arc_file_a_broken_first_line_costs_the_record_before_it_too(tmp_path: Path):
    """Its end cannot be told from a false length: ARC has no blank line there as WARC has."""
    broken = ARC[4].replace(b" 10.0.0.1", b"")
    urls, reasons = read(tmp_path / "a.arc", b"".join([*ARC[:4], broken, *ARC[5:]]))
    assert (urls, reasons) == (ARC_URLS[:3] + ARC_URLS[5:], ["damaged_record"])


def test_warc_and_arc_in_one_file_are_both_read(tmp_path: Path):
    urls, reasons = read(tmp_path / "a.warc.gz", gzip.compress(RECORDS[0] + ARC[2] + RECORDS[1]))
    assert (urls, reasons) == ([URLS[0], ARC_URLS[2], URLS[1]], [])


def test_mutated_archives_keep_their_promises(tmp_path: Path):
    rows = fuzz(Archives(None, seed=7), range(400), limit_seconds=20, save=tmp_path)
    assert sum(row.num_violations for row in rows.values()) == 0
    assert len(rows) > 20  # every way of packing and every mutation had its turn


def test_an_empty_file_and_an_empty_record_are_no_trouble(tmp_path: Path):
    assert read(tmp_path / "a.warc.gz", b"") == ([], [])
    assert read(tmp_path / "b.warc.gz", pack([record(b"")])) == (["https://a.example/"], [])
