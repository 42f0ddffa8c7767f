"""The user's lists of hosts and of words. In: files, folders and archives. Out: lists by name.

The layouts are UT1's (``CATEGORY/domains``, ``CATEGORY/urls``) and LDNOOBW's (a file a language).
"""

import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

import zstandard

from tasks.common.files import expand_files, free_name
from tasks.common.url_list import UrlLists
from tasks.filter.bad_words import BadWordLists

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.zst")
UT1_FILES = {"domains", "urls"}
LIST_SUFFIXES = {"", ".txt", ".list"}
NUMBER = re.compile(r"~\d+(?=\.|$)")  # of a second file of one name, see expand_files


def named_lists(paths: Sequence[str]) -> dict[str, Path]:
    """Each file by its name below what the user named; UT1's never without their category.

    That is the folder that they lie in, also where the user names it or them.
    """
    found: dict[str, Path] = {}
    for name, path in expand_files(paths).items():
        of_ut1 = not path.suffix and any((path.parent / one).is_file() for one in UT1_FILES)
        if of_ut1 and "/" not in name:
            name = f"{path.resolve().parent.name}/{path.name}"
        found[free_name(name, found)] = path
    return found


def read_blocklists(paths: Sequence[str], categories: Sequence[str]) -> UrlLists:
    """Hosts and addresses by category.

    Args:
        paths: files, folders or archives.
        categories: those wanted; ``*`` wants all.

    Raises:
        ValueError: a path that is not there, or a wanted category of which there is none.
    """
    lists: dict[str, list[bytes]] = {}
    there: set[str] = set()
    for name, data in _read(paths):
        path = _plain(name)
        is_ut1 = path.name in UT1_FILES and len(path.parts) > 1
        if not is_ut1 and (len(path.parts) > 1 or path.suffix not in LIST_SUFFIXES):
            continue  # UT1's folders hold patterns and notes, too
        category = path.parent.name if is_ut1 else path.stem
        there.add(category)
        if category in categories or "*" in categories:
            lists.setdefault(category, []).append(data)
    missing = sorted(set(categories) - there - {"*"})
    if missing:
        raise ValueError(
            f"blocklists: no category {', '.join(missing)} in {', '.join(paths)}; "
            f"there: {', '.join(sorted(there)) or 'none'}"
        )
    return UrlLists({name: chain.from_iterable(map(_lines, d)) for name, d in lists.items()})


def read_bad_words(paths: Sequence[str]) -> BadWordLists:
    """Words by language.

    Raises:
        ValueError: a path that is not there, or none that holds a list.
    """
    lists: dict[str, list[str]] = {}
    for name, data in _read(paths):
        path = _plain(name)
        if path.suffix in LIST_SUFFIXES and path.stem.partition("-")[0].isalpha():
            lists.setdefault(path.stem, []).extend(_lines(data))
    found = BadWordLists(lists)
    if not found.languages:
        raise ValueError(f"bad_words: {', '.join(paths)} holds no files named by language, as en")
    return found


def _read(paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Each file by its name as ``named_lists`` says; archives are entered."""
    for name, path in named_lists(paths).items():
        if name.endswith(ARCHIVES):
            yield from _members(path)
        else:
            yield name, path.read_bytes()


def _plain(name: str) -> PurePosixPath:
    """A list's name without the number that tells it from another of the same name."""
    path = PurePosixPath(name)
    return path.with_name(NUMBER.sub("", path.name))


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    data = path.read_bytes()
    if path.name.endswith(".zst"):
        stream = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
        data = stream.read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            if member.isfile() and (file := archive.extractfile(member)):
                yield member.name.removeprefix("./"), file.read()


def _lines(data: bytes) -> Iterator[str]:
    """A list's lines, one by one: as strings they would take five times the memory."""
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", errors="replace")
