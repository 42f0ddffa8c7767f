"""Packed members (gzip members, zstd and lz4 frames), unpacked piece by piece.

Pure: bytes (or a mapped file) in, pieces of bounded size out. A member that breaks gives what it
held before the place where it breaks. What the bytes mean is left to ``archive``.
"""

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import zstandard
from isal import igzip_lib
from lz4.frame import LZ4FrameDecompressor

Packed = bytes | mmap.mmap

PIECE_BYTES = 1 << 18  # unpacked, at most, but for zstd
MAPPED_BYTES = 1 << 26  # of a mapped file, to be counted as memory at a time
STEPS_BYTES = (64, 1)  # packed, ever smaller when looking for the last byte before a break
ISAL_ERROR: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # its stub errs
GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LZ4_MAGIC = b"\x04\x22\x4d\x18"
# zstd and lz4 frames that say nothing, 0x184D2A50 to …5F; one of them holds WARC's zstd dictionary.
SKIPPABLE_MAGICS = tuple(bytes([0x50 + low]) + b"\x2a\x4d\x18" for low in range(16))
DICTIONARY_MAGIC = SKIPPABLE_MAGICS[13]
MAX_DICTIONARY_BYTES = 16 << 20


class Unpacker(Protocol):
    """What igzip and lz4 offer, after the standard library's ``BZ2Decompressor``."""

    @property
    def eof(self) -> bool:
        """Whether the member is unpacked to its end."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes of what was given so far."""

    @property
    def unused_data(self) -> bytes | None:
        """What was given beyond the member's end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Unpack; at most ``max_length`` bytes, the rest is given by later calls."""


class _ZstdUnpacker:
    """zstandard's in the same form, but a call returns whatever comes; see ``zstd_packing``."""

    needs_input = True

    def __init__(self, dictionary: zstandard.ZstdCompressionDict | None) -> None:
        self._unpacker = zstandard.ZstdDecompressor(dict_data=dictionary).decompressobj()

    @property
    def eof(self) -> bool:
        return self._unpacker.eof

    @property
    def unused_data(self) -> bytes:
        return self._unpacker.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._unpacker.decompress(data) if data else b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """A way to pack members."""

    name: str
    magic: bytes
    input_bytes: int  # packed, given to the unpacker at a time
    errors: tuple[type[Exception], ...]
    unpacker: Callable[[], Unpacker]
    padding: tuple[bytes, ...] = ()  # magics of what may stand between members


def packing_of(data: Packed, suffix: str) -> Packing | None:
    """How a file is packed: as it begins or, where that says nothing, as its name ends."""
    by_magic = {
        GZIP_MAGIC: gzip_packing,
        ZSTD_MAGIC: zstd_packing,
        LZ4_MAGIC: lz4_packing,
        DICTIONARY_MAGIC: zstd_packing,
    }
    by_suffix = {".gz": gzip_packing, ".zst": zstd_packing, ".lz4": lz4_packing}
    for magic, packing in by_magic.items():
        if data[: len(magic)] == magic:
            return packing(data)
    return by_suffix[suffix](data) if suffix in by_suffix else None


def gzip_packing(_data: Packed) -> Packing:
    """gzip, by Intel's ISA-L: more than twice as fast as zlib."""
    return Packing(
        name="gzip member",
        magic=GZIP_MAGIC,
        input_bytes=1 << 16,
        errors=(ISAL_ERROR,),
        unpacker=lambda: igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP),
    )


def lz4_packing(_data: Packed) -> Packing:
    """LZ4 frames."""
    return Packing(
        name="lz4 frame",
        magic=LZ4_MAGIC,
        input_bytes=1 << 16,
        errors=(RuntimeError,),
        unpacker=LZ4FrameDecompressor,
        padding=SKIPPABLE_MAGICS,
    )


def zstd_packing(data: Packed) -> Packing:
    """zstd frames, with the dictionary that the file begins with, if it does."""
    dictionary = _dictionary(data)
    return Packing(
        name="zstd frame",
        magic=ZSTD_MAGIC,
        # A block takes 4 bytes at least and holds 128 KiB at most: 16 MiB a call at the very worst.
        input_bytes=1 << 9,
        errors=(zstandard.ZstdError,),
        unpacker=lambda: _ZstdUnpacker(dictionary),
        padding=SKIPPABLE_MAGICS,
    )


def _dictionary(data: Packed) -> zstandard.ZstdCompressionDict | None:
    if data[:4] != DICTIONARY_MAGIC:
        return None
    raw = data[8 : 8 + min(int.from_bytes(data[4:8], "little"), MAX_DICTIONARY_BYTES)]
    try:
        if raw.startswith(ZSTD_MAGIC):
            raw = zstandard.ZstdDecompressor().stream_reader(raw).read(MAX_DICTIONARY_BYTES)
        dictionary = zstandard.ZstdCompressionDict(raw)
        zstandard.ZstdDecompressor(dict_data=dictionary).decompressobj()  # it is looked at here
    except zstandard.ZstdError:
        return None  # the frames that need it cannot be read then, and each says so
    return dictionary


def skip_padding(data: Packed, position: int, packing: Packing) -> int:
    """Where the next member should start: zeros and frames that say nothing are passed over."""
    while position < len(data):
        if data[position : position + 4] in packing.padding:
            size = int.from_bytes(data[position + 4 : position + 8], "little")
            position = min(position + 8 + size, len(data))
        elif data[position] == 0:
            position += 1
        else:
            break
    return position


def _slice(data: Packed, start: int, size: int) -> bytes:
    """Bytes of the file; the pages read before are unmapped from time to time."""
    end = start + size
    if isinstance(data, mmap.mmap) and start // MAPPED_BYTES != end // MAPPED_BYTES:
        data.madvise(mmap.MADV_DONTNEED)
    return data[start:end]


class Member:
    """One packed member, read from its start to its end or to where it breaks.

    ``problem`` says, once ``read`` has nothing more to give, what is wrong with it; "" if nothing.
    """

    def __init__(self, data: Packed, start: int, packing: Packing) -> None:
        self._data = data
        self._packing = packing
        self.start = start
        self._position = start  # of the next packed byte to be given to the unpacker
        self._last_input = start  # where what was given last began
        self._num_unpacked = 0
        self._unpacker = packing.unpacker()
        self.problem = ""
        self.is_cut = False  # whether the problem is that the file ends
        if data[start : start + len(packing.magic)] != packing.magic:
            self._fail("its magic number is missing")

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to read."""
        return bool(self.problem) or self._unpacker.eof

    def following(self) -> "Member | None":
        """What stands where this member, read whole, ends; None at the file's end."""
        end = self._position - len(self._unpacker.unused_data or b"")
        start = skip_padding(self._data, end, self._packing)
        return Member(self._data, start, self._packing) if start < len(self._data) else None

    def again(self) -> "Member":
        """The same member, unread."""
        return Member(self._data, self.start, self._packing)

    def candidates(self) -> Iterator["Member"]:
        """Every later place at which a member may start, whatever this one holds."""
        start = self.start
        while (start := self._data.find(self._packing.magic, start + 1)) >= 0:
            yield Member(self._data, start, self._packing)

    def read(self) -> bytes:
        """The next piece; empty only at the end."""
        while not self.is_over:
            packed = b""
            if self._unpacker.needs_input:
                self._last_input = self._position
                packed = _slice(self._data, self._position, self._packing.input_bytes)
                self._position += len(packed)
                if not packed:
                    self.is_cut = True
                    self._fail("the file ends inside it")
                    break
            try:
                piece = self._unpacker.decompress(packed, PIECE_BYTES)
            except self._packing.errors as error:
                self._fail(str(error))
                piece = self._before_break()
            self._num_unpacked += len(piece)
            if piece:
                return piece
        return b""

    def _fail(self, problem: str) -> None:
        self.problem = f"{self._packing.name} at byte {self.start}: {problem}"

    def _before_break(self) -> bytes:
        """What the call that failed had unpacked: all is done again, at its end in small steps."""
        good_until, piece = self._last_input, b""
        for step_bytes in STEPS_BYTES:
            good_until, piece = self._again_until_break(good_until, step_bytes)
        return piece

    def _again_until_break(self, good_until: int, step_bytes: int) -> tuple[int, bytes]:
        """Where the input begins that breaks, and what was unpacked before it and not yet given."""
        unpacker = self._packing.unpacker()
        pieces: list[bytes] = []
        position = next_position = self.start
        num_unpacked = 0
        try:
            while not unpacker.eof:
                packed = b""
                if unpacker.needs_input:
                    position = next_position
                    num_good = min(good_until - position, self._packing.input_bytes)
                    size = num_good if num_good > 0 else step_bytes
                    packed = self._data[position : position + size]
                    next_position = position + len(packed)
                    if not packed:
                        break
                piece = unpacker.decompress(packed, PIECE_BYTES)
                pieces.append(piece[max(0, self._num_unpacked - num_unpacked) :])
                num_unpacked += len(piece)
        except self._packing.errors:
            pass
        return position, b"".join(pieces)


class PlainFile:
    """An unpacked file, read as if it were one member; whether it is whole cannot be known."""

    start = 0
    problem = ""
    is_cut = True

    def __init__(self, data: Packed) -> None:
        self._data = data
        self._position = 0

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to read."""
        return self._position >= len(self._data)

    def read(self) -> bytes:
        """The next piece; empty only at the end."""
        piece = _slice(self._data, self._position, PIECE_BYTES)
        self._position += len(piece)
        return piece

    def following(self) -> None:
        """Nothing follows."""

    def candidates(self) -> Iterator[Member]:
        """None: nothing is packed here."""
        return iter(())

    def again(self) -> "PlainFile":
        """The same file, unread."""
        return PlainFile(self._data)
