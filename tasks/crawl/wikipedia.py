"""Wiki dumps as sources: the XML that MediaWiki exports, plain or packed, whole or in parts.

In: a file of ``<page>`` elements. Out: an item a page, its body the wikitext, with title, address,
revision, language and licence. A multistream dump is cut at its bzip2 streams, which the workers
unpack side by side; any other is unpacked here and handed to them in blocks. No page is ever parsed
together with the file's head, so that an entity that a file declares stands for nothing.
"""

import bz2
import html
import mmap
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from tasks.crawl.config import SourceConfig
from tasks.crawl.item import BLOCK_BYTES, Bad, Block, Item, file_url, utc_time
from tasks.crawl.packed import Unpacked, is_damage

# Dumps come whole (…-pages-articles.xml.bz2) or in parts (…-multistream1.xml-p1p41242.bz2).
DUMP_NAME = re.compile(r"\.xml(-p\d+p\d+)?(\.(gz|bz2|xz|zst))?$", re.I)
STREAM_START = b"BZh91AY&SY"  # a bzip2 stream at the usual level, and its first block
MAX_STREAM_BYTES = 16 * 1024 * 1024  # a file of longer streams is no multistream dump
PACKED_BLOCK_BYTES = BLOCK_BYTES // 4
MAX_PAGE_BYTES = 64 * 1024 * 1024  # of XML; a longer page is a whole history of revisions
MAX_HEAD_BYTES = 1 << 20
PIECE_BYTES = 1 << 18
WIKITEXT = "text/x-wiki"
PAGE, PAGE_END = b"<page>", b"</page>"
FILE_NAMESPACES = ("-2", "6", "14")  # media, files and categories: links to these are no text
UNQUOTED = ";@$!*(),/~:'"
# Whose text is under this licence; other wikis' owners say what theirs is, by ``licence``.
CC_BY_SA_4_SITES = (
    "wikipedia.org",
    "wiktionary.org",
    "wikibooks.org",
    "wikiquote.org",
    "wikisource.org",
    "wikiversity.org",
    "wikivoyage.org",
)


@dataclass(frozen=True, slots=True)
class Site:
    """What a dump's head says about its wiki.

    Args:
        base: what page addresses begin with; empty if unknown.
        language: as the dump names it.
        hidden_namespaces: the wiki's own names for files and categories.
    """

    base: str = ""
    language: str = ""
    hidden_namespaces: tuple[str, ...] = ()

    @classmethod
    def read(cls, head: str) -> "Site":
        """Find what is known in the text above the first page; no XML is parsed."""
        base = re.search(r"<base>\s*(https?://[^<\s]+/)[^</\s]*\s*</base>", head)
        language = re.search(r'<mediawiki\b[^>]*\bxml:lang="([^"]*)"', head)
        names = re.findall(r'<namespace key="(-?\d+)"[^>]*>([^<]*)</namespace>', head)
        return cls(
            base=html.unescape(base[1]) if base else "",
            language=language[1] if language else "",
            hidden_namespaces=tuple(html.unescape(n) for key, n in names if key in FILE_NAMESPACES),
        )

    @property
    def licence(self) -> str | None:
        """The licence of its texts, where it is known from its address."""
        host = urlsplit(self.base).hostname or ""
        known = any(host.endswith(f".{site}") or host == site for site in CC_BY_SA_4_SITES)
        return "CC-BY-SA-4.0" if known else None


def is_wiki_dump(name: str, path: Path) -> bool:
    """Whether a file is a MediaWiki export, by its name and its first bytes."""
    if not DUMP_NAME.search(name):
        return False
    return b"<mediawiki" in next(iter(Unpacked(path)), b"")[:4096]


def wiki_blocks(name: str, path: Path, config: SourceConfig) -> Iterator[Block]:
    """Cut a dump into runs of streams, or of pages."""
    site = Site.read(_head(path))
    streams = _stream_starts(path) if name.lower().endswith(".bz2") else []
    if len(streams) > 1 and _are_short(streams, path.stat().st_size):
        yield from _stream_blocks(name, path, site, streams)
    else:
        yield from _page_blocks(path, site, f"{file_url(config, name)}#page")


def _head(path: Path) -> str:
    head = b""
    for piece in Unpacked(path):
        head += piece
        if PAGE in head or b"</siteinfo>" in head or len(head) > MAX_HEAD_BYTES:
            break
    return head.partition(PAGE)[0].decode("utf-8", "replace")


def _stream_starts(path: Path) -> list[int]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        starts, found = [], data.find(STREAM_START)
        while found >= 0:
            starts.append(found)
            found = data.find(STREAM_START, found + 1)
    return starts


def _are_short(starts: Sequence[int], end: int) -> bool:
    sizes = (after - start for start, after in zip(starts, [*starts[1:], end], strict=True))
    return starts[0] == 0 and max(sizes) <= MAX_STREAM_BYTES


def _stream_blocks(name: str, path: Path, site: Site, starts: list[int]) -> Iterator[Block]:
    run: list[int] = []
    for start, after in zip(starts, [*starts[1:], path.stat().st_size], strict=True):
        run.append(start)
        if after - run[0] >= PACKED_BLOCK_BYTES or start == starts[-1]:
            yield Block(partial(_read_streams, name, path, site, run, after))
            run = []


def _read_streams(
    name: str, path: Path, site: Site, starts: list[int], end: int, config: SourceConfig
) -> Iterator[Item]:
    """The pages that begin in a run of streams; the last one may end in the stream after it."""
    with path.open("rb") as file:
        ours = chain.from_iterable(_unpack(file, start) for start in starts)
        place = f"{file_url(config, name)}#stream-{starts[0]}"
        yield from _items(cut_pages(ours, _unpack_rest(file, end)), place, site, config)


def _unpack(file: BinaryIO, start: int) -> Iterator[bytes | Bad]:
    """One bzip2 stream, in pieces of bounded size; a Bad in place of what is damaged."""
    file.seek(start)
    unpacker = bz2.BZ2Decompressor()
    try:
        while not unpacker.eof:
            packed = file.read(PIECE_BYTES) if unpacker.needs_input else b""
            if unpacker.needs_input and not packed:
                yield Bad("truncated_record")
                return
            yield unpacker.decompress(packed, PIECE_BYTES)
    except OSError as error:
        if not is_damage(error):
            raise
        yield Bad("damaged_record")


def _unpack_rest(file: BinaryIO, start: int) -> Iterator[bytes | Bad]:
    """All streams from one on, for a page that several streams hold."""
    file.seek(start)
    try:
        with bz2.BZ2File(file) as rest:
            while piece := rest.read1(PIECE_BYTES):
                yield piece
    except (OSError, EOFError) as error:
        if not is_damage(error):
            raise
        yield Bad("damaged_record")


def _page_blocks(path: Path, site: Site, place: str) -> Iterator[Block]:
    block: list[bytes | Bad] = []
    num_bytes, first = 0, 1
    for page in cut_pages(_content(path)):
        block.append(page)
        num_bytes += len(page) if isinstance(page, bytes) else 0
        if num_bytes >= BLOCK_BYTES:
            yield Block(partial(_items, block, f"{place}-{first}", site), num_bytes)
            first += len(block)
            block, num_bytes = [], 0
    if block:
        yield Block(partial(_items, block, f"{place}-{first}", site), num_bytes)


def _content(path: Path) -> Iterator[bytes | Bad]:
    content = Unpacked(path)
    yield from content
    if content.problem:
        yield Bad("damaged_file")


def cut_pages(
    pieces: Iterable[bytes | Bad], following: Iterable[bytes | Bad] = ()
) -> Iterator[bytes | Bad]:
    """Cut XML into its ``<page>`` elements, holding no more than one of them.

    Args:
        pieces: the XML, in pieces of any size. What stands before the first ``<page>`` is passed
            over: where a file was cut it is the end of a page of those before.
        following: what comes after ``pieces``, read only to the end of a page begun in them.
    """
    buffer = bytearray()
    is_long = False
    for piece in pieces:
        if isinstance(piece, Bad):
            buffer.clear()  # the page in it is a part of the damage
            yield piece
            continue
        seen = max(0, len(buffer) - len(PAGE_END))
        buffer += piece
        while (end := buffer.find(PAGE_END, seen)) >= 0:
            start = buffer.rfind(PAGE, 0, end)
            if is_long:
                yield Bad("too_large")
            elif start >= 0:
                yield bytes(buffer[start : end + len(PAGE_END)])
            del buffer[: end + len(PAGE_END)]
            seen, is_long = 0, False
        if len(buffer) > MAX_PAGE_BYTES:
            is_long = True
            del buffer[: -len(PAGE_END)]
    if is_long:
        yield Bad("too_large")
    elif (start := _open_page(buffer)) >= 0:
        yield from _last_page(buffer[start:], following)


def _open_page(buffer: bytearray) -> int:
    """Where a page begins in it, or a tag that may be a page's; -1 if nowhere."""
    tails = (PAGE[:length] for length in range(len(PAGE), 0, -1))
    ends = (len(buffer) - len(tail) for tail in tails if buffer.endswith(tail))
    start = buffer.find(PAGE)
    return start if start >= 0 else next(ends, -1)


def _last_page(page: bytearray, following: Iterable[bytes | Bad]) -> Iterator[bytes | Bad]:
    for piece in following:
        if isinstance(piece, Bad):
            break
        page += piece
        if len(page) >= len(PAGE) and not page.startswith(PAGE):
            return  # it was another tag
        end = page.find(PAGE_END)
        if end >= 0:
            yield bytes(page[: end + len(PAGE_END)])
            return
        if len(page) > MAX_PAGE_BYTES:
            yield Bad("too_large")
            return
    yield Bad("truncated_record")


def _items(
    pages: Iterable[bytes | Bad], place: str, site: Site, config: SourceConfig
) -> Iterator[Item]:
    for number, page in enumerate(pages, start=1):
        own_url = f"{place}.{number}"
        if isinstance(page, Bad):
            yield Item(url=own_url, reason=page.reason)
            continue
        try:
            yield _item(ElementTree.fromstring(page), own_url, site, config)
        except ElementTree.ParseError:
            yield Item(url=own_url, reason="damaged_record", num_bytes=len(page))


def _item(page: ElementTree.Element, own_url: str, site: Site, config: SourceConfig) -> Item:
    title = page.findtext("title", "")
    url = site.base + quote(title.replace(" ", "_"), safe=UNQUOTED) if site.base else own_url
    revisions = page.findall("revision")
    revision = revisions[-1] if revisions else ElementTree.Element("revision")
    if reason := _refusal(page, revision, config):
        return Item(url=url, reason=reason)
    changed_at = revision.findtext("timestamp", "")
    return Item(
        url=url,
        content_type=WIKITEXT,
        body=revision.findtext("text", "").encode(),
        key=revision.findtext("id", ""),
        date=utc_time(changed_at),
        facts={
            "item_id": page.findtext("id"),
            "revision_id": revision.findtext("id"),
            "title": title,
            "date": changed_at,
            "language": site.language,
            "licence": site.licence,
            "hidden_namespaces": "|".join(site.hidden_namespaces),
        },
    )


def _refusal(
    page: ElementTree.Element, revision: ElementTree.Element, config: SourceConfig
) -> str | None:
    if page.findtext("ns", "0") not in map(str, config.wiki_namespaces):
        return "namespace"
    if page.find("redirect") is not None:
        return "redirect"
    if revision.findtext("model", "wikitext") != "wikitext":
        return "content_model"
    return None
