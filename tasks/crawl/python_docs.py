"""The demo's web site: the documentation of this machine's own Python, served over HTTP.

In: the standard library, by an allow-list of modules that are safe to import. Out: a site with an
index, a page a module as the standard library's pydoc renders it, a page a topic of the language
reference, and a robots.txt that forbids a part of it. The same Python gives the same bytes: memory
addresses, paths and the environment are kept out of them, and hashing is not random.

Run it by hand with ``python -m tasks.crawl.python_docs --port 8000``. It ends with its standard
input, so a parent that dies takes it along.
"""

import argparse
import functools
import html
import importlib
import importlib.util
import os
import pkgutil
import pydoc
import re
import subprocess
import sys
import sysconfig
import threading
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from pydoc_data.topics import topics

HOST = "python-docs.demo.invalid"  # .invalid is never a real host (RFC 2606)
BASE_URL = f"http://{HOST}/"
SNAPSHOT = "1970-01-01"  # the site has no date of its own; its identity is the version of Python
# Importing these opens windows or browsers, prints, or installs things; setuptools replaces the
# last with its own, and so it is not the same everywhere.
UNSAFE = frozenset(
    {
        "antigravity",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "test",
        "this",
        "tkinter",
        "turtle",
        "turtledemo",
        "venv",
        "distutils",
    }
)
PROJECT = Path(__file__).parents[2]
ROBOTS_TXT = "User-agent: *\nDisallow: /_\nDisallow: /private/\n"
ADDRESS = re.compile(r"(?: |&nbsp;)at(?: |&nbsp;)0x[0-9a-fA-F]+|, handle [0-9a-f]+")
# Constants that pydoc prints and that tell of this machine and this run, not of Python.
LOCAL_VALUE = re.compile(
    r"<strong>(argv|environb?|executable|meta_path|modules|orig_argv|path|path_hooks|"
    r"path_importer_cache)</strong> = "
    r"[^\n]*?(?=<br>|</td>)"
)
SITE_ENVIRONMENT = {  # nothing of the user's
    "PYTHONHASHSEED": "0",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "HOME": "/home/reader",
    "PATH": "/usr/bin:/bin",
}


@functools.lru_cache
def module_names() -> tuple[str, ...]:
    """Public modules of the standard library, submodules included, without importing any.

    Some may turn out not to be there when imported (``asyncio.windows_events``); the site leaves
    those out.
    """
    found = []
    for name in sorted(sys.stdlib_module_names - UNSAFE):
        spec = None if name.startswith("_") else importlib.util.find_spec(name)
        if spec:
            found += [name, *_submodules(name, list(spec.submodule_search_locations or []))]
    return tuple(found)


def module_page(name: str) -> str | None:
    """The page of one module, or None if this Python has none of that name to show."""
    module = _import(name)
    if module is None:
        return None
    document = pydoc.html.document(module, name)
    return _anonymous(pydoc.html.page(name, document))


def index_page() -> str:
    """The page that links all others."""
    pages = [*_available(), *(f"topics/{name}" for name in sorted(topics))]
    links = "\n".join(f'<li><a href="{name}.html">{name}</a></li>' for name in pages)
    return (
        "<!DOCTYPE html>\n<html><head><title>Python documentation</title></head><body>\n"
        f"<h1>The standard library of Python {html.escape(sys.version.split()[0])}</h1>\n"
        f'<ul>\n{links}\n</ul>\n<p><a href="private/">Notes of the editors</a></p>\n'
        "</body></html>\n"
    )


def topic_page(name: str) -> str | None:
    """A topic of the language reference as a page of paragraphs and code, or None."""
    if name not in topics:
        return None
    blocks = [block for block in topics[name].strip("\n").split("\n\n") if block.strip()]
    body = "\n".join(map(_topic_block, blocks))
    return (
        f"<!DOCTYPE html>\n<html><head><title>{html.escape(name)}</title></head><body>\n"
        f'<p><a href="../index.html">index</a></p>\n<main>\n{body}\n</main>\n</body></html>\n'
    )


def _topic_block(block: str) -> str:
    first, _, rest = block.partition("\n")
    if rest and not rest.strip("*=-^~"):
        return f"<h2>{html.escape(first)}</h2>"
    if block.startswith("   "):  # reStructuredText indents what is literal
        return f"<pre>{html.escape(block)}</pre>"
    return f"<p>{html.escape(block)}</p>"


def site_page(path: str) -> tuple[str, str] | None:
    """The media type and text at ``path``, or None where the site has no page."""
    if path in ("/", "/index.html"):
        return "text/html", index_page()
    if path == "/robots.txt":
        return "text/plain", ROBOTS_TXT
    if path == "/private/":
        return "text/html", "<title>Private</title><p>A polite crawler never reads this.</p>"
    name = path.removeprefix("/").removesuffix(".html")
    if path.startswith("/topics/"):
        page = topic_page(name.removeprefix("topics/"))
        return ("text/html", page) if page else None
    if path == f"/{name}.html" and name in module_names():
        page = module_page(name)
        return ("text/html", page) if page else None
    return None


@contextmanager
def serving() -> Iterator[str]:
    """Serve the site in a child process while the block runs; yields its ``address:port``."""
    module = ["-m", "tasks.crawl.python_docs", "--port", "0", "--until-stdin-closes"]
    child = subprocess.Popen(
        [sys.executable, "-S", *module],  # -S: installed packages may replace standard modules
        cwd=PROJECT,
        env=SITE_ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        address = child.stdout.readline().strip()
        if not address:
            raise RuntimeError(
                "the documentation site did not start; its error is in the log above"
            )
        yield address
    finally:
        child.stdin.close()
        child.terminate()
        child.wait()
        child.stdout.close()


def _submodules(package: str, folders: list[str]) -> Iterator[str]:
    for module in sorted(pkgutil.iter_modules(folders), key=lambda module: module.name):
        if module.name.startswith("_") or module.name in ("test", "tests"):
            continue
        name = f"{package}.{module.name}"
        yield name
        if module.ispkg:
            yield from _submodules(name, [str(Path(f, module.name)) for f in folders])


def _import(name: str) -> types.ModuleType | None:
    try:
        return importlib.import_module(name)
    except Exception:  # whatever a module of another platform raises, it is not on this one
        return None


@functools.lru_cache
def _available() -> tuple[str, ...]:
    """The modules that import here; imports all, so that no page depends on which came first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated modules say so when imported
        return tuple(name for name in module_names() if _import(name))


def _anonymous(page: str) -> str:
    """Take out what differs from run to run and from machine to machine."""
    for folder, name in _local_paths():
        page = page.replace(html.escape(folder), name)
    return ADDRESS.sub("", LOCAL_VALUE.sub(r"<strong>\1</strong>", page))


@functools.lru_cache
def _local_paths() -> tuple[tuple[str, str], ...]:
    """Folders of this machine and what to call them, the longest first."""
    names = {
        sysconfig.get_path("stdlib"): "Lib",
        sysconfig.get_path("platstdlib"): "Lib",
        sysconfig.get_path("purelib"): "site-packages",
        sys.prefix: "Python",
        sys.base_prefix: "Python",
        str(PROJECT): "Project",
    }
    for name, short in list(names.items()):
        names[os.path.realpath(name)] = short
    names.pop("/", None)
    return tuple(sorted(names.items(), key=lambda item: -len(item[0])))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # header and body in one packet: in two, each page waits 40 ms for an ACK

    def do_GET(self) -> None:
        with _RENDERING:
            found = site_page(self.path)
        content_type, text = found or ("text/html", "<title>404</title><p>No such page.</p>")
        body = text.encode("utf-8", errors="replace")
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", f"{content_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing: the crawl has its own log."""


_RENDERING = threading.Lock()  # pydoc and the import system are not asked twice at once


def _end_with_stdin(server: ThreadingHTTPServer) -> None:
    sys.stdin.read()
    server.shutdown()


def main() -> None:
    """Serve on loopback until interrupted, or until standard input closes."""
    parser = argparse.ArgumentParser(description="Serve the documentation of this Python.")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--until-stdin-closes", action="store_true")
    arguments = parser.parse_args()
    with ThreadingHTTPServer(("127.0.0.1", arguments.port), _Handler) as server:
        server.daemon_threads = True
        if arguments.until_stdin_closes:
            threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
        _available()
        print(f"127.0.0.1:{server.server_port}", flush=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
