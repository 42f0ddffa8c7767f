"""Files and archives on this machine as sources.

In: paths, folders or globs. Out: for files, a ``resource`` record each, in WARC files; for
archives, the files themselves, untouched: what is wrong inside them is for extract to count. Names
are relative to the folder that the user gave, so that a source is the same on every machine.
"""

import glob
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from tasks.common.files import free_name, sha256_of
from tasks.common.stage import Outcome, StageContext
from tasks.crawl.config import SourceConfig
from tasks.crawl.record import file_record
from tasks.crawl.table import NO_DATE, PageRow, Shards, finish, shard_name

ARCHIVE_SUFFIXES = tuple(
    kind + packing
    for kind in (".warc", ".wet", ".wat", ".arc")
    for packing in ("", ".gz", ".zst", ".lz4")
)
CONTENT_TYPES = {
    ".py": "text/x-python",
    ".pyi": "text/x-python",
    ".md": "text/markdown",
    ".rst": "text/x-rst",
    ".html": "text/html",
    ".htm": "text/html",
    ".xhtml": "application/xhtml+xml",
    ".c": "text/x-c",
    ".h": "text/x-c",
    ".cpp": "text/x-c++",
    ".rs": "text/x-rust",
    ".go": "text/x-go",
    ".java": "text/x-java",
    ".js": "text/javascript",
    ".ts": "text/x-typescript",
    ".sh": "text/x-shellscript",
    ".tex": "text/x-tex",
    ".json": "application/json",
}
MAX_GROUP_FILES = 100
MAX_GROUP_BYTES = 16 * 1024 * 1024
SKIPPED_FOLDERS = ("__pycache__", "node_modules")


def checksums(config: SourceConfig) -> dict[str, str]:
    """The SHA-256 of each file of a source, by the name it has in the source.

    Raises:
        ValueError: a path leads to nothing.
    """
    return {name: sha256_of(path) for name, path in source_files(config).items()}


def source_files(config: SourceConfig) -> dict[str, Path]:
    """The files of a source, ordered by the name that each has in it.

    Where two paths hold a file of the same name, the later one's becomes ``name~2.py``.
    """
    named: dict[str, Path] = {}
    taken: set[Path] = set()
    for given in config.paths:
        found = [
            (name, path)
            for name, path in _under(given)
            if _is_wanted(name, config) and path.resolve() not in taken
        ]
        if not found:
            raise ValueError(
                f"the path {given!r} of source {config.name!r} has no files to take; correct it, "
                "or loosen patterns, include and exclude"
            )
        for name, path in found:
            taken.add(path.resolve())
            if config.type == "warc":
                name = PurePosixPath(name).name  # shards are the top-level files of an artifact
            named[free_name(name, named)] = path
    return dict(sorted(named.items()))


def take_archives(context: StageContext, config: SourceConfig) -> Outcome:
    """Bring archive files in as they are."""
    rows = []
    for name, path in source_files(config).items():
        shutil.copyfile(path, context.path / name)  # a link would change when its file does
        rows.append(PageRow(url=f"file://{config.name}/{quote(name)}", bytes=path.stat().st_size))
    context.log.info("%d archive files", len(rows))
    return finish(context.path, rows)


def take_files(context: StageContext, config: SourceConfig) -> Outcome:
    """Write each readable file of a source as a record."""
    groups = list(_groups(source_files(config)))
    results = context.map(
        _write_group,
        [(context.path, index, group, config) for index, group in enumerate(groups)],
        key="files",
        names=lambda index: [shard_name(index)],
    )
    return finish(context.path, [PageRow(**row) for result in results for row in result])


def _write_group(
    folder: Path, index: int, group: Sequence[tuple[str, Path]], config: SourceConfig
) -> list[dict[str, Any]]:
    shards = Shards(folder, config.name, "", NO_DATE)
    rows, records = [], []
    for name, path in group:
        row, record = _take_file(name, path, config)
        rows.append(row)
        if record:
            records.append(record)
    shard = shards.write_one(index, records)
    return [{**row.plain(), "shard": None if row.reason else shard} for row in rows]


def _take_file(name: str, path: Path, config: SourceConfig) -> tuple[PageRow, bytes]:
    url = f"file://{config.name}/{quote(name)}"
    content_type = CONTENT_TYPES.get(PurePosixPath(name).suffix.lower(), "text/plain")
    num_bytes = path.stat().st_size
    row = PageRow(url=url, content_type=content_type, bytes=num_bytes)
    if num_bytes > config.max_page_bytes:
        return _refused(row, "too_large"), b""
    body = path.read_bytes()
    if reason := file_refusal(body):
        return _refused(row, reason), b""
    digest = hashlib.sha256(body).hexdigest()  # so that a changed file is another record
    return row, file_record(url, digest, NO_DATE, content_type, body)


def file_refusal(body: bytes) -> str | None:
    """Name why a file is no text to learn from, or None."""
    if not body.strip():
        return "empty"
    if b"\0" in body:
        return "binary"
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return "undecodable"
    return None


def _refused(row: PageRow, reason: str) -> PageRow:
    return PageRow(**{**row.plain(), "reason": reason})


def _groups(files: Mapping[str, Path]) -> Iterator[list[tuple[str, Path]]]:
    """Files in order, in groups that make a shard each."""
    group: list[tuple[str, Path]] = []
    num_bytes = 0
    for name, path in files.items():
        size = path.stat().st_size
        if group and (len(group) >= MAX_GROUP_FILES or num_bytes + size > MAX_GROUP_BYTES):
            yield group
            group, num_bytes = [], 0
        group.append((name, path))
        num_bytes += size
    if group:
        yield group


def _under(given: str) -> Iterator[tuple[str, Path]]:
    """Files at a path, in a folder or matching a glob, each with its name relative to it."""
    path = Path(given).expanduser()
    if path.is_file():
        yield path.name, path
    elif path.is_dir():
        yield from _walk(path)
    elif glob.has_magic(given):
        root = _fixed_part(path)
        for match in sorted(root.glob(str(path.relative_to(root)))):
            if match.is_file():
                yield match.relative_to(root).as_posix(), match


def _walk(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f[0] != "." and f not in SKIPPED_FOLDERS)
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield path.relative_to(root).as_posix(), path


def _fixed_part(pattern: Path) -> Path:
    """The folder of a glob above its first wildcard."""
    while glob.has_magic(str(pattern)):
        pattern = pattern.parent
    return pattern


def _is_wanted(name: str, config: SourceConfig) -> bool:
    if config.type == "warc" and not name.lower().endswith(ARCHIVE_SUFFIXES):
        return False
    if config.patterns and not any(
        fnmatch(name, pattern) or fnmatch(PurePosixPath(name).name, pattern)
        for pattern in config.patterns
    ):
        return False
    if config.include and not any(re.search(pattern, name) for pattern in config.include):
        return False
    return not any(re.search(pattern, name) for pattern in config.exclude)
