"""TensorBoard's event files, written without TensorBoard.

In: numbers and texts by step. Out: ``events.out.tfevents.NNNN`` files that TensorBoard and all that
reads its format show. The format is TFRecord (length and data, each with a masked CRC-32C, RFC 3720
appendix B.4) around ``Event`` messages in protobuf's wire encoding; what of it is needed is little
enough to be written here, so that a GPU box needs no package for it.
"""

import struct
import time
from collections.abc import Mapping
from pathlib import Path

PATTERN = "events.out.tfevents.*"
_START = 1  # SessionLog.SessionStatus
_STRING = 7  # DataType.DT_STRING


class EventFile:
    """One attempt's file; attempts of one run lie beside each other.

    Each but the first begins by saying that what earlier ones said of later steps is void, and
    readers drop that: no step is there twice, and none is lost.
    """

    def __init__(self, folder: str | Path, step: int) -> None:
        """``step``: the last one that stays; 0 for a run that begins, which drops other files."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        earlier = sorted(folder.glob(PATTERN))
        if not step:
            for path in earlier:
                path.unlink()
            earlier = []
        self.goes_on = bool(earlier)
        """Whether an earlier attempt has left its part."""
        number = 1 + int(earlier[-1].suffix[1:]) if earlier else 0
        self._file = (folder / PATTERN.replace("*", f"{number:04d}")).open("wb", buffering=0)
        self._write(0, _text(3, "brain.Event:2"))
        if earlier:
            self.void_after(step)

    def void_after(self, step: int) -> None:
        """What was said of later steps counts no more."""
        self._write(step + 1, _message(7, _number(1, _START)))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One point of each curve."""
        parts = [_text(1, tag) + _float(2, value) for tag, value in values.items()]
        self._write(step, _message(5, b"".join(_message(1, part) for part in parts)))

    def text(self, step: int, tag: str, markdown: str) -> None:
        """A text of that step."""
        shape = _message(2, _number(1, 1))
        tensor = _number(1, _STRING) + _message(2, shape) + _text(8, markdown)
        plugin = _message(1, _text(1, "text"))
        value = _text(1, tag) + _message(8, tensor) + _message(9, plugin)
        self._write(step, _message(5, _message(1, value)))

    def close(self) -> None:
        """No more events."""
        self._file.close()

    def _write(self, step: int, what: bytes) -> None:
        event = _key(1, 1) + struct.pack("<d", time.time()) + _number(2, step) + what
        length = struct.pack("<Q", len(event))
        record = length + _checksum(length) + event + _checksum(event)
        while record:
            record = record[self._file.write(record) :]


# --- protobuf's wire encoding ------------------------------------------------------------------


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _number(field: int, value: int) -> bytes:
    return _key(field, 0) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _key(field, 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _float(field: int, value: float) -> bytes:
    return _key(field, 5) + struct.pack("<f", value)


# --- CRC-32C -----------------------------------------------------------------------------------


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()


def _checksum(data: bytes) -> bytes:
    """CRC-32C, rotated and shifted as TFRecord wants it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
