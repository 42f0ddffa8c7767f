"""Reading files of a data host by byte range, patiently: over HTTP(S), or from S3.

In: a base URL and paths below it. Out: whole files, or stretches of them, exactly as long as the
host says they are. One ``Remote`` serves all threads of a source, so that pace, pauses and the
count of bytes are of the source as a whole. Unlike ``fetch``, which visits strangers' sites, this
reads from the one host that the user configured: robots.txt and the guard of addresses do not
apply.

httpx rather than the crawler's aiohttp: pyarrow reads its files from ordinary threads.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import quote

import httpx

# Common Crawl's CDN answers 403, its bucket 503, when asked too much.
BUSY_STATUSES = frozenset((403, 408, 425, 429, 500, 502, 503, 504))
GONE_STATUSES = frozenset((404, 410, 416))
MAX_ATTEMPTS = 10  # in a row without a single byte
RETRY_SECONDS = 1.0  # doubled at each attempt
MAX_RETRY_SECONDS = 120.0
MAX_RETRY_AFTER_SECONDS = 900.0
CHUNK_BYTES = 1 << 16
TAIL_BYTES = 1 << 16  # pyarrow's own first read of a Parquet file
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class NotThereError(Exception):
    """The host has no such file, or the file has no such bytes; ``reason`` goes into the table."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status_{status}")
        self.reason = f"status_{status}"


class _BusyError(Exception):
    """Worth another attempt, after ``wait_seconds`` if the host named them."""

    def __init__(self, detail: str, wait_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Body:
    """An answer being read: bytes from ``start`` of a file of ``total`` bytes, version ``tag``."""

    start: int
    total: int
    tag: str
    chunks: Iterator[bytes]


class _Host(Protocol):
    def open(self, path: str, start: int, stop: int | None) -> AbstractContextManager[Body]:
        """Ask for bytes; a negative ``start`` counts from the end.

        The answer begins at ``start``, or may begin at 0 if ``stop`` is None.
        """
        ...

    def close(self) -> None: ...


class Remote:
    """Files below one base URL; use as a context manager, from any number of threads.

    Args:
        base_url: ``https://…``, ``http://…`` or ``s3://bucket/prefix``.
        user_agent: who asks.
        timeout_seconds: how long the host may be silent.
        max_connections: that are open at the same time at most.
        requests_per_second: that are begun at most.
        log: where pauses are told.
    """

    def __init__(
        self,
        base_url: str,
        *,
        user_agent: str,
        timeout_seconds: float,
        max_connections: int,
        requests_per_second: float,
        log: logging.Logger,
    ) -> None:
        self.base_url = base_url.rstrip("/") + "/"
        host = _S3Host if base_url.startswith("s3://") else _HttpHost
        self._host: _Host = host(self.base_url, user_agent, timeout_seconds, max_connections)
        self._pace = _Pace(1 / requests_per_second)
        self._log = log
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.num_bytes = 0  # received so far

    def __enter__(self) -> "Remote":
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._host.close()

    def stop(self) -> None:
        """Make every thread that is reading, or waiting to, give up with a RuntimeError."""
        self._stopped.set()

    def read(self, path: str, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from ``start`` to before ``stop`` of a file, or all of it.

        Raises:
            NotThereError: there is no such file, or it ends before ``stop``.
            RuntimeError: the host remained busy or broken, or ``stop()`` was called.
        """
        target = _InMemory(start)
        self._pull(path, target, stop)
        return bytes(target.buffer)

    def download(self, path: str, target: Path) -> None:
        """Bring a whole file to ``target``; what an interrupted call left there is continued.

        Beside it lies ``target.version`` for as long as it is not whole. Raises as ``read`` does.
        """
        with _OnDisk(target) as partial:
            if not partial.is_whole:
                self._pull(path, partial, None)
        partial.forget_version()

    def open(self, path: str) -> "RangeFile":
        """A file to read here and there, as pyarrow does; its end, which has a footer, at once."""
        end = _InMemory(-TAIL_BYTES)
        self._pull(path, end, None)
        return RangeFile(self, path, end.total, bytes(end.buffer))

    def _pull(self, path: str, target: "_InMemory | _OnDisk", stop: int | None) -> None:
        """Fill ``target`` up to ``stop``, with as many requests as it takes."""
        num_failures = 0
        while True:
            before = target.position
            try:
                if self._pull_once(path, target, stop):
                    return
            except _BusyError as busy:
                num_failures = 1 if target.position > before else num_failures + 1
                if num_failures >= MAX_ATTEMPTS:
                    raise RuntimeError(
                        f"{self.base_url}{path}: {busy}, {num_failures} times in a row; "
                        "wait a while and run it again to go on"
                    ) from None
                self._rest(path, busy, num_failures)

    def _pull_once(self, path: str, target: "_InMemory | _OnDisk", stop: int | None) -> bool:
        """One request; whether ``target`` is full after it. _BusyError if it may be asked again."""
        self._pace.wait_for_turn(self._stopped)
        with self._host.open(path, target.position, stop) as body:
            if not target.begin(body):
                return False
            end = body.total if stop is None else stop
            for chunk in body.chunks:
                self._check_not_stopped()
                target.write(chunk)
                with self._lock:
                    self.num_bytes += len(chunk)
        if target.position > end:
            raise ValueError(f"{self.base_url}{path}: the host sent more than it was asked for")
        if target.position < end:
            raise _BusyError(f"cut after {target.position} of {end} bytes")
        return True

    def _rest(self, path: str, busy: _BusyError, num_failures: int) -> None:
        seconds = min(RETRY_SECONDS * 2 ** (num_failures - 1), MAX_RETRY_SECONDS)
        if busy.wait_seconds is not None:
            seconds = min(max(seconds, busy.wait_seconds), MAX_RETRY_AFTER_SECONDS)
        self._log.warning("%s: %s; asking again in %.3g s", path.rpartition("/")[2], busy, seconds)
        self._pace.rest(seconds)

    def _check_not_stopped(self) -> None:
        if self._stopped.is_set():
            raise RuntimeError("reading was stopped; run it again to go on with it")


class RangeFile(RawIOBase):
    """A remote file of known size and end that is read where it is sought."""

    def __init__(self, remote: Remote, path: str, size: int, end: bytes) -> None:
        self._remote = remote
        self._path = path
        self._size = size
        self._end = end
        self._position = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Move to ``offset`` from the beginning, from here or from the end."""
        origin = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self._size}[whence]
        self._position = origin + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """``size`` bytes, fewer only at the end; all that remain if it is negative."""
        rest = max(0, self._size - self._position)
        size = rest if size is None or size < 0 else min(size, rest)
        if not size:
            return b""
        start, self._position = self._position, self._position + size
        into_end = start - (self._size - len(self._end))
        if into_end >= 0:
            return self._end[into_end : into_end + size]
        return self._remote.read(self._path, start, start + size)


class _Pace:
    """One turn every so often, for all threads together; a rest postpones everybody's."""

    def __init__(self, interval_seconds: float) -> None:
        self._interval_seconds = interval_seconds
        self._next_turn = 0.0
        self._lock = threading.Lock()

    def wait_for_turn(self, stopped: threading.Event) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                wait = self._next_turn - now
                if wait <= 0:
                    self._next_turn = now + self._interval_seconds
                    return
            if stopped.wait(wait):
                raise RuntimeError("reading was stopped; run it again to go on with it")

    def rest(self, seconds: float) -> None:
        with self._lock:
            self._next_turn = max(self._next_turn, time.monotonic() + seconds)


class _InMemory:
    """A stretch of a file, to be filled."""

    def __init__(self, start: int) -> None:
        self.position = start
        self.total = 0
        self.buffer = bytearray()

    def begin(self, body: Body) -> bool:
        if self.position < 0:
            self.position = body.start
        assert body.start == self.position
        self.total = body.total
        return True

    def write(self, chunk: bytes) -> None:
        self.buffer += chunk
        self.position += len(chunk)


class _OnDisk:
    """A whole file, to be filled from where an earlier attempt left it."""

    def __init__(self, path: Path) -> None:
        self._version_path = path.with_name(f"{path.name}.version")
        self._version: list[Any] = ["", 0]
        with suppress(FileNotFoundError, ValueError):
            self._version = json.loads(self._version_path.read_text())
        self._file = path.open("ab")
        self.position = self._file.tell()
        if not self._version[0] or self.position > self._version[1]:
            self._start_over()  # nothing says of which version the bytes are

    @property
    def is_whole(self) -> bool:
        """Whether an earlier attempt was cut short after the last byte."""
        return bool(self._version[0]) and self.position == self._version[1]

    def begin(self, body: Body) -> bool:
        """Whether the bytes of ``body`` are the next ones; else ask again, from the start."""
        version = [body.tag, body.total]
        if body.start == 0 or version != self._version:
            self._start_over()
        if self._version != version:
            self._version = version
            self._version_path.write_text(json.dumps(version))
        return body.start == self.position

    def write(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self.position += len(chunk)

    def forget_version(self) -> None:
        self._version_path.unlink()

    def _start_over(self) -> None:
        self._file.truncate(0)
        self.position = 0

    def __enter__(self) -> "_OnDisk":
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()


class _HttpHost:
    """Files over HTTP(S)."""

    def __init__(
        self, base_url: str, user_agent: str, timeout_seconds: float, max_connections: int
    ) -> None:
        self._base_url = base_url
        self._client = httpx.Client(
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=max_connections),
            follow_redirects=True,
        )

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def open(self, path: str, start: int, stop: int | None) -> Iterator[Body]:
        url, headers = self._base_url + quote(path, safe="/="), _range_header(start, stop)
        try:
            with self._client.stream("GET", url, headers=headers) as answer:
                if answer.status_code in BUSY_STATUSES:
                    raise _BusyError(
                        f"status {answer.status_code}",
                        retry_after_seconds(answer.headers.get("Retry-After", "")),
                    )
                yield self._body(answer, start, stop)
        except httpx.TransportError as error:
            raise _BusyError(f"{type(error).__name__} {error}".strip()) from None
        except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
            raise ValueError(f"{url}: {error}") from None

    def _body(self, answer: httpx.Response, start: int, stop: int | None) -> Body:
        status, headers = answer.status_code, answer.headers
        if status in GONE_STATUSES:
            raise NotThereError(status)
        tag = headers.get("ETag", "") or headers.get("Last-Modified", "")
        chunks = answer.iter_raw()  # as it comes, so that a cut loses nothing
        if status == 206:
            return _part(headers.get("Content-Range", ""), tag, chunks, start, stop)
        if status != 200 or not headers.get("Content-Length", "").isdigit():
            raise ValueError(
                f"{answer.url} answered {status} without a length; does base_url lead to a mirror "
                "of Common Crawl?"
            )
        if stop is not None or start < 0:
            raise ValueError(f"{answer.url}: this host serves no byte ranges; change base_url")
        return Body(0, int(headers["Content-Length"]), tag, chunks)


class _S3Host:
    """Objects of a bucket; unsigned requests where the environment has no credentials.

    The endpoint is the environment's (``AWS_ENDPOINT_URL``), else Amazon's. botocore, which s3fs
    stands on, instead of s3fs: it hands out a body while it arrives.
    """

    def __init__(
        self, base_url: str, user_agent: str, timeout_seconds: float, max_connections: int
    ) -> None:
        import botocore.session  # slow to import, and most sources need none of it
        from botocore import UNSIGNED
        from botocore.config import Config

        self._bucket, _, self._prefix = base_url.removeprefix("s3://").partition("/")
        session = botocore.session.get_session()
        self._is_signed = session.get_credentials() is not None
        self._client = session.create_client(
            "s3",
            config=Config(
                signature_version=None if self._is_signed else UNSIGNED,
                user_agent=user_agent,
                connect_timeout=timeout_seconds,
                read_timeout=timeout_seconds,
                max_pool_connections=max_connections,
                retries={"total_max_attempts": 1, "mode": "standard"},  # ours know the pace
            ),
        )

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def open(self, path: str, start: int, stop: int | None) -> Iterator[Body]:
        from botocore.exceptions import BotoCoreError, ClientError

        def read(stream: Any) -> Iterator[bytes]:
            try:
                yield from stream.iter_chunks(CHUNK_BYTES)
            except BotoCoreError as error:
                raise _BusyError(str(error)) from None

        try:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._prefix + path, **_range_header(start, stop)
            )
        except ClientError as error:
            raise self._explained(error) from None
        except BotoCoreError as error:
            raise _BusyError(str(error)) from None
        with closing(answer["Body"]) as stream:
            tag, chunks = answer["ETag"], read(stream)
            if "ContentRange" in answer:
                yield _part(answer["ContentRange"], tag, chunks, start, stop)
            else:
                yield Body(0, answer["ContentLength"], tag, chunks)

    def _explained(self, error: Exception) -> Exception:
        answer = error.response  # type: ignore[attr-defined]
        status = answer["ResponseMetadata"]["HTTPStatusCode"]
        if status in GONE_STATUSES:
            return NotThereError(status)
        if status in BUSY_STATUSES and status != 403:
            return _BusyError(f"status {status}")
        asked = "these credentials" if self._is_signed else "requests without credentials"
        return ValueError(
            f"s3://{self._bucket} refuses {asked}: {error}; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or use base_url=https://data.commoncrawl.org/"
        )


def _range_header(start: int, stop: int | None) -> dict[str, str]:
    if start == 0 and stop is None:
        return {}
    if start < 0:
        return {"Range": f"bytes={start}"}
    return {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}


def _part(
    content_range: str, tag: str, chunks: Iterator[bytes], start: int, stop: int | None
) -> Body:
    """An answer that says which bytes it has; they must be those that were asked for."""
    found = CONTENT_RANGE.fullmatch(content_range)
    if not found or (start >= 0 and int(found[1]) != start):
        raise ValueError(f"asked for bytes from {start}, the host answers {content_range!r}")
    if stop is not None and int(found[2]) + 1 < stop:
        raise NotThereError(416)
    return Body(int(found[1]), int(found[3]), tag, chunks)


def retry_after_seconds(value: str) -> float | None:
    """The pause that a Retry-After header asks for, in seconds or until a date."""
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
