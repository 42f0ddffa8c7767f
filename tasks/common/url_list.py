"""Lists of hosts and addresses, as blocklists and takedown requests name them.

Pure: lines in, the entry that names a URL out. A line is a host, which stands for its subdomains
too (``example.org``), or an address, which stands for all below it (``example.org/shop``,
``https://example.org/a?b=c``): the two forms of the UT1 and squidGuard lists. Scheme, port, user,
case, a leading ``www.`` and a trailing dot or slash make no difference, and names in other scripts
are read in their ASCII form (WHATWG URL standard). A file is named as its document's URL is
(``file://notes/a.txt``), a folder likewise.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from urllib.parse import urlsplit

import can_ada
import numpy as np
import xxhash

COMMENT = "#"
FILE = "file:"
# A host that is written as it would be spelled, so that it need not be parsed.
PLAIN_HOST = re.compile(r"(?!www\.|xn--)(?:[a-z\d](?:[a-z\d-]{0,61}[a-z\d])?\.){1,9}[a-z]{2,24}")
CHUNK_ENTRIES = 1 << 16


class UrlList:
    """The hosts and addresses of a list, about 150 bytes of memory each.

    Attributes:
        unreadable: lines that name neither a host nor an address.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._entries: set[str] = set()
        self.unreadable: list[str] = []
        for line in map(str.strip, lines):
            if not line or line.startswith(COMMENT):
                continue
            if spelled := spell(line):
                self._entries.add(spelled)
            else:
                self.unreadable.append(line)

    def __len__(self) -> int:
        return len(self._entries)

    def match(self, url: str) -> str | None:
        """The entry that names ``url``, the most general one; None if there is none."""
        spelled = spell(url)
        if not spelled:
            return None
        return next((name for name in _names(spelled) if name in self._entries), None)

    def names_exactly(self, url: str) -> bool:
        """Whether an entry is this very address, rather than its host or a folder above it."""
        return spell(url) in self._entries

    @cached_property
    def hosts(self) -> frozenset[str]:
        """The hosts that entries name or lie on; of files ``file:``."""
        return frozenset(map(_host, self._entries))

    def may_name(self, origin: str) -> bool:
        """Whether ``match`` could find an address of ``origin`` (``https://shop.example.org``)."""
        spelled = spell(origin)
        return spelled is None or any(name in self.hosts for name in _names(spelled))


def host_of(url: str) -> str:
    """The host of an address as lists name it; ``file:`` of a file's, empty if it has none."""
    return _host(spell(url) or "")


def web_host(url: str) -> str:
    """The host of a web address as it is written; empty for files and for what is none."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "") if parts.scheme in ("http", "https") else ""
    except ValueError:  # such as a bracket that is not closed
        return ""


def _host(spelled: str) -> str:
    return re.split("[/?]", spelled, maxsplit=1)[0]


class UrlLists:
    """Many lists by name, in 10 bytes of memory an entry: 64 bits of a hash, 16 of its list.

    Reading takes about 100 bytes and 2 µs an entry, looking up a URL 10 µs.
    Of a billion addresses looked up in lists of ten million entries fewer than one is taken for an
    entry that it is not.
    """

    def __init__(self, lists: Mapping[str, Iterable[str]]) -> None:
        self.names = sorted(lists)
        keys, owners = [np.empty(0, np.uint64)], [np.empty(0, np.uint16)]
        for index, name in enumerate(self.names):
            found = np.unique(np.concatenate([np.empty(0, np.uint64), *_keys(lists[name])]))
            keys.append(found)
            owners.append(np.full(len(found), index, np.uint16))
        all_keys = np.concatenate(keys)
        order = np.argsort(all_keys, kind="stable")
        self._keys = all_keys[order]
        self._owners = np.concatenate(owners)[order]

    def __len__(self) -> int:
        return len(self._keys)

    def match(self, url: str) -> dict[str, str]:
        """The lists that name ``url``, each with its entry, the most general one."""
        spelled = spell(url)
        if not spelled or not len(self._keys):
            return {}
        entries = list(_names(spelled))
        keys = np.array([_key(entry) for entry in entries], np.uint64)
        starts = np.searchsorted(self._keys, keys, "left")
        ends = np.searchsorted(self._keys, keys, "right")
        found: dict[str, str] = {}
        for at in np.flatnonzero(ends > starts).tolist():
            for owner in self._owners[starts[at] : ends[at]].tolist():
                found.setdefault(self.names[owner], entries[at])
        return dict(sorted(found.items()))


def _key(entry: str) -> int:
    return xxhash.xxh3_64_intdigest(entry.encode("utf-8", "replace"))


def _keys(lines: Iterable[str]) -> Iterator[np.ndarray]:
    """The keys of a list's entries, some at a time."""
    keys: list[int] = []
    for line in map(str.strip, lines):
        if line and not line.startswith(COMMENT) and (spelled := spell(line)):
            keys.append(_key(spelled))
        if len(keys) >= CHUNK_ENTRIES:
            yield np.array(keys, np.uint64)
            keys = []
    yield np.array(keys, np.uint64)


def spell(url: str) -> str | None:
    """``host/path?query`` in one spelling, without what makes no difference; None if unreadable."""
    if PLAIN_HOST.fullmatch(url):
        return url
    if url.startswith(FILE):
        return url.rstrip("/")
    if "://" not in url:
        url = f"http://{url.lstrip('/')}"
    try:
        parsed = can_ada.parse(url)
    except ValueError:
        return None
    host: str = parsed.hostname.rstrip(".").removeprefix("www.")
    if not host:
        return None
    return f"{host}{parsed.pathname}".rstrip("/") + parsed.search


def _names(spelled: str) -> Iterator[str]:
    """The entries that would name a URL: its host's parents, its host, the paths above it, it."""
    before_query, mark, query = spelled.partition("?")
    host, *segments = before_query.split("/")
    labels = host.split(".")
    for start in range(len(labels) - 1, -1, -1):
        yield ".".join(labels[start:])
    path = host
    for segment in segments:
        path += f"/{segment}"
        yield path
    if mark:
        yield f"{before_query}?{query}"
