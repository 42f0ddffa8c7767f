"""The one interface of all sources but the web: blocks, which are read to items.

A *connector* cuts a file into blocks; a *block* is what one worker reads and writes as one archive;
an *item* is one document to be, or the reason why there is none. Whatever a source is made of, the
same few lines of ``files`` write its items as WARC records.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from tasks.common.record_fields import NO_DATE
from tasks.crawl.config import SourceConfig

UTC_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z")
BLOCK_BYTES = 16 * 1024 * 1024  # of raw input: a block makes an archive of at most about that size


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One document of a source, or a refusal.

    Args:
        url: where it was found; ``file://source/name`` for what has no address of its own.
        body: its bytes, as they are; empty for a refusal.
        key: tells apart items of one URL; part of the record's id.
        date: when it was fetched, ISO 8601 in UTC.
        facts: what is known of it, by the names of RECORD_FIELDS.
        reason: why it is no document, or None.
    """

    url: str
    content_type: str = "text/plain"
    body: bytes = b""
    key: str = ""
    date: str = NO_DATE
    facts: Mapping[str, object] = field(default_factory=dict)
    reason: str | None = None
    num_bytes: int | None = None  # of what was refused; else those of the body count


@dataclass(frozen=True, slots=True)
class Bad:
    """What stands in the place of a piece of a file that cannot be read."""

    reason: str


@dataclass(frozen=True, slots=True)
class Block:
    """What one worker reads at a time.

    Args:
        read: a picklable function of the source's configuration.
        carried_bytes: how much of the input travels inside ``read`` instead of being read by it.
    """

    read: Callable[[SourceConfig], Iterator[Item]]
    carried_bytes: int = 0


# Cuts the file that is called ``name`` in its source into blocks.
Connector = Callable[[str, Path, SourceConfig], Iterator[Block]]


def utc_time(text: str) -> str:
    """A time as WARC dates are written, or NO_DATE for anything else."""
    return text if UTC_TIME.fullmatch(text) else NO_DATE


def file_url(config: SourceConfig, name: str) -> str:
    """The address of a file of a source, which is the same on every machine."""
    return f"file://{config.name}/{quote(name)}"
