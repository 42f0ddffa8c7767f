"""Mutated archives: whatever was not touched is found again, and nothing crashes or hangs.

A case is named by a seed and a number. It takes some records, packs them in one of the ways in
which archives are packed, and changes the packed bytes or one record before it is packed. What must
be found is worked out with the usual libraries, not with the reader under test.
"""

import gzip
import random
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise
from pathlib import Path

import lz4.frame
import zstandard

from tasks.extract.archive import read_archive
from tasks.extract.records import BadRecord, Record
from tests.benchmarks.mutations import Mutated, mutate
from tests.unit.extract.archive_fixtures import http, page_record, record

MAX_RECORD_BYTES = 1 << 16
MAX_RECORDS = 12
FIRST_LINE_BYTES = 64
BGZF_BYTES = 3000


def gzip_member(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=1, mtime=0)


def zstd_frame(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def lz4_frame(data: bytes) -> bytes:
    return lz4.frame.compress(data, content_checksum=True)


def plain(data: bytes) -> bytes:
    return data


@dataclass(frozen=True)
class Way:
    """A way to pack an archive: as a whole, record by record, or in pieces that heed no record."""

    name: str
    suffix: str
    pack: Callable[[bytes], bytes]
    unit: str  # record, whole or piece

    def members(self, records: list[bytes]) -> list[bytes]:
        data = b"".join(records)
        if self.unit == "record":
            return [self.pack(one) for one in records]
        if self.unit == "whole":
            return [self.pack(data)]
        return [self.pack(data[i : i + BGZF_BYTES]) for i in range(0, len(data), BGZF_BYTES)]


WAYS = (
    Way("gz members", ".warc.gz", gzip_member, "record"),
    Way("gz whole", ".warc.gz", gzip_member, "whole"),
    Way("gz pieces", ".warc.gz", gzip_member, "piece"),
    Way("zst frames", ".warc.zst", zstd_frame, "record"),
    Way("zst whole", ".warc.zst", zstd_frame, "whole"),
    Way("lz4 frames", ".warc.lz4", lz4_frame, "record"),
    Way("lz4 whole", ".warc.lz4", lz4_frame, "whole"),
    Way("plain", ".warc", plain, "record"),
)


@dataclass(frozen=True)
class Case:
    """A mutated archive and the records that have to be found in it."""

    way: Way
    mutation: str
    data: bytes
    expected: tuple[bytes, ...]


def made_records() -> list[bytes]:
    """Small records of every type, for a run without data."""
    others = [
        record(b"software: x\r\n", kind="warcinfo", content_type="application/warc-fields"),
        record(b"GET / HTTP/1.1\r\n\r\n", kind="request", url="https://a.example/q"),
        record(b"", kind="revisit", url="https://a.example/r"),
        record(b"plain text\n" * 40, kind="conversion", content_type="text/plain"),
        record(http(b"\r\n\r\n".join([b"<p>a"] * 50)), url="https://a.example/blank-lines"),
        record(http(random.Random(0).randbytes(5000), "image/png"), url="https://a.example/png"),
    ]
    return [*others, *(page_record(number) for number in range(20))]


@cache
def records_of(folder: Path | None) -> list[bytes]:
    """All records, head and line ends included, of the gzip archives below a folder."""
    if folder is None:
        return made_records()
    found = [one for path in sorted(folder.rglob("*.warc*.gz")) for one in _members(path)]
    if not found:
        raise ValueError(f"no *.warc*.gz below {folder}; name a folder of archives, or no folder")
    return [one for one in found if len(one) <= MAX_RECORD_BYTES]


def _members(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    while data:
        unpacker = zlib.decompressobj(wbits=31)
        yield unpacker.decompress(data)
        data = unpacker.unused_data


def make_case(folder: Path | None, seed: int, number: int) -> Case:
    rng = random.Random(f"{seed}:{number}")
    records = rng.sample(records_of(folder), rng.randint(2, MAX_RECORDS))
    way = rng.choice(WAYS)
    if rng.random() < 0.4:
        return _with_mutated_record(records, way, rng)
    members = way.members(records)
    mutated = mutate(b"".join(members), rng)
    expected = _spared(members, records, way, mutated)
    return Case(way, f"packed {mutated.name}", mutated.data, tuple(expected))


def _with_mutated_record(records: list[bytes], way: Way, rng: random.Random) -> Case:
    """One record is changed before it is packed; its neighbours have to be found."""
    victim = rng.randrange(len(records))
    head, blank, payload = records[victim].partition(b"\r\n\r\n")
    if rng.random() < 0.5:
        mutated = mutate(head, rng)  # lengths and first lines, mostly
        changed, name = mutated.data + blank + payload, f"head {mutated.name}"
    else:
        mutated = mutate(records[victim], rng)
        changed, name = mutated.data, f"record {mutated.name}"
    others = [one for index, one in enumerate(records) if index != victim]
    data = b"".join(way.members([*records[:victim], changed, *records[victim + 1 :]]))
    return Case(way, name, data, tuple(others))


def _spared(
    members: list[bytes], records: list[bytes], way: Way, mutated: Mutated
) -> Iterator[bytes]:
    """The records that the mutation of the packed bytes left as they were.

    In a member of many records those before the mutation, if another one's first line stands
    between; in pieces, too, though most of those behind it are found as well.
    """
    if way.unit == "record":
        ends = list(accumulate(map(len, members), initial=0))
        for one, (start, end) in zip(records, pairwise(ends), strict=True):
            if mutated.spares(start, end):
                yield one
        return
    num_bytes = len(_unpacked(b"".join(members)[: mutated.start], way))
    for one, end in zip(records, accumulate(map(len, records)), strict=True):
        if end + FIRST_LINE_BYTES <= num_bytes:
            yield one


def _unpacked(data: bytes, way: Way) -> bytes:
    """What can be had of cut data, with the libraries' own means."""
    unpacked = b""
    while data:
        unpacker = {
            ".warc.gz": lambda: zlib.decompressobj(wbits=31),
            ".warc.zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
            ".warc.lz4": lz4.frame.LZ4FrameDecompressor,
        }[way.suffix]()
        unpacked += unpacker.decompress(data)
        data = unpacker.unused_data or b""
    return unpacked


def check_case(item: tuple[Path | None, int, int], _config: None) -> list[str]:
    """Read one case's archive; say what is wrong with what came out."""
    case = make_case(*item)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"fuzz{case.way.suffix}"
        path.write_bytes(case.data)
        found = list(read_archive(path))
    return list(_complaints(case, found))


def _complaints(case: Case, found: list[Record | BadRecord]) -> Iterator[str]:
    payloads = Counter(one.payload for one in found if isinstance(one, Record))
    lost = Counter(map(_payload, case.expected)) - payloads
    if lost:
        yield f"{lost.total()} of {len(case.expected)} untouched records are not found"
    places = [one.place for one in found if isinstance(one, BadRecord)]
    if len(places) != len(set(places)):
        yield "two losses have one name"
    if any(not one.type and not one.headers for one in found if isinstance(one, Record)):
        yield "a record without a head"
    if case.way.unit == "record" and case.mutation.endswith("flip_bit") and len(places) > 1:
        yield f"one flipped bit is told as {len(places)} losses"


def _payload(one: bytes) -> bytes:
    """By the Content-Length of a record that nobody touched."""
    head, _, rest = one.partition(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    return rest[:length]
