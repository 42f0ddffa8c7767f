"""A body is what the page's author meant, as far as it can be had, or refused with the reason."""

import gzip
import zlib

import brotli
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.extract.body import Body, Refused, record_body
from tasks.extract.codings import undo_chunks
from tasks.extract.records import Headers, Record
from tests.unit.extract.archive_fixtures import PROSE, http

MAX_BYTES = 1_000_000
HTML = f"<!doctype html><html><p>{PROSE * 40}".encode()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


def body(
    payload: bytes,
    *,
    kind: str = "response",
    content_type: str = "application/http; msgtype=response",
    headers: Headers = Headers(),
) -> Body:
    record = Record(
        type=kind,
        url="https://a.example/",
        record_id="1",
        date=None,
        content_type=content_type,
        payload=payload,
        headers=headers,
    )
    return record_body(record, MAX_BYTES)


def refusal(payload: bytes, **fields: str) -> tuple[str, str | None]:
    with pytest.raises(Refused) as refused:
        body(payload, **fields)
    return refused.value.reason, refused.value.detail


def coded(data: bytes, coding: str) -> bytes:
    return http(data, extra=f"Content-Encoding: {coding}\r\n")


@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_is_undone(coding: str):
    found = body(coded(CODINGS[coding](HTML), coding))
    assert (found.data, found.flaw) == (HTML, None)


@pytest.mark.parametrize(
    ("packed", "header"),
    [
        (raw_deflate(HTML), "deflate"),  # servers that leave the zlib wrapper out
        (gzip.compress(HTML), "deflate"),
        (zlib.compress(HTML), "gzip"),
        (gzip.compress(HTML[:100]) + gzip.compress(HTML[100:]), "gzip"),
        (gzip.compress(HTML) + b"trailing junk", "gzip"),
        (brotli.compress(gzip.compress(HTML)), "gzip, br"),
        (gzip.compress(gzip.compress(HTML)), "gzip"),  # packed twice and said once
        (gzip.compress(HTML), ""),  # packed and not said
        (HTML, "identity"),
        (HTML, "utf-8"),
        (HTML, "gzip"),  # said and not packed: crawlers unpack, and keep the header
        (HTML, "br"),
        (HTML, "zstd"),
        (HTML, "deflate"),
        (HTML.decode().encode("utf-16"), "gzip"),
        (HTML, "compress"),
    ],
)
def test_bytes_count_more_than_what_is_said_of_them(packed: bytes, header: str):
    found = body(coded(packed, header))
    assert found.data in (HTML, HTML.decode().encode("utf-16"))
    assert not found.flaw


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(CODINGS)), st.binary(max_size=3000))
@example("deflate", b"")
def test_whatever_is_packed_comes_back(coding: str, data: bytes):
    if data.startswith(b"\x1f\x8b\x08"):
        return  # taken for gzip once more, see undo_unannounced_gzip
    assert body(coded(CODINGS[coding](data), coding)).data == data


@pytest.mark.parametrize("coding", CODINGS)
def test_of_a_cut_body_comes_what_can_be_had_and_a_word_on_it(coding: str):
    lines = b"".join(b"<p>line %d %x\n" % (n, n * n * 7919) for n in range(20_000))
    packed = CODINGS[coding](lines)
    found = body(coded(packed[: len(packed) // 2], coding))
    assert lines.startswith(found.data)
    assert len(found.data) > len(lines) / 5
    assert "ends inside" in found.flaw


def test_a_changed_byte_leaves_what_precedes_it():
    lines = b"".join(b"<p>line %d %x\n" % (n, n * n * 7919) for n in range(20_000))
    packed = bytearray(gzip.compress(lines))
    packed[len(packed) // 2] ^= 0xFF
    found = body(coded(bytes(packed), "gzip"))
    assert found.data[: len(lines) // 3] == lines[: len(lines) // 3]
    assert found.flaw.startswith("gzip: ")


@pytest.mark.parametrize("coding", CODINGS)
def test_bombs_are_refused(coding: str):
    bomb = CODINGS[coding](bytes(50_000_000))
    assert refusal(coded(bomb, coding))[0] == "too_large"
    assert refusal(coded(CODINGS["gzip"](bomb), f"{coding}, gzip"))[0] == "too_large"


def test_what_cannot_be_undone_is_refused():
    noise = bytes(range(256)) * 4
    for coding in [*CODINGS, "compress", "sdch"]:
        assert refusal(coded(noise, coding))[0] == "content_encoding"
    assert refusal(coded(HTML, ",".join(["gzip"] * 9)))[0] == "content_encoding"


def test_a_flood_of_empty_members_is_refused():
    flood = gzip.compress(b"") * 100_000
    assert refusal(coded(flood, "gzip"))[0] == "content_encoding"


def chunked(data: bytes, size: int = 100, end: bytes = b"0\r\n\r\n") -> bytes:
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in pieces) + end


@pytest.mark.parametrize("end", [b"0\r\n\r\n", b"0\r\n", b"000\r\nX-Checksum: 1\r\n\r\n", b"0\n\n"])
@pytest.mark.parametrize("is_claimed", [True, False])
def test_chunks_are_joined_whether_announced_or_left_over(end: bytes, is_claimed: bool):
    joined = undo_chunks(chunked(HTML, end=end), is_claimed=is_claimed)
    assert (joined.data, joined.flaw) == (HTML, None)


@pytest.mark.parametrize(
    "data", [HTML, b"", b"0\nis the first line", b"cafe\nau lait\n", b"12\n\n0\nand more"]
)
@pytest.mark.parametrize("is_claimed", [True, False])
def test_what_is_not_chunked_stays_as_it_is(data: bytes, is_claimed: bool):
    assert undo_chunks(data, is_claimed=is_claimed).data == data


def test_cut_chunks_give_what_came():
    extra = "Transfer-Encoding: chunked\r\n"
    found = body(http(chunked(HTML)[:1500], extra=extra))
    assert HTML.startswith(found.data)
    assert len(found.data) > 1300
    assert found.flaw == "the chunks break off"


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n",
        b"HTTP/1.1 200\r\nContent-Type: text/html\r\n\r\n",
        b"HTTP/1.1\t200 OK\nContent-Type: text/html\n\n",
        b"HTTP/2 200\r\ncontent-type: text/html\r\n\r\n",
        b"HTTP/1.0 203 Non-Authoritative Information\r\ncontent-type:text/html\r\n\r\n",
        b"ICY 200 OK\r\nContent-Type: text/html\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: caf\xe9 \xe2\x82\xac\r\nContent-Type:\r\n text/html\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Type: TEXT/HTML\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 206 Part\r\nContent-Type: text/html\r\nContent-Range: bytes 0-9/10\r\n\r\n",
    ],
)
def test_odd_heads_are_read(head: bytes):
    found = body(head + HTML)
    assert (found.media_type, found.data) == ("text/html", HTML)


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        (b"HTTP/1.1 404 Not Found", "404"),
        (b"HTTP/1.1 202 Accepted", "202"),
        (b"HTTP/1.1 206 Part\r\nContent-Range: bytes 0-9/100", "206"),
        (b"HTTP/1.1 206 Part", "206"),
        (b"HTTP/1.1 301 Moved", "301"),
        (b"HTTP/1.1 2000 OK", None),
        (b"<html>", None),
    ],
)
def test_no_successful_answer_is_refused_with_its_status(line: bytes, detail: str | None):
    assert refusal(line + b"\r\n\r\n" + HTML) == ("http_status", detail)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["text/html; charset=utf-8"], ("text/html", "utf-8")),
        (["text/plain", "text/html;charset=gbk"], ("text/html", "gbk")),
        (["text/html;charset=gbk", "text/html"], ("text/html", "gbk")),  # the Fetch standard's
        (["text/html;charset=gbk", "text/html;x=';';charset=utf-8"], ("text/html", "utf-8")),
        (["text/html;charset=gbk", "*/*;charset=utf-8"], ("text/html", "gbk")),
        (["text/html;charset=gbk", "text/plain"], ("text/plain", None)),
        (["text/html", "nonsense"], ("text/html", None)),
    ],
)
def test_of_several_content_types_the_last_that_is_one_counts(values, expected):
    extra = "".join(f"Content-Type: {value}\r\n" for value in values)
    found = body(f"HTTP/1.1 200 OK\r\n{extra}\r\n".encode() + HTML)
    assert (found.media_type, found.charset) == expected


def test_a_body_shorter_than_announced_is_marked_unless_it_was_unpacked():
    length = f"Content-Length: {len(HTML) + 10}\r\n"
    assert body(http(HTML, extra=length)).flaw == f"{len(HTML)} of {len(HTML) + 10} bytes came"
    was_unpacked = length + "Content-Encoding: gzip\r\n"
    assert body(http(HTML, extra=was_unpacked)).flaw is None
    truncated = Headers([("WARC-Truncated", "length")])
    assert body(http(HTML), headers=truncated).flaw == "WARC-Truncated: length"


def test_common_crawls_kept_headers_change_nothing():
    extra = (
        "X-Crawler-Content-Encoding: br\r\nX-Crawler-Transfer-Encoding: chunked\r\n"
        f"X-Crawler-Content-Length: 99\r\nContent-Length: {len(HTML)}\r\n"
    )
    found = body(http(HTML, extra=extra))
    assert (found.data, found.flaw) == (HTML, None)
    assert found.headers.get("x-crawler-content-encoding") == "br"


@pytest.mark.parametrize(
    ("kind", "content_type", "payload", "media_type"),
    [
        ("resource", "text/x-python; charset=latin-1", b"x = 1", "text/x-python"),
        ("resource", "", HTML, "text/html"),
        ("conversion", "text/plain", b"text", "text/plain"),
        ("conversion", "", b"text", "text/plain"),
        ("response", "text/dns", b"a.example. 60 IN A 1.2.3.4", "text/dns"),
        ("resource", "application/http; msgtype=response", http(HTML), "text/html"),
        ("response", "", http(HTML), "text/html"),
    ],
)
def test_other_records_are_what_they_say(kind, content_type, payload, media_type):
    found = body(payload, kind=kind, content_type=content_type)
    assert found.media_type == media_type
    assert payload.endswith(found.data)
