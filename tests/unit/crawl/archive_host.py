"""A small crawl of Common Crawl's shape, and a data host on loopback that serves it with faults.

The archives are written, and their records located, by warcio, so that what the source makes of
them is compared with somebody else's reading. The URL index has the columns and types of the real
one (cc-index-schema-flat.json) and its order, by reversed host name.
"""

import gzip
import hashlib
import io
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from warcio.archiveiterator import ArchiveIterator
from warcio.warcwriter import WARCWriter

CRAWL_ID = "CC-MAIN-2026-43"
SEGMENT = "1760000000000.1"
WARC_FOLDER = f"crawl-data/{CRAWL_ID}/segments/{SEGMENT}"

_STRINGS = (
    "url_surtkey",
    "url",
    "url_host_name",
    "url_host_tld",
    "url_host_2nd_last_part",
    "url_host_3rd_last_part",
    "url_host_4th_last_part",
    "url_host_5th_last_part",
    "url_host_registry_suffix",
    "url_host_registered_domain",
    "url_host_private_suffix",
    "url_host_private_domain",
    "url_host_name_reversed",
    "url_protocol",
    "url_path",
    "url_query",
    "fetch_redirect",
    "content_digest",
    "content_mime_type",
    "content_mime_detected",
    "content_charset",
    "content_languages",
    "content_truncated",
    "warc_filename",
    "warc_segment",
)
INDEX_SCHEMA = pa.schema(
    [(name, pa.string()) for name in _STRINGS]
    + [
        ("url_port", pa.int32()),
        ("fetch_time", pa.timestamp("ms", "UTC")),
        ("fetch_status", pa.int16()),
        ("warc_record_offset", pa.int32()),
        ("warc_record_length", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Page:
    """What a page of the crawl is; ``archive`` says in which file it lies."""

    url: str
    archive: int
    languages: str | None = "eng"
    status: int = 200
    mime: str | None = "text/html"

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def domain(self) -> str | None:
        return None if self.is_address else ".".join(self.host.split(".")[-2:])

    @property
    def is_address(self) -> bool:
        return self.host.replace(".", "").isdigit()


def sample_pages() -> list[Page]:
    """Pages of many hosts, in three archives: neighbours of one site, and strangers between."""
    languages = ["eng", "deu", "deu,eng", "eng,deu", "fra", None]
    pages = [
        Page(f"https://{sub}{name}.{tld}/{n}?q=ä", n % 3, languages[n % 6])
        for tld in ("com", "de", "org")
        for name in ("alpha", "beta", "alpha-beta")
        for sub in ("", "www.", "docs.")
        for n in range(6)
    ]
    pages.append(Page("https://alpha.com/paper.pdf", 0, mime="application/pdf"))
    pages.append(Page("https://alpha.com/gone", 1, None, status=404))
    pages.append(Page("http://192.0.2.7/page", 2))
    return pages


@dataclass(frozen=True)
class Located:
    """A page and where warcio finds its record."""

    page: Page
    path: str
    offset: int
    length: int


def build_crawl(root: Path, pages: Sequence[Page], row_group_size: int = 20) -> list[Located]:
    """Write archives, listings and index below ``root``; return where each page is."""
    located = []
    paths: dict[str, list[str]] = {"warc": [], "wet": [], "wat": []}
    for number in sorted({page.archive for page in pages}):
        for kind, suffix in (("warc", ""), ("wet", ".wet"), ("wat", ".wat")):
            own = [page for page in pages if page.archive == number]
            path = f"{WARC_FOLDER}/{kind}/CC-MAIN-20261021000000-{number:05d}.warc{suffix}.gz"
            data = _archive(own, kind)
            write(root / path, data)
            paths[kind].append(path)
            if kind == "warc":
                located += locate(path, data, {page.url: page for page in own})
    for kind, found in paths.items():
        write_listing(root, f"{kind}.paths.gz", found)
    write_index(root, located, row_group_size)
    return located


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_listing(root: Path, name: str, paths: Sequence[str]) -> None:
    lines = "".join(f"{path}\n" for path in paths)
    write(root / "crawl-data" / CRAWL_ID / name, gzip.compress(lines.encode(), mtime=0))


def locate(path: str, data: bytes, pages: dict[str, Page]) -> list[Located]:
    """Where warcio finds the responses for ``pages`` in an archive."""
    found = []
    records = ArchiveIterator(io.BytesIO(data))
    for record in records:
        url = record.rec_headers.get_header("WARC-Target-URI")
        if record.rec_type == "response" and url in pages:
            records.read_to_end(record)
            at = (records.get_record_offset(), records.get_record_length())
            found.append(Located(pages[url], path, *at))
    return found


def write_index(root: Path, located: Sequence[Located], row_group_size: int = 20) -> None:
    """Two files of good pages in the index's order, one of the others, one of robots.txt files."""
    good = [row(one) for one in located if one.page.status == 200]
    bad = [row(one) for one in located if one.page.status != 200]
    good.sort(key=lambda one: (one["url_host_name_reversed"] or "", one["url_surtkey"]))
    half = len(good) // 2
    files = [("warc", 0, good[:half]), ("warc", 1, good[half:])]
    files += [("crawldiagnostics", 0, bad), ("robotstxt", 0, bad)]
    paths = []
    for subset, number, rows in files:
        path = (
            f"cc-index/table/cc-main/warc/crawl={CRAWL_ID}/subset={subset}/"
            f"part-{number:05d}-0a1b.c000.gz.parquet"
        )
        paths.append(path)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(rows, INDEX_SCHEMA)
        pq.write_table(table, root / path, compression="gzip", row_group_size=row_group_size)
    write_listing(root, "cc-index-table.paths.gz", paths)


def row(one: Located) -> dict[str, object]:
    """A line of the URL index."""
    page, parts = one.page, urlsplit(one.page.url)
    labels = page.host.split(".")
    return {
        "url_surtkey": f"{','.join(reversed(labels))}){parts.path}",
        "url": page.url,
        "url_host_name": page.host,
        "url_host_tld": None if page.is_address else labels[-1],
        "url_host_registered_domain": page.domain,
        "url_host_name_reversed": None if page.is_address else ".".join(reversed(labels)),
        "url_protocol": parts.scheme,
        "url_path": parts.path,
        "url_query": parts.query,
        "fetch_time": datetime(2026, 10, 21, 12, 30, 15, tzinfo=UTC),
        "fetch_status": page.status,
        "content_digest": hashlib.sha1(page.url.encode()).hexdigest(),
        "content_mime_type": page.mime,
        "content_mime_detected": page.mime,
        "content_languages": page.languages,
        "warc_filename": one.path,
        "warc_record_offset": one.offset,
        "warc_record_length": one.length,
        "warc_segment": SEGMENT,
    }


def text_of(page: Page) -> str:
    """Text that packs badly and differs from page to page."""
    digests = [hashlib.sha256(f"{page.url}{n}".encode()).hexdigest() for n in range(40)]
    return f"<html><title>{page.url}</title><p>" + "</p><p>".join(digests) + "</p></html>"


def _archive(pages: Sequence[Page], kind: str) -> bytes:
    """An archive as Common Crawl writes it: request, response and metadata of each page."""
    out = io.BytesIO()
    writer = WARCWriter(out, gzip=True)
    info = writer.create_warcinfo_record("CC.warc.gz", {"isPartOf": CRAWL_ID})
    writer.write_record(info)
    for page in pages:
        head = f"HTTP/1.1 {page.status} X\r\nContent-Type: {page.mime or 'text/html'}\r\n\r\n"
        bodies = {
            "warc": [("request", b"GET / HTTP/1.1\r\n\r\n"), ("response", head + text_of(page))],
            "wet": [("conversion", text_of(page))],
            "wat": [("metadata", '{"Envelope":{"Payload-Metadata":{}}}')],
        }[kind]
        if kind == "warc":
            bodies.append(("metadata", b"fetchTimeMs: 12\r\n"))
        for record_type, body in bodies:
            content = body.encode() if isinstance(body, str) else body
            record = writer.create_warc_record(
                page.url,
                record_type,
                payload=io.BytesIO(content),
                warc_content_type="application/json" if kind == "wat" else "application/http",
            )
            writer.write_record(record)
    return out.getvalue()


@dataclass(frozen=True)
class Fault:
    """What the host does instead of answering, or with the answer after ``after_bytes`` of it."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    after_bytes: int | None = None
    pause_seconds: float = 0.0  # between two pieces of the body


@dataclass(frozen=True)
class Asked:
    """A request that reached the host."""

    path: str
    range: str | None
    agent: str
    at: float


class ArchiveHost:
    """Serves files below ``root``; ``faults`` come first, in order, for their path."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: dict[str, list[Fault]] = {}
        self.serves_ranges = True
        self.asked: list[Asked] = []
        self.sent: Counter[str] = Counter()  # bytes of bodies by path
        self.num_connections = self.most_connections = 0
        self.lock = threading.Lock()
        self.url = ""

    def num_asked(self, path: str) -> int:
        return sum(asked.path == path for asked in self.asked)

    def next_fault(self, path: str) -> Fault | None:
        with self.lock:
            waiting = self.faults.get(path)
            return waiting.pop(0) if waiting else None


@contextmanager
def hosting(root: Path) -> Iterator[ArchiveHost]:
    host = ArchiveHost(root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # header and body in one packet

        def setup(self) -> None:
            super().setup()
            with host.lock:
                host.num_connections += 1
                host.most_connections = max(host.most_connections, host.num_connections)

        def finish(self) -> None:
            with host.lock:
                host.num_connections -= 1
            super().finish()

        def do_GET(self) -> None:
            path = unquote(self.path).lstrip("/")
            with host.lock:
                asked = Asked(path, self.headers["Range"], self.headers["User-Agent"], time.time())
                host.asked.append(asked)
            try:
                self._answer(path)
            except OSError:  # the reader went away
                self.close_connection = True

        def _answer(self, path: str) -> None:
            fault = host.next_fault(path)
            if fault and fault.status:
                return self._head(fault.status, fault.headers, b"busy")
            file = host.root / path
            if not file.is_file():
                return self._head(404, {}, b"<Error/>")
            data = file.read_bytes()
            tag = f'"{hashlib.md5(data).hexdigest()}"'
            start, stop = self._range(len(data))
            if start >= stop:
                return self._head(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
            is_part = host.serves_ranges and "Range" in self.headers
            headers = {"ETag": tag}
            if is_part:
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
                data = data[start:stop]
            return self._head(206 if is_part else 200, headers, data, fault)

        def _range(self, size: int) -> tuple[int, int]:
            if not host.serves_ranges:
                return 0, size
            first, last = re.fullmatch(
                r"bytes=(\d*)-(\d*)", self.headers.get("Range", "bytes=0-")
            ).groups()
            if not first:
                return max(0, size - int(last)), size
            return int(first), min(size, int(last) + 1) if last else size

        def _head(
            self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            after = fault.after_bytes if fault else None
            rest = body if after is None else body[:after]
            step = 4096 if fault and fault.pause_seconds else max(1, len(rest))
            for at in range(0, len(rest), step):
                self.wfile.write(rest[at : at + step])
                self.wfile.flush()
                with host.lock:
                    host.sent[unquote(self.path).lstrip("/")] += len(rest[at : at + step])
                if fault and fault.pause_seconds:
                    time.sleep(fault.pause_seconds)
            if after is not None:
                self.close_connection = True

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        host.url = f"http://127.0.0.1:{server.server_port}/"
        yield host
        server.shutdown()
