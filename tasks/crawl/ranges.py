"""Choosing among files, and byte ranges of archives. Pure: names, numbers and bytes in and out.

A record of Common Crawl is one gzip member of a file of about 1 GB. Records that lie close together
are asked for with one request; what lies between them is thrown away.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import xxhash

MAX_HEADERS_BYTES = 1 << 16  # of a record and of the answer in it, beside its body
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedPage:
    """A line of the URL index: a page and where its record is.

    Args:
        languages: ISO 639-3 codes with commas, the main one first.
        fetched_at: ISO 8601, UTC.
        archive: the path of the WARC file.
        offset_bytes, length_bytes: of the record's gzip member in it.
    """

    url: str
    status: int
    content_type: str | None
    languages: str | None
    fetched_at: str
    archive: str
    offset_bytes: int
    length_bytes: int

    @property
    def end_bytes(self) -> int:
        """Where the record's member ends."""
        return self.offset_bytes + self.length_bytes


@dataclass(frozen=True, slots=True)
class Span:
    """Pages of one archive that are near enough to be read at once."""

    pages: tuple[IndexedPage, ...]

    @property
    def start_bytes(self) -> int:
        """The first byte to read."""
        return self.pages[0].offset_bytes

    @property
    def stop_bytes(self) -> int:
        """The byte after the last one to read."""
        return max(page.end_bytes for page in self.pages)


def rank(seed: int, name: str) -> int:
    """A number from 0 to 2^64 - 1 that decides, under ``seed``, how early ``name`` is chosen."""
    return xxhash.xxh3_64_intdigest(f"{seed}\n{name}".encode())


def is_in_share(seed: int, name: str, share: float) -> bool:
    """Whether ``name`` is of the ``share`` (0 to 1) of all names; a greater share has it too."""
    return rank(seed, name) < share * 2**64


def choose(names: Sequence[str], num_names: int, seed: int) -> list[str]:
    """Choose ``num_names`` names, in their order; a greater number chooses these and others."""
    lowest = sorted(names, key=lambda name: (rank(seed, name), name))[:num_names]
    chosen = set(lowest)
    return [name for name in names if name in chosen]


def spans(pages: Iterable[IndexedPage], max_gap_bytes: int, max_span_bytes: int) -> Iterator[Span]:
    """Join pages, ordered by archive and offset, that lie at most ``max_gap_bytes`` apart."""
    near: list[IndexedPage] = []
    for page in pages:
        if near and not (
            page.archive == near[0].archive
            and page.offset_bytes - near[-1].end_bytes <= max_gap_bytes
            and page.end_bytes - near[0].offset_bytes <= max_span_bytes
        ):
            yield Span(tuple(near))
            near = []
        near.append(page)
    if near:
        yield Span(tuple(near))


def page_groups(
    pages: Iterable[IndexedPage], max_pages: int, max_bytes: int
) -> Iterator[list[IndexedPage]]:
    """Pages in order, in groups that make an archive file each."""
    group: list[IndexedPage] = []
    num_bytes = 0
    for page in pages:
        if group and (len(group) >= max_pages or num_bytes + page.length_bytes > max_bytes):
            yield group
            group, num_bytes = [], 0
        group.append(page)
        num_bytes += page.length_bytes
    if group:
        yield group


def look_into(member: bytes, max_body_bytes: int) -> tuple[str | None, int]:
    """Check that ``member`` is one whole WARC record in gzip, and measure the page in it.

    Returns:
        Why it is refused (``not_a_record``, ``too_large``), or None; and the page's size in bytes,
        without the headers around it.
    """
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        record = unpacker.decompress(member, max_body_bytes + MAX_HEADERS_BYTES)
    except zlib.error:
        return "not_a_record", 0
    if not record.startswith(b"WARC/"):
        return "not_a_record", 0
    _, _, block = record.partition(b"\r\n\r\n")
    _, _, body = block.partition(b"\r\n\r\n")
    num_bytes = len(body.removesuffix(b"\r\n\r\n"))
    if unpacker.unconsumed_tail or num_bytes > max_body_bytes:
        return "too_large", num_bytes
    if not unpacker.eof or unpacker.unused_data:
        return "not_a_record", 0
    return None, num_bytes
