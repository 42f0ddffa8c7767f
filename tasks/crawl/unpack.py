"""Content encodings: what a server packed, unpacked under a limit.

Pure: bytes in, at most so many bytes out. A few kilobytes can unpack to gigabytes, so no unpacker
here is ever asked for more than the limit and one byte, and zstd windows stay within what RFC 9659
allows on the web.
"""

import zlib
from collections.abc import Callable

import brotli
import zstandard

ACCEPT_ENCODING = "gzip, deflate, br, zstd"
MAX_LAYERS = 2  # more than one is rare, more than two is somebody playing
MAX_MEMBERS = 100  # of gzip, frames of zstd: each costs a copy of those after it
MIN_LAYER_BYTES = 64 * 1024
MAX_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024  # RFC 9659
GZIP_MAGIC = b"\x1f\x8b"


class BadEncodingError(Exception):
    """The bytes are not what their Content-Encoding says, or nobody knows what it means."""


def unpack(data: bytes, encodings: str, limit_bytes: int, *, partial: bool = False) -> bytes:
    """Undo a Content-Encoding header's ``encodings``.

    Args:
        data: the body as it was sent.
        encodings: the header's value; several were applied from left to right.
        limit_bytes: how much may come out; of more, ``limit_bytes + 1`` bytes are returned, so that
            the caller sees that it was too much.
        partial: take what there is of a body whose end is missing.

    Raises:
        BadEncodingError: unknown, broken or, unless ``partial``, cut short.
    """
    layers = [layer for name in encodings.split(",") if (layer := name.strip().lower())]
    layers = [layer for layer in layers if layer != "identity"]
    if len(layers) > MAX_LAYERS:
        raise BadEncodingError(encodings)
    for number, layer in enumerate(reversed(layers), start=1):
        if layer not in UNPACKERS:
            raise BadEncodingError(layer)
        # what is packed once more may be a little longer than what it holds
        most = limit_bytes + 1 if number == len(layers) else 2 * limit_bytes + MIN_LAYER_BYTES
        data = UNPACKERS[layer](data, most, partial) if data else data
        if len(data) >= most:
            break
    return data[: limit_bytes + 1]


def gunzip(data: bytes, most: int, partial: bool = False) -> bytes:
    """Unpack the members of gzip ``data``; as browsers do, ignore what follows the last."""
    out = bytearray()
    for number in range(MAX_MEMBERS):
        if number and not data.startswith(GZIP_MAGIC):
            return bytes(out)
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        out += _inflate(member, data, most - len(out), partial)
        if len(out) >= most:
            return bytes(out)
        data = member.unused_data
    raise BadEncodingError(f"more than {MAX_MEMBERS} members")


def _deflate(data: bytes, most: int, partial: bool) -> bytes:
    """Servers disagree whether deflate has a zlib header; its checksum tells."""
    has_header = (
        len(data) > 1 and data[0] & 0x0F == zlib.DEFLATED and not ((data[0] << 8) + data[1]) % 31
    )
    bits = zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
    return _inflate(zlib.decompressobj(bits), data, most, partial)


def _inflate(unpacker: "zlib._Decompress", data: bytes, most: int, partial: bool) -> bytes:
    try:
        out = unpacker.decompress(data, most)
    except zlib.error as error:
        raise BadEncodingError(str(error)) from error
    _check_end(unpacker.eof or len(out) >= most or partial)
    return out


def _brotli(data: bytes, most: int, partial: bool) -> bytes:
    unpacker, out = brotli.Decompressor(), bytearray()
    try:
        out += unpacker.process(data, output_buffer_limit=most)
        while len(out) < most and not unpacker.can_accept_more_data():
            out += unpacker.process(b"", output_buffer_limit=most - len(out))
    except brotli.error as error:
        raise BadEncodingError(str(error)) from error
    _check_end(unpacker.is_finished() or len(out) >= most or partial)
    return bytes(out[:most])


def _zstd(data: bytes, most: int, partial: bool) -> bytes:
    unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)
    out = bytearray()
    try:
        with unpacker.stream_reader(data, read_across_frames=True) as reader:
            while len(out) < most and (chunk := reader.read(most - len(out))):
                out += chunk
        # to that reader a frame that is cut short is one that ends
        _check_end(len(out) >= most or partial or _is_whole_zstd(data))
    except zstandard.ZstdError as error:
        raise BadEncodingError(str(error)) from error
    return bytes(out)


def _is_whole_zstd(data: bytes) -> bool:
    """Whether frames end where ``data`` does; asked only of what unpacks to less than a limit."""
    for _ in range(MAX_MEMBERS):
        unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES).decompressobj()
        unpacker.decompress(data)
        data = unpacker.unused_data
        if not unpacker.eof or not data:
            return unpacker.eof
    return False


def _check_end(is_whole: bool) -> None:
    if not is_whole:
        raise BadEncodingError("the body is cut short")


UNPACKERS: dict[str, Callable[[bytes, int, bool], bytes]] = {
    "gzip": gunzip,
    "x-gzip": gunzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
