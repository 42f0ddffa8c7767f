"""The user's own files as inputs: named logically, told apart by checksum."""

import functools
import glob
import gzip
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TextIO

import zstandard


def expand_files(paths: Sequence[str]) -> dict[str, Path]:
    """Logical name → file, for files, folders (all but what is hidden in them) and glob patterns.

    A logical name is the path below what the user named, so that a moved folder keeps its names.
    Each file is there once, however many of the paths lead to it; where two files have the same
    name, the later one's becomes ``name~2.jsonl``.

    Raises:
        ValueError: a path that matches nothing.
    """
    found: dict[str, Path] = {}
    taken: set[Path] = set()
    for given in paths:
        for name, path in _files_at(given):
            if path.resolve() not in taken:
                taken.add(path.resolve())
                found[free_name(name, found)] = path
    return found


def checksums(paths: Sequence[str]) -> dict[str, str]:
    """Logical name → SHA-256, for an identity that does not change when files move."""
    return {name: sha256_of(path) for name, path in expand_files(paths).items()}


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex; read once a process, for as long as it does not change."""
    stat = path.stat()
    return _sha256_at(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=100_000)
def _sha256_at(path: Path, _inode: int, _size: int, _modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_text(path: Path) -> TextIO:
    """A text file, packed or not as its suffix says (.gz, .zst); bad bytes are replaced."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    if path.suffix == ".zst":
        stream = zstandard.ZstdDecompressor().stream_reader(
            path.open("rb"), read_across_frames=True
        )
        return io.TextIOWrapper(stream, encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")


def _files_at(given: str) -> Iterator[tuple[str, Path]]:
    for match in sorted(glob.glob(given, recursive=True)) or [given]:  # noqa: PTH207 - absolute too
        path = Path(match)
        if path.is_dir():
            yield from _files_below(path)
        elif path.is_file():
            yield path.name, path
        else:
            raise ValueError(f"{given}: no such file, folder or pattern")


def _files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Hidden files are left out: they are other programs' notes, such as ``.DS_Store``."""
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in below.parts):
            yield below.as_posix(), path


def free_name(name: str, taken: Mapping[str, Path]) -> str:
    """``name``, or where that is taken ``name~2``, before the suffixes."""
    path = PurePosixPath(name)
    stem, dot, suffixes = path.name.partition(".")
    number = 2
    while name in taken:
        name = str(path.with_name(f"{stem}~{number}{dot}{suffixes}"))
        number += 1
    return name
