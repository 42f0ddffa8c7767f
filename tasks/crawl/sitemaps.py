"""Sitemaps: the pages that a site says it has (sitemaps.org, protocol 0.9).

Pure: a file's bytes in, its URLs out. XML is read as a stream; a file that declares entities or has
a document type is refused, so that nothing in it is expanded or fetched. Plain lists of URLs are
read too.
"""

from dataclasses import dataclass, field
from xml.parsers import expat

from tasks.crawl.unpack import GZIP_MAGIC, BadEncodingError, gunzip

MAX_FILE_BYTES = 50 * 1024 * 1024  # the protocol's own limit, unpacked
MAX_FILES_PER_ORIGIN = 50
MAX_NESTING = 2  # the protocol allows an index of sitemaps; some sites have an index of those
MAX_LOCATION_CHARS = 2_048
MAX_DEPTH = 32
MAX_ELEMENTS_PER_URL = 40  # an entry may list images and languages; a flood of tags is cut off


@dataclass(frozen=True)
class Sitemap:
    """The entries of one sitemap file.

    Args:
        pages: URLs as written, each with its last modification as written (empty if none).
        sitemaps: URLs of further sitemap files.
        refusal: why the file was not read to its end, if so; what came before is kept.
    """

    pages: list[tuple[str, str]] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)
    refusal: str | None = None


def read_sitemap(body: bytes, max_urls: int) -> Sitemap:
    """Read at most ``max_urls`` entries of a sitemap file, packed or not."""
    if body.startswith(GZIP_MAGIC):
        try:
            body = gunzip(body, MAX_FILE_BYTES + 1)
        except BadEncodingError:
            return Sitemap(refusal="content_encoding")
    if len(body) > MAX_FILE_BYTES:
        return Sitemap(refusal="too_large")
    if not body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        lines = body.decode("utf-8-sig", "replace").splitlines()
        urls = [line.strip() for line in lines if line.strip().startswith(("http://", "https://"))]
        return Sitemap([(url, "") for url in urls[:max_urls]])
    return _Reader(max_urls).read(body)


class _RefusedError(Exception):
    pass


class _Reader:
    """Takes ``loc`` and ``lastmod`` out of ``url`` and ``sitemap`` elements, by local name."""

    def __init__(self, max_urls: int) -> None:
        self._max_urls = max_urls
        self._found = Sitemap()
        self._elements_left = 1000 + MAX_ELEMENTS_PER_URL * max_urls
        self._path: list[str] = []
        self._entry: dict[str, str] = {}

    def read(self, body: bytes) -> Sitemap:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        refusal = None
        try:
            parser.Parse(body, True)
        except _RefusedError as error:
            refusal = str(error)
        except (expat.ExpatError, ValueError, LookupError):  # an encoding that does not exist
            refusal = "bad_xml"
        return Sitemap(self._found.pages, self._found.sitemaps, refusal)

    def _refuse_doctype(self, *_declaration: object) -> None:
        raise _RefusedError("doctype")  # where entities are declared; no sitemap needs one

    def _start(self, name: str, _attributes: object) -> None:
        self._elements_left -= 1
        if len(self._path) >= MAX_DEPTH or self._elements_left < 0:
            raise _RefusedError("nesting")
        self._path.append(name.rpartition(" ")[2].lower())
        if len(self._path) == 2:
            self._entry = {}

    def _text(self, text: str) -> None:
        if len(self._path) == 3 and self._path[2] in ("loc", "lastmod"):
            before = self._entry.get(self._path[2], "")
            if len(before) <= MAX_LOCATION_CHARS:
                self._entry[self._path[2]] = before + text

    def _end(self, _name: str) -> None:
        kind = self._path.pop()
        if len(self._path) != 1:
            return
        location = self._entry.get("loc", "").strip()
        if not location or len(location) > MAX_LOCATION_CHARS:
            return
        if len(self._found.pages) + len(self._found.sitemaps) >= self._max_urls:
            raise _RefusedError("too_many_urls")
        if kind == "url":
            self._found.pages.append((location, self._entry.get("lastmod", "").strip()))
        elif kind == "sitemap":
            self._found.sitemaps.append(location)
