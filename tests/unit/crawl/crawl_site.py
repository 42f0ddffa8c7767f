"""A web site with every trap a crawler meets, on loopback, that counts what it is asked for."""

import gzip
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST = "site.test"
ROBOTS = "User-agent: *\nDisallow: /secret\n\nUser-agent: other\nDisallow: /\n"
Reply = tuple[int, dict[str, str], bytes]


def html(body: str, head: str = "") -> Reply:
    page = f"<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>"
    return 200, {"Content-Type": "text/html; charset=utf-8"}, page.encode()


def links(*hrefs: str) -> str:
    return " ".join(f'<a href="{href}">{href}</a>' for href in hrefs)


class Site:
    """Pages by path; a page may be a function of how often it was asked for."""

    def __init__(self, pages: dict[str, Reply | Callable[[int], Reply]]) -> None:
        self.pages = pages
        self.asked: Counter[str] = Counter()
        self.hosts: set[str] = set()
        self.agents: set[str] = set()
        self.address = ""

    def reply(self, path: str) -> Reply:
        self.asked[path] += 1
        page = self.pages.get(path, (404, {}, b""))
        return page(self.asked[path]) if callable(page) else page


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # header and body in one packet

        def do_GET(self) -> None:
            site.hosts.add(self.headers["Host"])
            site.agents.add(self.headers["User-Agent"])
            status, headers, body = site.reply(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body)
            except OSError:  # the crawler had enough
                self.close_connection = True

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        site.address = f"127.0.0.1:{server.server_port}"
        yield site
        server.shutdown()


def trap_site() -> Site:
    """A site whose index leads to every kind of answer."""

    def slow(_asked: int) -> Reply:
        time.sleep(2.5)
        return html("too late")

    def busy_once(asked: int) -> Reply:
        return (429, {"Retry-After": "0"}, b"") if asked == 1 else html("patience")

    def calendar(asked: int) -> Reply:
        return html(links("/day/1"))

    pages: dict[str, Reply | Callable[[int], Reply]] = {
        "/robots.txt": (200, {"Content-Type": "text/plain"}, ROBOTS.encode()),
        "/": html(
            links(
                "page.html",
                "/page.html#part",
                "http://SITE.test:80/page.html",
                "/secret/plan",
                "/moved",
                "/loop",
                "/to-private",
                "/huge",
                "/bomb",
                "/busy",
                "/never",
                "/slow",
                "/picture",
                "/deep/base",
                "/plain",
                "/noindex",
                "/nofollow",
                "/packed",
                "http://elsewhere.test/",
                "http://127.0.0.1:9/",
                "mailto:a@b.test",
                "/gone",
            )
            + '<a rel="nofollow" href="/sold">ad</a> <!-- <a href="/commented">x</a> -->'
        ),
        "/page.html": html("<p>Grüße</p>"),
        "/moved": (301, {"Location": "/arrived"}, b""),
        "/arrived": html("here"),
        "/loop": (302, {"Location": "/loop2"}, b""),
        "/loop2": (302, {"Location": "/loop"}, b""),
        "/to-private": (302, {"Location": "http://10.0.0.1/metadata"}, b""),
        "/huge": (200, {"Content-Type": "text/html"}, b"x" * 300_000),
        "/bomb": (
            200,
            {"Content-Type": "text/html", "Content-Encoding": "gzip"},
            gzip.compress(bytes(30_000_000)),
        ),
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
        "/packed": (
            200,
            {"Content-Type": "text/html", "Content-Encoding": "gzip"},
            gzip.compress(b"<p>unpacked</p>"),
        ),
    }
    return Site(pages)


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
