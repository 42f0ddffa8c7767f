"""Files and archives on this machine as sources.

In: paths, folders or globs. Out: for files, a ``resource`` record for each document in them, in
WARC files; for archives, the files themselves, untouched: what is wrong inside them is for extract
to count. Names are relative to the folder that the user gave, so that a source is the same on every
machine.
"""

import glob
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from tasks.common.files import free_name, sha256_of
from tasks.common.record_fields import NO_DATE, record_fields
from tasks.common.stage import Outcome, StageContext
from tasks.crawl.code import code_language, folder_licences, stated_licence
from tasks.crawl.config import SourceConfig
from tasks.crawl.item import BLOCK_BYTES, Block, Connector, Item, file_url
from tasks.crawl.record import file_record
from tasks.crawl.table import PageRow, Shards, finish, shard_name
from tasks.crawl.tables import table_connector
from tasks.crawl.wikipedia import is_wiki_dump, wiki_blocks

ARCHIVE_SUFFIXES = tuple(
    kind + packing
    for kind in (".warc", ".wet", ".wat", ".arc")
    for packing in ("", ".gz", ".zst", ".lz4")
)
MAX_GROUP_FILES = 100
MAX_ROUND_BLOCKS = 256
MAX_ROUND_BYTES = 8 * BLOCK_BYTES
PDF = "application/pdf"
PDF_HEAD_BYTES = 1024  # readers look for the mark so far
UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
CONTROLS = bytes(set(range(32)) - set(b"\t\n\f\r\x1b"))  # an escape begins ISO-2022
BINARY_HEAD_BYTES = 8192
MAX_CONTROL_SHARE = 0.05
CONTENT_TYPES = {
    ".py": "text/x-python",
    ".pyi": "text/x-python",
    ".pdf": PDF,
    ".md": "text/markdown",
    ".markdown": "text/markdown",
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
    ".ltx": "text/x-tex",
    ".json": "application/json",
}
SKIPPED_FOLDERS = ("__pycache__", "node_modules")
SKIPPED_FOLDER_MARKS = ("CACHEDIR.TAG", "pyvenv.cfg")  # bford.info/cachedir, PEP 405


@dataclass(frozen=True, slots=True)
class File:
    """A file that is a document itself; ``licence`` is what the folders above it say."""

    name: str
    path: Path
    licence: str | None


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
    """Write what the files of a source hold as records, a block of them an archive."""
    return finish(context.path, _written(context, config))


def _written(context: StageContext, config: SourceConfig) -> Iterator[PageRow]:
    """Write round after round of blocks, and tell of every item.

    Rounds do not depend on the number of workers, so that an interrupted stage finds its pieces
    again; in a round's memory is no more than the blocks that travel whole.
    """
    num_blocks = 0
    for number, blocks in enumerate(_rounds(_blocks(config))):
        first = num_blocks
        num_blocks += len(blocks)
        results = context.map(
            _write_block,
            [(context.path, first + i, block, config) for i, block in enumerate(blocks)],
            key=f"round-{number:05d}",
            names=partial(_names, first),
        )
        yield from (PageRow(**row) for result in results for row in result)


def _names(first: int, index: int) -> list[str]:
    return [shard_name(first + index)]


def _rounds(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    together: list[Block] = []
    num_bytes = 0
    for block in blocks:
        together.append(block)
        num_bytes += block.carried_bytes
        if len(together) == MAX_ROUND_BLOCKS or num_bytes >= MAX_ROUND_BYTES:
            yield together
            together, num_bytes = [], 0
    if together:
        yield together


def _blocks(config: SourceConfig) -> Iterator[Block]:
    """The files in order: those that hold many documents cut up, the others in groups."""
    files = source_files(config)
    licences = folder_licences(files) if config.type == "code" else {}
    group: list[File] = []
    num_bytes = 0
    for name, path in files.items():
        connector, size = connector_of(name, path, config), path.stat().st_size
        is_full = len(group) >= MAX_GROUP_FILES or num_bytes + size > BLOCK_BYTES
        if group and (connector or is_full):
            yield Block(partial(_read_group, group))
            group, num_bytes = [], 0
        if connector:
            yield from connector(name, path, config)
        else:
            group.append(File(name, path, licences.get(name)))
            num_bytes += size
    if group:
        yield Block(partial(_read_group, group))


def connector_of(name: str, path: Path, config: SourceConfig) -> Connector | None:
    """How to read a file that holds many documents; None for one that is a document itself."""
    if config.type != "files":
        return None
    if connector := table_connector(name):
        return connector
    return wiki_blocks if is_wiki_dump(name, path) else None


def _write_block(
    folder: Path, index: int, block: Block, config: SourceConfig
) -> list[dict[str, Any]]:
    """Write one archive; hands back what became of each item."""
    rows: list[dict[str, Any]] = []

    def records() -> Iterator[bytes]:
        for item in block.read(config):
            reason = item.reason or _refusal(item, config)
            row = PageRow(
                url=item.url,
                reason=reason,
                content_type=item.content_type,
                bytes=item.num_bytes if item.reason else len(item.body),
                fetched_at=None if item.date == NO_DATE else item.date,
                shard=None if reason else shard_name(index),
            )
            rows.append(row.plain())
            if not reason:
                yield _record(item)

    Shards(folder, config.name, "", NO_DATE).write_one(index, records())
    return rows


def _record(item: Item) -> bytes:
    digest = hashlib.sha256(item.body).hexdigest()  # so that a changed file is another record
    snapshot = f"{item.key}:{digest}" if item.key else digest
    fields = record_fields(item.facts)
    return file_record(item.url, snapshot, item.date, item.content_type, item.body, fields)


def _refusal(item: Item, config: SourceConfig) -> str | None:
    """Name why an item is nothing to learn from, or None."""
    is_pdf = item.content_type == PDF
    if len(item.body) > (config.max_pdf_bytes if is_pdf else config.max_page_bytes):
        return "too_large"
    if not item.body.strip():
        return "empty"
    if is_pdf:
        return None if b"%PDF-" in item.body[:PDF_HEAD_BYTES] else "not_pdf"
    return "binary" if is_binary(item.body) else None


def is_binary(body: bytes) -> bool:
    """Whether bytes are no text in any charset. Text that is not UTF-8 is extract's to decode."""
    if body.startswith(UTF_16_MARKS):
        return False
    head = body[:BINARY_HEAD_BYTES]
    num_controls = len(head) - len(head.translate(None, CONTROLS))
    return b"\0" in body or num_controls > MAX_CONTROL_SHARE * len(head)


def _read_group(group: Sequence[File], config: SourceConfig) -> Iterator[Item]:
    for file in group:
        yield _read_file(file, config)


def _read_file(file: File, config: SourceConfig) -> Item:
    url, suffix = file_url(config, file.name), PurePosixPath(file.name).suffix.lower()
    content_type = CONTENT_TYPES.get(suffix, "text/plain")
    size = file.path.stat().st_size
    if file.name.lower().endswith(ARCHIVE_SUFFIXES):
        return Item(url=url, reason="web_archive", num_bytes=size)
    if size > max(config.max_page_bytes, config.max_pdf_bytes if content_type == PDF else 0):
        return Item(url=url, content_type=content_type, reason="too_large", num_bytes=size)
    item = Item(url=url, content_type=content_type, body=file.path.read_bytes())
    return _as_code(item, file) if config.type == "code" else item


def _as_code(item: Item, file: File) -> Item:
    language, reason = code_language(file.name, item.body)
    licence = stated_licence(item.body) or file.licence
    facts = {"code_language": language, "licence": licence}
    content_type = "text/plain" if language == "text" else f"text/x-{language}"
    return replace(item, content_type=content_type, facts=facts, reason=reason)


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
        folders[:] = sorted(f for f in folders if not _is_skipped(root / folder / f))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.is_file():
                yield path.relative_to(root).as_posix(), path


def _is_skipped(folder: Path) -> bool:
    """Hidden folders, caches and environments: what tools made and other tools leave out."""
    if folder.name.startswith(".") or folder.name in SKIPPED_FOLDERS:
        return True
    return any((folder / mark).exists() for mark in SKIPPED_FOLDER_MARKS)


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
