"""A web site with every trap a crawler meets, on loopback, that counts what it is asked for."""

import gzip
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import brotli
import zstandard

HOST = "site.test"
ROBOTS = "User-agent: *\nDisallow: /secret\n\nUser-agent: other\nDisallow: /\n"
Headers = dict[str, str] | list[tuple[str, str]]
Reply = tuple[int, Headers, bytes | Iterable[bytes]]  # parts are sent one by one, without a length


@dataclass
class Request:
    """What the site was asked, and when; times are of one clock, in seconds."""

    host: str
    path: str
    headers: Mapping[str, str]
    started: float
    ended: float = float("inf")


def html(body: str, head: str = "", **headers: str) -> Reply:
    page = f"<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return 200, {"Content-Type": "text/html; charset=utf-8", **named}, page.encode()


def packed(encoding: str, body: bytes) -> Reply:
    return 200, {"Content-Type": "text/html", "Content-Encoding": encoding}, body


def links(*hrefs: str) -> str:
    return " ".join(f'<a href="{href}">{href}</a>' for href in hrefs)


def sitemap(*paths: str, lastmod: str = "") -> bytes:
    modified = f"<lastmod>{lastmod}</lastmod>" if lastmod else ""
    urls = "".join(f"<url><loc>http://{HOST}{path}</loc>{modified}</url>" for path in paths)
    name = "http://www.sitemaps.org/schemas/sitemap/0.9"
    return f'<?xml version="1.0"?><urlset xmlns="{name}">{urls}</urlset>'.encode()


def sitemap_index(*locations: str) -> bytes:
    maps = "".join(f"<sitemap><loc>{location}</loc></sitemap>" for location in locations)
    return f"<sitemapindex>{maps}</sitemapindex>".encode()


class Site:
    """Pages by path; a page may be a function of how often, or with what, it was asked for."""

    def __init__(self, pages: Mapping[str, Reply | Callable[..., Reply]]) -> None:
        self.pages = dict(pages)
        self.by_host: dict[
            str, dict[str, Reply | Callable[..., Reply]]
        ] = {}  # what one host has beside
        self.below: dict[str, Callable[[str], Reply]] = {}  # pages without end, by prefix
        self.requests: list[Request] = []
        self.address = ""

    @property
    def asked(self) -> Counter[str]:
        return Counter(request.path for request in self.requests)

    @property
    def hosts(self) -> set[str]:
        return {request.host for request in self.requests}

    @property
    def agents(self) -> set[str]:
        return {request.headers["User-Agent"] for request in self.requests}

    def reply(self, request: Request) -> Reply:
        page = self.by_host.get(request.host, self.pages).get(request.path)
        page = page or self.pages.get(request.path)
        if page is None:
            makers = (
                make for prefix, make in self.below.items() if request.path.startswith(prefix)
            )
            return next((make(request.path) for make in makers), (404, {}, b""))
        return page(self.asked[request.path]) if callable(page) else page


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # header and body in one packet

        def do_GET(self) -> None:
            request = Request(self.headers["Host"], self.path, self.headers, time.monotonic())
            site.requests.append(request)
            status, headers, body = site.reply(request)
            named = list(headers.items() if isinstance(headers, dict) else headers)
            validators = {
                ("ETag", self.headers["If-None-Match"]),
                ("Last-Modified", self.headers["If-Modified-Since"]),
            }
            if validators & set(named):
                status, body = 304, b""
            self.send_response(status)
            for name, value in named:
                self.send_header(name, value)
            try:
                self.send_body(body)
            except OSError:  # the crawler had enough
                self.close_connection = True
            request.ended = time.monotonic()

        def send_body(self, body: bytes | Iterable[bytes]) -> None:
            if isinstance(body, bytes):
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            self.close_connection = True
            self.send_header("Connection", "close")
            self.end_headers()
            for part in body:
                self.wfile.write(part)
                self.wfile.flush()

        def log_message(self, *_args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_args: object) -> None:
            """A crawler that hangs up is no error of the site's."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site.address = f"127.0.0.1:{server.server_port}"
        yield site
        server.shutdown()


BOMB = bytes(30_000_000)


def trap_site() -> Site:
    """A site whose index leads to every kind of answer."""

    def slow(_asked: int) -> Reply:
        time.sleep(2.5)
        return html("too late")

    def drip() -> Iterator[bytes]:
        while True:
            yield b"<p>"
            time.sleep(0.05)

    def flood() -> Iterator[bytes]:
        while True:
            yield b"<p>more</p>" * 6_000

    def busy_once(asked: int) -> Reply:
        return (429, {"Retry-After": "0"}, b"") if asked == 1 else html("patience")

    page_type = {"Content-Type": "text/html"}
    pages: dict[str, Reply | Callable[[int], Reply]] = {
        "/robots.txt": (200, {"Content-Type": "text/plain"}, ROBOTS.encode()),
        "/.well-known/tdmrep.json": (
            200,
            {"Content-Type": "application/json"},
            b'[{"location": "/mine/open", "tdm-reservation": 0},'
            b' {"location": "/mine/*", "tdm-reservation": 1}]',
        ),
        "/page.html": html("<p>Grüße</p>"),
        "/moved": (301, {"Location": "/arrived"}, b""),
        "/arrived": html("here"),
        "/loop": (302, {"Location": "/loop2"}, b""),
        "/loop2": (302, {"Location": "/loop"}, b""),
        "/to-private": (302, {"Location": "http://10.0.0.1/metadata"}, b""),
        "/to-nowhere": (302, {"Location": "ftp://site.test/"}, b""),
        "/huge": (200, page_type, b"x" * 300_000),
        "/endless": lambda _: (200, page_type, flood()),
        "/drip": lambda _: (200, page_type, drip()),
        "/bomb-gzip": packed("gzip", gzip.compress(BOMB)),
        "/bomb-deflate": packed("deflate", zlib.compress(BOMB)),
        "/bomb-br": packed("br", brotli.compress(BOMB, quality=3)),
        "/bomb-zstd": packed("zstd", zstandard.compress(BOMB)),
        "/bomb-twice": packed("gzip, gzip", gzip.compress(gzip.compress(BOMB))),
        "/layers": packed("gzip, gzip, gzip", gzip.compress(b"x")),
        "/unpackable": packed("gzip", b"<p>said to be packed</p>"),
        "/cut": packed("gzip", gzip.compress(bytes(range(256)) * 9)[:-40]),
        "/unknown": packed("snappy", b"?"),
        "/many-headers": (200, [(f"X-{n}", "y") for n in range(1_000)], b""),
        "/busy": busy_once,
        "/never": (503, {"Retry-After": "9999"}, b""),
        "/slow": slow,
        "/picture": (200, {"Content-Type": "image/png"}, b"\x89PNG"),
        "/deep/base": html(links("child", "?q=2&q=1"), head='<base href="/other/">'),
        "/other/child": html("child"),
        "/other/?q=2&q=1": html("query"),
        "/plain": (200, {"Content-Type": "text/plain"}, b'<a href="/from-plain">x</a>'),
        "/noindex": html(links("/behind-noindex"), head='<meta name="robots" content="noindex">'),
        "/behind-noindex": html("kept"),
        "/nofollow": html(links("/behind-nofollow"), head="<META NAME=ROBOTS CONTENT=nofollow>"),
        "/noai": html("", X_Robots_Tag="max-snippet: 5, noai, noimageai"),
        "/noai-meta": html("", head='<meta name="robots" content="noimageai, noai">'),
        "/noai-to-us": html("", head='<meta name="BloomeryBot" content="noai">'),
        "/noimageai": html("only pictures are reserved", X_Robots_Tag="noimageai"),
        "/to-others": (
            200,
            [("X-Robots-Tag", "otherbot: noindex, noai"), *page_type.items()],
            b"only others are kept out",
        ),
        "/two-headers": (
            200,
            [("X-Robots-Tag", "otherbot: noindex"), ("X-Robots-Tag", "noai"), *page_type.items()],
            b"",
        ),
        "/tdm": html("", TDM_Reservation="1", TDM_Policy="https://site.test/policy.json"),
        "/tdm-meta": html("", head='<meta name="tdm-reservation" content="1">'),
        "/tdm-not": html("not reserved", TDM_Reservation="0"),
        "/mine/gold": html("reserved by the site"),
        "/mine/open": html("open"),
        "/print": html("<p>Grüße</p>", head='<link rel="canonical" href="/page.html">'),
        "/amp": html("x", Link='<http://site.test/page.html>; rel="canonical"'),
        "/syndicated": html("y", head='<link rel="canonical" href="http://elsewhere.test/">'),
        "/template": html("z", head='<link rel="canonical" href="/">'),
        "/packed-gzip": packed("gzip", gzip.compress(b"<p>unpacked</p>")),
        "/packed-deflate": packed("deflate", zlib.compress(b"<p>unpacked</p>")),
        "/packed-br": packed("br", brotli.compress(b"<p>unpacked</p>")),
        "/packed-zstd": packed("zstd", zstandard.compress(b"<p>unpacked</p>")),
    }
    elsewhere = ("http://elsewhere.test/", "http://127.0.0.1:9/", "mailto:a@b.test", "/gone")
    traps = ("/secret/plan", "/hop/1", "/calendar/1", "/again/", "/search?q=1", "/shop?PHPSESSID=0")
    spellings = ("page.html", "/page.html#part", "http://SITE.test:80/page.html?utm_source=a")
    reached = ("/arrived", "/loop2", "/other/child", "/other/?q=2&q=1", "/behind-noindex")
    listed = [path for path in pages if path not in (*reached, "/robots.txt")]
    listed.remove("/.well-known/tdmrep.json")
    long_query = "/find?" + "&".join(f"key{n}=value" for n in range(20))
    site = Site(pages)
    site.pages["/"] = html(
        links(*spellings, *listed, *traps, *elsewhere, long_query)
        + '<a rel="nofollow" href="/sold">ad</a> <!-- <a href="/commented">x</a> -->'
    )
    site.below = {
        "/hop/": lambda path: (302, {"Location": f"/hop/{number(path) + 1}"}, b""),
        "/calendar/": lambda path: html(
            links(*(f"/calendar/{number(path) + step}" for step in (1, 7, 30, 365)))
        ),
        "/again/": lambda path: html(links("again/")),
        "/search": lambda path: html(
            links(*(f"/search?q={10 * number(path) + n}" for n in range(10)))
        ),
        "/shop": lambda path: html(
            links(f"/shop?PHPSESSID={number(path) + 1}", f"/shop;jsessionid={number(path)}")
        ),
    }
    return site


def number(path: str) -> int:
    """The number with which a path ends, 0 if it has none."""
    digits = path[len(path.rstrip("0123456789")) :]
    return int(digits or 0)


def numbered_site(num_pages: int, pause_seconds: float = 0.0) -> Site:
    """An index and ``num_pages`` plain pages, each answered after a pause."""

    def page(number: int) -> Callable[[int], Reply]:
        def reply(_asked: int) -> Reply:
            time.sleep(pause_seconds * (1 + number % 3))  # so that answers come out of order
            return html(f"<p>page {number}</p>" + links("/"))

        return reply

    pages: dict[str, Reply | Callable[[int], Reply]] = {
        f"/{number}": page(number) for number in range(num_pages)
    }
    pages["/"] = html(links(*pages))
    return Site(pages)
