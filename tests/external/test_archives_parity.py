"""Real archives, whole, repacked and damaged: what we find against FastWARC and warcio.

Run with ``pytest tests/external/test_archives_parity.py --external-data=PATH -rP``; that prints the
tables. PATH holds ``web/real-warc`` and ``web/pages``.
"""

import gzip
import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from fastwarc.warc import ArchiveIterator
from warcio.archiveiterator import ArchiveIterator as WarcioIterator

from tasks.extract.archive import read_archive
from tasks.extract.records import BadRecord, Record

pytestmark = pytest.mark.external

Found = list[tuple[str, str]]  # type and payload digest, in order


def ours(path: Path) -> tuple[Found, list[BadRecord]]:
    found = list(read_archive(path))
    return (
        [(one.type, _digest(one.payload)) for one in found if isinstance(one, Record)],
        [one for one in found if isinstance(one, BadRecord)],
    )


def fastwarcs(path: Path) -> Found:
    """What FastWARC gives before it gives up."""
    found = []
    with path.open("rb") as file:
        try:
            for one in ArchiveIterator(file, parse_http=False):
                found.append((str(one.record_type), _digest(one.reader.read())))
        except OSError:
            pass
    return found


def warcios(path: Path) -> Found:
    """What warcio gives before it gives up."""
    found = []
    with path.open("rb") as file:
        try:
            for one in WarcioIterator(file, no_record_parse=True):
                found.append((one.rec_type, _digest(one.raw_stream.read())))
        except Exception:  # it raises what its parsers raise
            pass
    return found


def _digest(payload: bytes) -> str:
    return hashlib.blake2b(payload, digest_size=16).hexdigest()


def archives(external_data: Path) -> list[Path]:
    found = sorted((external_data / "web" / "real-warc").iterdir())
    return [*found, *sorted((external_data / "web" / "pages").iterdir())]


def records(path: Path) -> list[bytes]:
    """The records of a real archive, with their heads; each is one gzip member there."""
    data, found = path.read_bytes(), []
    while data:
        unpacker = zlib.decompressobj(wbits=31)
        found.append(unpacker.decompress(data))
        data = unpacker.unused_data
    return found


def test_every_real_archive_holds_what_fastwarc_and_warcio_find(external_data: Path):
    for path in archives(external_data):
        found, losses = ours(path)
        assert losses == []
        assert found == fastwarcs(path)
        assert found == warcios(path)
        counts = Counter(kind for kind, _ in found)
        print(f"{path.name[:40]:40} {len(found):4} of 3 readers; {dict(sorted(counts.items()))}")


def in_pieces(pack: Callable[[bytes], bytes], data: bytes) -> bytes:
    return b"".join(pack(data[i : i + 50_000]) for i in range(0, len(data), 50_000))


REPACKED: dict[str, Callable[[list[bytes]], bytes]] = {
    "plain.warc": b"".join,
    "whole.warc.gz": lambda some: gzip.compress(b"".join(some), 1),
    "pieces.warc.gz": lambda some: in_pieces(lambda x: gzip.compress(x, 1), b"".join(some)),
    "frames.warc.zst": lambda some: b"".join(map(zstandard.compress, some)),
    "whole.warc.zst": lambda some: zstandard.compress(b"".join(some)),
    "pieces.warc.zst": lambda some: in_pieces(zstandard.compress, b"".join(some)),
    "frames.warc.lz4": lambda some: b"".join(map(lz4.frame.compress, some)),
    "whole.warc.lz4": lambda some: lz4.frame.compress(b"".join(some)),
    "twice.warc.gz": lambda some: gzip_members(some) * 2,
}


@pytest.mark.parametrize("name", REPACKED)
def test_packing_changes_nothing(external_data: Path, tmp_path: Path, name: str):
    for path in sorted((external_data / "web" / "real-warc").iterdir()):
        repacked = tmp_path / name
        repacked.write_bytes(REPACKED[name](records(path)))
        found, losses = ours(repacked)
        assert losses == []
        assert found == fastwarcs(path) * (2 if name == "twice.warc.gz" else 1)
        assert found == fastwarcs(repacked)


def gzip_members(some: list[bytes]) -> bytes:
    return b"".join(gzip.compress(one, 1, mtime=0) for one in some)


def lying(record: bytes, by: int) -> bytes:
    return re.sub(
        rb"(?i)(content-length: *)(\d+)",
        lambda found: found[1] + b"%d" % max(0, int(found[2]) + by),
        record,
        count=1,
    )


def line_feeds(record: bytes) -> bytes:
    head, _, payload = record.partition(b"\r\n\r\n")
    return head.replace(b"\r\n", b"\n") + b"\n\n" + payload


def flipped(member: bytes) -> bytes:
    changed = bytearray(member)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


# What is done to the record in the middle, and how many records are lost by it.
RECORD_DAMAGE: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "length too long": (lambda one: lying(one, 37), 1),
    "length absurd": (lambda one: lying(one, 10**13), 1),
    "length too short": (lambda one: lying(one, -37), 1),
    "no length": (lambda one: re.sub(rb"(?i)content-length", b"X-Length", one, count=1), 1),
    "no first line": (lambda one: one.partition(b"\r\n")[2], 1),
    "first line broken": (lambda one: b"XARC" + one[4:], 1),
    "no line between head and body": (lambda one: one.replace(b"\r\n\r\n", b"\r\n", 1), 1),
    "cut in the head": (lambda one: one[:60], 1),
    "no blank lines after": (lambda one: one[:-4], 0),
    "many blank lines after": (lambda one: one + b"\r\n" * 50, 0),
    "first line in lower case": (lambda one: one[:4].lower() + one[4:], 0),
    "unknown version": (lambda one: b"WARC/2.17" + one[one.index(b"\r\n") :], 0),
    "line feeds": (line_feeds, 0),
    "folded header": (lambda one: one.replace(b"WARC-Type: ", b"WARC-Type:\r\n\t", 1), 0),
    "header twice": (lambda one: one.replace(b"WARC-Date", b"WARC-Type: x\r\nWARC-Date", 1), 0),
}
MEMBER_DAMAGE: dict[str, tuple[Callable[[bytes], bytes], int]] = {
    "flipped bit": (flipped, 1),
    "zeroed magic": (lambda one: bytes(3) + one[3:], 1),
    "member cut": (lambda one: one[: len(one) // 2], 1),
    "checksum lost": (lambda one: one[:-8] + bytes(8), 1),
    "noise before": (lambda one: b"\x1f\x8b\x08noise" * 9 + one, 0),
    "zeros before": (lambda one: bytes(1000) + one, 0),
}


def damaged(some: list[bytes]) -> Iterator[tuple[str, str, bytes, int]]:
    """A name, a file's name, its bytes, and how many records are lost in it."""
    middle = len(some) // 2
    for name, (damage, num_lost) in RECORD_DAMAGE.items():
        changed = [*some[:middle], damage(some[middle]), *some[middle + 1 :]]
        yield name, "members.warc.gz", gzip_members(changed), num_lost
        yield name, "whole.warc.gz", gzip.compress(b"".join(changed), 1), num_lost
        yield name, "plain.warc", b"".join(changed), num_lost
    members = [gzip.compress(one, 1, mtime=0) for one in some]
    for name, (damage, num_lost) in MEMBER_DAMAGE.items():
        changed = [*members[:middle], damage(members[middle]), *members[middle + 1 :]]
        yield name, "members.warc.gz", b"".join(changed), num_lost
    yield "file cut", "members.warc.gz", b"".join(members)[:-12], 1


REAL = ("dolma-sample-0000", "resiliparse-warcfile", "ukwa-wikipedia", "aut-example")


@pytest.mark.parametrize("name", REAL)
def test_damage_costs_what_was_damaged_and_never_more_than_it_costs_others(
    external_data: Path, tmp_path: Path, name: str
):
    (path,) = (external_data / "web" / "real-warc").glob(f"{name}*")
    some = records(path)
    truth = fastwarcs(path)
    middle = {truth[len(truth) // 2]}
    print(
        f"\n{name}: {len(truth)} records\n{'damage':30} {'file':16} ours  FastWARC  warcio  losses"
    )
    for damage, file_name, data, num_lost in damaged(some):
        victims = middle if damage != "file cut" else {truth[-1]}
        broken = tmp_path / file_name
        broken.write_bytes(data)
        found, losses = ours(broken)
        theirs = [fastwarcs(broken), warcios(broken)]
        right = [len([one for one in each if one in truth]) for each in (found, *theirs)]
        reasons = dict(Counter(one.reason for one in losses))
        print(f"{damage:30} {file_name:16} {right[0]:4}  {right[1]:8}  {right[2]:6}  {reasons}")
        # Every record but the damaged one, in order; of that one only if nothing of it was lost.
        whole = truth if not num_lost else [one for one in truth if one not in victims]
        types_spared = damage != "header twice"
        assert found == whole if types_spared else [x for _, x in found] == [x for _, x in whole]
        # What a cut took may be but the checksum; the others do not look at it, and count one more.
        assert right[0] + (damage == "file cut") >= max(right[1:])
        is_told = num_lost or damage == "noise before"
        assert len(losses) == (1 if is_told else 0), (damage, file_name, losses)
        assert reasons.keys() <= {"truncated_record" if damage == "file cut" else "damaged_record"}
