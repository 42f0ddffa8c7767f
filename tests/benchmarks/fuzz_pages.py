"""Mutated pages: each gets a text that can be written, or a reason, within its time.

A case is named by a seed and a number. It takes a real page, or a made one, and changes its bytes,
its markup, or what its headers say of it; now and then it builds one of the shapes on which parsers
hang.
"""

import gzip
import random
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import brotli
import zstandard

from tasks.extract.archive import read_archive
from tasks.extract.records import Record
from tests.benchmarks.mutations import mutate
from tests.unit.extract.archive_fixtures import PROSE, http

MAX_PAGE_BYTES = 1 << 20
CHARSETS = (
    "utf-8",
    "windows-1251",
    "shift_jis",
    "utf-16",
    "utf-7",
    "gb18030",
    "x-user-defined",
    "",
)
TAGS = [
    "div",
    "p",
    "span",
    "a",
    "table",
    "tr",
    "td",
    "ul",
    "li",
    "pre",
    "code",
    "script",
    "style",
    "template",
    "svg",
    "math",
    "select",
    "option",
    "textarea",
    "form",
    "button",
    "iframe",
    "noscript",
    "title",
    "head",
    "body",
    "html",
    "frameset",
    "b",
    "i",
    "font",
    "center",
    "nav",
    "article",
    "plaintext",
]
NOISE = (
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "&#xD800;",
    "&#0;",
    "&lt",
    "\0",
    "<?x",
    "</",
    "<",
    '"',
    "'",
)


def made_page() -> bytes:
    body = "".join(
        f"<h2>Part {n}</h2><p>{PROSE}<a href=/{n}>more</a></p><ul><li>one<li>two</ul>"
        f"<table><tr><td>{n}<td>x</table><pre>def f():\n    return {n}</pre>"
        for n in range(8)
    )
    return (
        f"<!doctype html><html><title>T</title><body><nav>Home</nav>{body}</body></html>".encode()
    )


@cache
def pages_of(folder: Path | None) -> list[bytes]:
    """The HTTP payloads of the pages below a folder."""
    if folder is None:
        return [http(made_page())]
    found = [
        one.payload
        for path in sorted(folder.rglob("*.warc*.gz"))
        for one in read_archive(path)
        if isinstance(one, Record) and one.type == "response"
    ]
    if not found:
        raise ValueError(f"no pages in *.warc*.gz below {folder}; name a folder of archives")
    return [one for one in found if len(one) <= MAX_PAGE_BYTES]


def soup(body: bytes, rng: random.Random) -> bytes:
    """Tags and bits of markup thrown in and taken out."""
    pieces = body.split(b"<")
    for _ in range(rng.randint(1, 200)):
        at = rng.randrange(len(pieces))
        tag = rng.choice(TAGS)
        thrown = rng.choice([f"{tag}>", f"/{tag}>", f"{tag} ", rng.choice(NOISE)]).encode()
        pieces[at : at + rng.randint(0, 2)] = [thrown]
    return b"<".join(pieces)


def nesting(body: bytes, rng: random.Random) -> bytes:
    """A page at the bottom of a deep well."""
    tag = rng.choice(TAGS).encode()
    depth = 10 ** rng.randint(2, 5)
    return b"<%s>" % tag * depth + body + b"</%s>" % tag * rng.choice([0, depth])


def attributes(body: bytes, rng: random.Random) -> bytes:
    """One tag with very many or very long attributes."""
    num = 10 ** rng.randint(2, 5)
    many = b" ".join(b"a%d=%d" % (n, n) for n in range(num))
    long = b'a="' + b"x" * 10 * num + b'"'
    return b"<p " + rng.choice([many, long]) + b">" + body


def repetition(body: bytes, rng: random.Random) -> bytes:
    """A table, a list or a text of great length."""
    unit = rng.choice(
        [b"<p>", b"<tr><td>x<td>y", b"<li>x", b"<br>", b"&amp;", b"a ", b"<b>", b"<a>"]
    )
    return b"<table>" + unit * (10 ** rng.randint(2, 5)) + body


def noise(body: bytes, rng: random.Random) -> bytes:
    """No page at all."""
    return rng.randbytes(rng.randint(0, 1 << 16))


def some_bytes(body: bytes, rng: random.Random) -> bytes:
    """A few of the mutations that know no markup."""
    for _ in range(rng.randint(1, 8)):
        body = mutate(body, rng).data if body else body
    return body


def charset_lie(body: bytes, rng: random.Random) -> bytes:
    """A page in one charset that says that it is in another."""
    text = body.decode("utf-8", "replace")
    meta = f"<meta charset={rng.choice(CHARSETS)}>"
    charset = rng.choice([one for one in CHARSETS if one and one != "x-user-defined"])
    return (meta + text).encode(charset, "replace")


BODY_MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    soup,
    soup,
    some_bytes,
    some_bytes,
    charset_lie,
    nesting,
    attributes,
    repetition,
    noise,
)
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=1),
    "zstd": zstandard.compress,
}


def _packed(body: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The body in a content coding, announced truly, falsely or not; cut or changed sometimes."""
    coding = rng.choice(list(PACKINGS))
    data = PACKINGS[coding](body)
    if rng.random() < 0.5:
        data = mutate(data, rng).data
    said = rng.choice([coding, coding, coding, rng.choice(list(PACKINGS)), "identity"])
    return f"Content-Encoding: {said}\r\n", data


def make_case(folder: Path | None, seed: int, number: int) -> tuple[str, Record]:
    """A name for what was done, and the record to extract."""
    rng = random.Random(f"{seed}:{number}")
    payload = rng.choice(pages_of(folder))
    _, _, body = payload.partition(b"\r\n\r\n")
    mutation = rng.choice(BODY_MUTATIONS)
    body, extra, name = mutation(body, rng), "", mutation.__name__
    if rng.random() < 0.1:
        extra, body = _packed(body, rng)
        name += ", packed"
    if rng.random() < 0.1:
        extra += "Transfer-Encoding: chunked\r\n"
    payload = http(body, f"text/html; charset={rng.choice(CHARSETS)}", extra=extra)
    if rng.random() < 0.05:
        payload, name = mutate(payload, rng).data, f"{name}, HTTP"
    record = Record(
        type="response",
        url=f"https://fuzz.invalid/{seed}/{number}",
        record_id=f"<urn:fuzz:{seed}:{number}>",
        date=None,
        content_type="application/http; msgtype=response",
        payload=payload,
    )
    return name, record
