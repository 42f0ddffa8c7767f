"""Reading files of a data host patiently: whole files, or stretches of them.

In: a base URL and paths below it. Out: exactly as many bytes as the host says there are, with as
many requests as it takes. One ``Remote`` serves all threads of a source, so that pace, pauses and
the count of bytes are of the source as a whole. Unlike ``fetch``, which visits strangers' sites,
this reads from the one host that the user configured: robots.txt and the guard of addresses do not
apply. It is not asynchronous as the crawler is, because pyarrow reads files from ordinary threads.
"""

import json
import logging
import threading
import time
from contextlib import suppress
from io import SEEK_CUR, SEEK_END, SEEK_SET, RawIOBase
from pathlib import Path
from types import TracebackType
from typing import Any

from tasks.crawl.data_host import Body, BusyError, open_host

MAX_ATTEMPTS = 10  # in a row without a single byte
RETRY_SECONDS = 1.0  # doubled at each attempt
MAX_RETRY_SECONDS = 120.0
MAX_RETRY_AFTER_SECONDS = 900.0
TAIL_BYTES = 1 << 16  # pyarrow's own first read of a Parquet file


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
        self._host = open_host(self.base_url, user_agent, timeout_seconds, max_connections)
        self._pace = _Pace(1 / requests_per_second)
        self._log = log
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.num_bytes = self.num_requests = 0  # received, and begun, so far

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

        ``target.version`` beside it says of which version it is. Raises as ``read`` does.
        """
        with _OnDisk(target) as partial:
            if not partial.is_whole:
                self._pull(path, partial, None)

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
            except BusyError as busy:
                num_failures = 1 if target.position > before else num_failures + 1
                if num_failures >= MAX_ATTEMPTS:
                    raise RuntimeError(
                        f"{self.base_url}{path}: {busy}, {num_failures} times in a row; "
                        "wait a while and run it again to go on"
                    ) from None
                self._rest(path, busy, num_failures)

    def _pull_once(self, path: str, target: "_InMemory | _OnDisk", stop: int | None) -> bool:
        """One request; whether ``target`` is full after it. BusyError if it may be asked again."""
        self._pace.wait_for_turn(self._stopped)
        with self._lock:
            self.num_requests += 1
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
            raise BusyError(f"cut after {target.position} of {end} bytes")
        return True

    def _rest(self, path: str, busy: BusyError, num_failures: int) -> None:
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

    def _start_over(self) -> None:
        self._file.truncate(0)
        self.position = 0

    def __enter__(self) -> "_OnDisk":
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()
