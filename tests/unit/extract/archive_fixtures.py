"""Archives for tests: WARC records in bytes, and artifacts of archive files."""

import base64
import gzip

from pydantic import BaseModel, ConfigDict

from tasks.common.manifest import ArtifactRef
from tasks.common.stage import Machine, Outcome, Stage, StageContext, materialise

PROSE = (
    "The first law of the archive is that what was written must be read again, and that "
    "whoever reads it has to say what is missing. "
)


class ArchivesConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, str]


def _give(context: StageContext, config: ArchivesConfig) -> Outcome:
    for name, content in config.files.items():
        (context.path / name).write_bytes(base64.b64decode(content))
    return Outcome()


ARCHIVES = Stage(name="archives", version=1, config=ArchivesConfig, inputs=(), run=_give)


def given_archives(machine: Machine, files: dict[str, bytes]) -> ArtifactRef:
    config = ArchivesConfig(
        files={name: base64.b64encode(content).decode() for name, content in files.items()}
    )
    return materialise(ARCHIVES, config, {}, machine)[0].ref


def http(
    body: bytes, content_type: str = "text/html", *, status: int = 200, extra: str = ""
) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\n{extra}\r\n".encode() + body


def record(
    payload: bytes,
    *,
    url: str = "https://a.example/",
    kind: str = "response",
    content_type: str = "application/http; msgtype=response",
    length: int | None = None,
    name: str = "",
) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\n"
        f"WARC-Date: 2026-01-02T03:04:05Z\r\nWARC-Record-ID: <urn:test:{name or url}>\r\n"
        f"Content-Type: {content_type}\r\n"
        f"Content-Length: {len(payload) if length is None else length}\r\n\r\n"
    )
    return head.encode() + payload + b"\r\n\r\n"


def page_record(number: int, **fields: int) -> bytes:
    body = f"<html><title>Page {number}</title><p>{PROSE * 3} Number {number}.</p></html>".encode()
    return record(http(body), url=f"https://a.example/{number}", **fields)


def pack(records: list[bytes]) -> bytes:
    """One gzip member a record, without a time stamp, so that bytes are the same every day."""
    return b"".join(gzip.compress(one, mtime=0) for one in records)
