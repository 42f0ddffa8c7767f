"""Lists of hosts and addresses, as blocklists and takedown requests name them.

Pure: lines in, the entry that names a URL out. A line is a host, which stands for its subdomains
too (``example.org``), or an address, which stands for all below it (``example.org/shop``,
``https://example.org/a?b=c``): the two forms of the UT1 and squidGuard lists. Scheme, port, user,
case, a leading ``www.`` and a trailing dot or slash make no difference, and names in other scripts
are read in their ASCII form (WHATWG URL standard). A file is named as its document's URL is
(``file://notes/a.txt``), a folder likewise.
"""

from collections.abc import Iterable, Iterator

import can_ada

COMMENT = "#"
FILE = "file:"


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
            if spelled := _spell(line):
                self._entries.add(spelled)
            else:
                self.unreadable.append(line)

    def __len__(self) -> int:
        return len(self._entries)

    def match(self, url: str) -> str | None:
        """The entry that names ``url``, the most general one; None if there is none."""
        spelled = _spell(url)
        if not spelled:
            return None
        return next((name for name in _names(spelled) if name in self._entries), None)

    def names_exactly(self, url: str) -> bool:
        """Whether an entry is this very address, rather than its host or a folder above it."""
        return _spell(url) in self._entries


def _spell(url: str) -> str | None:
    """``host/path?query`` in one spelling, without what makes no difference."""
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
