"""The journal of the round under way: what has been answered, on disk before it counts.

Local files only, append only. A crawl that is killed finds every answer that had come in and asks
for none of them again; an entry that was being written when the crawl died is cut off. When its
round is committed, the journal has served.
"""

import json
import struct
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

HEAD = struct.Struct(">III")  # bytes of the note, bytes of the record, checksum of both


class Journal:
    """Notes (JSON) with a record (bytes) each, by key; use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, tuple[int, int, int]] = {}

    def __enter__(self) -> "Journal":
        self._path.touch()
        self._file = self._path.open("r+b")
        self._end = 0
        while (entry := self._read_at(self._end)) is not None:
            (key, _), num_note, num_record = entry
            self._remember(key, num_note, num_record)
        self._file.truncate(self._end)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def add(self, key: str, note: Any, record: bytes = b"") -> None:
        """Write an entry; it is the system's, not only this process's, when this returns."""
        data = json.dumps([key, note]).encode()
        self._file.seek(self._end)
        checksum = zlib.crc32(record, zlib.crc32(data))
        self._file.write(HEAD.pack(len(data), len(record), checksum) + data + record)
        self._file.flush()
        self._remember(key, len(data), len(record))

    def note(self, key: str) -> Any:
        """The note of an entry."""
        start, num_note, _ = self._places[key]
        self._file.seek(start)
        return json.loads(self._file.read(num_note))[1]

    def record(self, key: str) -> bytes:
        """The record of an entry."""
        start, num_note, num_record = self._places[key]
        self._file.seek(start + num_note)
        return self._file.read(num_record)

    def _remember(self, key: str, num_note: int, num_record: int) -> None:
        self._places[key] = (self._end + HEAD.size, num_note, num_record)
        self._end += HEAD.size + num_note + num_record

    def _read_at(self, position: int) -> tuple[Any, int, int] | None:
        """The entry at ``position`` and its sizes, or None if there is no whole one."""
        self._file.seek(position)
        head = self._file.read(HEAD.size)
        if len(head) < HEAD.size:
            return None
        num_note, num_record, checksum = HEAD.unpack(head)
        data = self._file.read(num_note + num_record)
        if len(data) < num_note + num_record or zlib.crc32(data) != checksum:
            return None
        return json.loads(data[:num_note]), num_note, num_record
