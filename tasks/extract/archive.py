"""Archive files, read so that one bad byte costs one record, in memory bounded by one record.

In: a path to .warc, .arc, .wet or .wat, plain or packed (.gz, .zst, .lz4). Out: its records in
order, and a BadRecord for each stretch that cannot be read. The rules:

- A *block* is what can be read from one place on without a break: a packed member, with those that
  continue it where a record is larger than its member; or the whole of a plain file.
- A record is believed if its Content-Length is borne out: what follows are two line ends as WARC
  has them, or nothing but line ends before the next record's first line or the member's end.
  Otherwise it is damaged, and the next record is looked for by its first line.
- The last record of a member is believed only when the member's checksum is.
- After a member that breaks, reading goes on at the next one that begins with a record's first line
  or is whole.
- A record larger than the limit is passed over without being held.
"""

import mmap
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from tasks.extract.packing import Member, PlainFile, packing_of, skip_padding
from tasks.extract.records import (
    ARC_START,
    MAX_FIRST_LINE_BYTES,
    MAX_HEADERS_BYTES,
    NEXT_RECORD,
    WARC_START,
    BadRecord,
    Head,
    Record,
    is_record_start,
    parse_head,
    whole_record,
)

MAX_RECORD_BYTES = 1 << 30
MAX_WARC_LINE_BYTES = 64
KEPT_BYTES = 1 << 20  # of what was read and is done with; to be let go of in few large strokes
ARCHIVE_SUFFIXES = tuple(
    f".{kind}{packing}"
    for kind in ("warc", "arc", "wet", "wat")
    for packing in ("", ".gz", ".zst", ".lz4")
)
NO_RECORD = "no record starts here"
RECORD_END = b"\r\n\r\n"
BLANK_LINES = re.compile(rb"[\r\n]*")


def read_archive(
    path: Path, *, max_record_bytes: int = MAX_RECORD_BYTES
) -> Iterator[Record | BadRecord]:
    """Yield every record of one archive file, the damaged and the too large ones as BadRecord.

    Memory is bounded by about twice ``max_record_bytes``, whatever the file holds or claims.
    """
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        is_plain = is_record_start(data[:MAX_FIRST_LINE_BYTES].lstrip(b"\r\n"))
        packing = None if is_plain else packing_of(data, path.suffix.lower())
        member: Member | PlainFile | None = PlainFile(data)
        if packing:
            member = Member(data, skip_padding(data, 0, packing), packing)
        is_after_break = False
        while member:
            reader = _BlockReader(member, max_record_bytes, is_after_break=is_after_break)
            yield from reader
            member, is_after_break = reader.next_member()


class _Block:
    """A window on a block's unpacked bytes: it grows at its end and is let go of at its start."""

    def __init__(self, member: Member | PlainFile) -> None:
        self.first = member
        self.member = member  # the one being read
        self.window = bytearray()
        self.start = 0  # of the unread bytes, in the window
        self._num_gone = 0  # bytes before the window
        self._is_end_known = False

    @property
    def offset(self) -> int:
        """Unpacked bytes from the block's start to the first unread one."""
        return self._num_gone + self.start

    def has(self, num_bytes: int, *, beyond: bool) -> bool:
        """Whether so many unread bytes are there; ``beyond`` the member's end too, if need be."""
        while len(self.window) - self.start < num_bytes:
            piece = self.member.read()
            if not piece and not (beyond and self._go_on()):
                return False
            self.window += piece
        return True

    def _go_on(self) -> bool:
        """Into the next member, unless it is broken from its start or a record begins there."""
        if self.member.problem or self._is_end_known:
            return False
        following = self.member.following()
        piece = following.read() if following else b""
        if not following or not piece or is_record_start(piece):
            self._is_end_known = True
            return False
        self.member = following
        self.window += piece
        return True

    def drop(self, num_bytes: int) -> None:
        """Be done with so many unread bytes, all of which are there."""
        self.start += num_bytes
        if self.start == len(self.window) or self.start > KEPT_BYTES:
            self._num_gone += self.start
            del self.window[: self.start]
            self.start = 0

    def pass_over(self, num_bytes: int) -> bool:
        """Be done with so many bytes without holding them; False if the block has fewer."""
        while num_bytes > 0 and self.has(1, beyond=True):
            size = min(num_bytes, len(self.window) - self.start)
            self.drop(size)
            num_bytes -= size
        return not num_bytes

    def pass_blank_lines(self) -> bool:
        """Go to the next line that is not blank; False if the member ends before one."""
        self.drop(self._after_blank_lines(0))
        return len(self.window) > self.start

    def _after_blank_lines(self, num_bytes: int) -> int:
        """How far from the first unread byte the blank lines end that stand at ``num_bytes``."""
        while self.has(num_bytes + 1, beyond=False):
            blank = BLANK_LINES.match(self.window, self.start + num_bytes)
            assert blank  # it matches the empty string too
            num_bytes = blank.end() - self.start
            if blank.end() < len(self.window):
                break
        return num_bytes

    def is_record_end(self, num_bytes: int) -> bool:
        """Whether a record may end after so many bytes: see the rules above."""
        after = self._after_blank_lines(num_bytes)
        if not self.has(after + 1, beyond=False):
            return not self.member.problem
        self.has(after + MAX_WARC_LINE_BYTES, beyond=True)
        if WARC_START.match(self.window, self.start + after):
            return True
        self.has(after + MAX_FIRST_LINE_BYTES, beyond=True)
        return bool(ARC_START.match(self.window, self.start + after))

    def is_separated(self, num_bytes: int) -> bool:
        """Whether two line ends stand after so many bytes, as they do after a WARC record."""
        end = self.start + num_bytes
        return self.window[end : end + len(RECORD_END)] == RECORD_END

    def seek_record(self) -> bool:
        """Go to the next first line but the one here; False, and to the block's end, if none."""
        num_bytes = 1
        while True:
            found = NEXT_RECORD.search(self.window, self.start + num_bytes)
            if found:
                self.drop(found.end() - self.start)
                return True
            num_done = max(0, len(self.window) - self.start - MAX_FIRST_LINE_BYTES)
            self.drop(num_done)
            num_bytes = max(0, num_bytes - num_done)
            num_unread = len(self.window) - self.start
            if not self.has(num_unread + 1, beyond=True):
                self.drop(num_unread)
                return False


class _BlockReader:
    """The records of one block."""

    def __init__(
        self, member: Member | PlainFile, max_record_bytes: int, *, is_after_break: bool
    ) -> None:
        self._block = _Block(member)
        self._max_record_bytes = max_record_bytes
        self._is_large_believed = True
        self._is_loss_told = is_after_break

    def __iter__(self) -> Iterator[Record | BadRecord]:
        while self._block.pass_blank_lines():
            yield from filter(None, self._next())
        if self._block.member.problem and not self._is_loss_told:
            yield self._bad(self._block.offset, "")

    def next_member(self) -> tuple[Member | None, bool]:
        """The member with which the next block starts, and whether something broke before it."""
        member = self._block.member
        if member.problem:
            return self._after_break, True
        return member.following(), False

    @cached_property
    def _after_break(self) -> Member | None:
        candidates = self._block.member.candidates()
        return next((member.again() for member in candidates if _is_good_start(member)), None)

    def _next(self) -> Iterator[Record | BadRecord | None]:
        """What is here and, where that shows what it is, what is behind it."""
        block = self._block
        head = self._head()
        if not head:
            is_warc = WARC_START.match(block.window, block.start)
            yield self._lose("headers do not end" if is_warc else NO_RECORD)
            return
        if head.payload_bytes is None:
            length = head.about.headers.get("content-length")
            yield self._lose(f"Content-Length is {length[:40]!r}", head)
            return
        self._is_loss_told = False
        size = head.num_bytes + head.payload_bytes
        if size > self._max_record_bytes:
            yield self._pass_large(head, size)
        elif not block.has(size, beyond=True):
            yield self._lose("Content-Length reaches past the end", head)
        elif block.is_record_end(size):
            yield self._take(head, size)
        elif block.is_separated(size) and not NEXT_RECORD.search(
            block.window, block.start + head.num_bytes, block.start + size
        ):
            record = self._take(head, size)
            loss = self._lose(NO_RECORD)
            if block.has(1, beyond=False) or not block.member.problem:
                yield record  # else it is here that the member breaks, and one loss is both
            yield loss
        else:
            yield self._lose("Content-Length ends inside the record", head)

    def _take(self, head: Head, size: int) -> Record:
        with memoryview(self._block.window) as window:
            start = self._block.start
            payload = bytes(window[start + head.num_bytes : start + size])
        self._block.drop(size)
        return whole_record(head.about, payload)

    def _head(self) -> Head | None:
        """The head of the record here; more of the window is filled only if that does not do."""
        block = self._block
        num_seen = 0
        for num_bytes in (1, MAX_FIRST_LINE_BYTES, MAX_HEADERS_BYTES):
            block.has(num_bytes, beyond=True)
            num_unread = len(block.window) - block.start
            head = parse_head(block.window, block.start) if num_unread > num_seen else None
            if head:
                return head
            num_seen = num_unread
        return None

    def _pass_large(self, head: Head, size: int) -> BadRecord | None:
        """Pass a record over, if it is as large as it claims; else it is damaged.

        Lies cost a second reading of the block, so they are found out once a block only.
        """
        offset = self._block.offset
        detail = f"{head.payload_bytes} bytes"
        if self._is_large_believed:
            is_whole = self._block.pass_over(size)
            if is_whole and (self._block.is_record_end(0) or self._block.is_separated(0)):
                return self._bad(offset, detail, head, reason="too_large")
            self._is_large_believed = False
            self._block = _Block(self._block.first.again())
            self._block.pass_over(offset)
        return self._lose(f"Content-Length claims {detail}", head)

    def _lose(self, detail: str, head: Head | None = None) -> BadRecord | None:
        """Give the record up and go to the next; None if that loss has been told already."""
        offset = self._block.offset
        if self._block.seek_record():
            return self._bad(offset, detail, head, reason="damaged_record")
        if self._is_loss_told:
            return None
        self._is_loss_told = True
        return self._bad(offset, detail, head)

    def _bad(
        self, offset: int, detail: str, head: Head | None = None, *, reason: str = ""
    ) -> BadRecord:
        member = self._block.member
        is_cut = member.is_cut and not self._after_break
        return BadRecord(
            reason=reason or ("truncated_record" if is_cut else "damaged_record"),
            detail=detail if reason else member.problem or detail,
            offset_bytes=self._block.first.start,
            unpacked_bytes=offset,
            about=head.about if head else None,
        )


def _is_good_start(member: Member) -> bool:
    piece = member.read()
    is_whole = bool(piece) and member.is_over and not member.problem
    return is_whole or is_record_start(piece.lstrip(b"\r\n"))
