"""Bytes to text: what a page's bytes say counts more than what its headers say.

Declared charsets are often wrong, and a wrong Latin-1 never fails to decode. So: a byte order mark
is believed; bytes that are valid UTF-8 are UTF-8; a declared charset is believed if it is one that
can fail and did not; otherwise the bytes are examined.
"""

import codecs
import re

from resiliparse.parse.encoding import bytes_to_str, detect_encoding

META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w.:-]+)", re.I)
META_BYTES = 4096
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
# Every byte string decodes under these, so that a successful decoding proves nothing.
NEVER_FAIL = re.compile(r"(?:iso8859|cp125|cp437|cp850|latin|ascii|mac|koi8)", re.I)
UNUSABLE = dict.fromkeys([0, 0xFEFF, 0xFFFE, 0xFFFF])


def decode(data: bytes, declared: str | None, *, is_html: bool) -> str:
    """Decode ``data``, whose headers declare the charset ``declared``."""
    for mark, name in BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "replace")
    if b"\x1b" not in data:  # an escape may begin ISO-2022, whose bytes are ASCII too
        text = _try(data, "utf-8")
        if text is not None:
            return text
    for name in filter(None, (declared, _meta_charset(data) if is_html else None)):
        text = None if _never_fails(name) else _try(data, name)
        if text is not None:
            return text
    return str(bytes_to_str(data, detect_encoding(data) or "utf-8", errors="replace"))


def clean_text(text: str) -> str:
    """Drop NULs and byte order marks, mend surrogates, use one kind of line end."""
    text = text.translate(UNUSABLE).replace("\r\n", "\n").replace("\r", "\n")
    try:
        text.encode()
    except UnicodeEncodeError:  # entities may name halves of characters, which no file can hold
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _meta_charset(data: bytes) -> str | None:
    found = META_CHARSET.search(data[:META_BYTES])
    return found.group(1).decode() if found else None


def _never_fails(name: str) -> bool:
    try:
        return bool(NEVER_FAIL.match(codecs.lookup(name).name))
    except LookupError:
        return True


def _try(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except (UnicodeDecodeError, LookupError):
        return None
