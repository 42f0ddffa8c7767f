"""What a site says on page after page: paragraphs that stand on many pages of one host.

Pure. In: the texts of a host's pages. Out: the paragraphs that are the site's own, and the texts
without them. At the edges of a text, where headers and footers stand, any such paragraph goes;
inside it only a long one does, as short ones that come again there (``Parameters``, ``See also``)
are the headings of content. A page that repeats more than it says is another copy of its content,
not a page full of headers: it is left whole, for dedup.
"""

from collections.abc import Iterator

import numpy as np
import xxhash

MIN_INNER_CHARS = 40
MIN_OWN_SHARE = 0.5  # of a page's characters, or it is a copy
BREAK = "\n\n"
MAX_KEYS_AT_ONCE = 20_000_000  # that are sorted in memory; 16 bytes each


def page_keys(host: str, text: str) -> np.ndarray:
    """A number for each different paragraph of a page of ``host``; uint64, sorted."""
    return np.unique(np.fromiter(_keys(host, text), np.uint64))


def host_key(host: str) -> int:
    """A number for a host, of 64 bits."""
    return xxhash.xxh3_64_intdigest(host.encode())


def repeated_keys(
    keys: np.ndarray, hosts: np.ndarray, *, min_repeats: int, min_share: float
) -> np.ndarray:
    """The paragraphs on at least so many pages and such a share of a host's pages; sorted.

    Args:
        keys, hosts: an entry for each page and paragraph, and one with key 0 for each page.
    """
    page_hosts, num_pages = np.unique(hosts[keys == 0], return_counts=True)
    num_parts = -(-len(keys) // MAX_KEYS_AT_ONCE)
    found = []
    for part in range(num_parts):
        here = (keys % np.uint64(num_parts) == part) & (keys != 0)
        several, first, counts = np.unique(keys[here], return_index=True, return_counts=True)
        of_host = num_pages[np.searchsorted(page_hosts, hosts[here][first])]
        found.append(several[(counts >= min_repeats) & (counts >= min_share * of_host)])
    return np.sort(np.concatenate(found)) if found else np.empty(0, np.uint64)


def without_repeats(host: str, text: str, repeated: np.ndarray) -> tuple[str, int]:
    """``text`` without what its host repeats, and how many paragraphs that were."""
    if not len(repeated):
        return text, 0
    keys = np.fromiter(_keys(host, text), np.uint64)
    is_repeated = np.isin(keys, repeated)
    if not is_repeated.any():
        return text, 0
    paragraphs = text.split(BREAK)
    own = np.flatnonzero(~is_repeated)
    start, end = (int(own[0]), int(own[-1]) + 1) if len(own) else (0, 0)
    kept = [
        paragraph
        for paragraph, repeats in zip(paragraphs[start:end], is_repeated[start:end], strict=True)
        if not repeats or len(paragraph) < MIN_INNER_CHARS
    ]
    left = BREAK.join(kept)
    if len(left) < MIN_OWN_SHARE * len(text):
        return text, 0
    return left, len(paragraphs) - len(kept)


def _keys(host: str, text: str) -> Iterator[int]:
    for paragraph in text.split(BREAK):
        yield xxhash.xxh3_64_intdigest(f"{host}\n{paragraph}".encode()) or 1  # 0: the page
