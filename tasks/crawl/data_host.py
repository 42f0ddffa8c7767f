"""A host of data files: bytes of a file, asked for once, over HTTP(S) or from an S3 bucket.

In: a base URL, paths below it, and which bytes. Out: the bytes as they arrive, and how long the
file is; or why not, in one of two kinds: not there, or worth another attempt. Whether and when to
ask again is ``remote``'s.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import httpx

from tasks.common.retry_after import retry_after_seconds

# Common Crawl's CDN answers 403, its bucket 503, when asked too much.
BUSY_STATUSES = frozenset((403, 408, 425, 429, 500, 502, 503, 504))
GONE_STATUSES = frozenset((404, 410, 416))
S3_CHUNK_BYTES = 1 << 16
CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class NotThereError(Exception):
    """The host has no such file, or the file has no such bytes; ``reason`` goes into the table."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status_{status}")
        self.reason = f"status_{status}"


class BusyError(Exception):
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


class Host(Protocol):
    """What a host of files can do; use it from any number of threads."""

    def open(self, path: str, start: int, stop: int | None) -> AbstractContextManager[Body]:
        """Ask for bytes; a negative ``start`` counts from the end.

        The answer begins at ``start``, or may begin at 0 if ``stop`` is None.
        """
        ...

    def close(self) -> None:
        """Let go of its connections."""
        ...


def open_host(base_url: str, user_agent: str, timeout_seconds: float, max_connections: int) -> Host:
    """The host of ``https://…/``, ``http://…/`` or ``s3://bucket/prefix/``."""
    kind = _S3Host if base_url.startswith("s3://") else _HttpHost
    return kind(base_url, user_agent, timeout_seconds, max_connections)


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
                    raise BusyError(
                        f"status {answer.status_code}",
                        retry_after_seconds(answer.headers.get("Retry-After", "")),
                    )
                yield self._body(answer, start, stop)
        except httpx.TransportError as error:
            raise BusyError(f"{type(error).__name__} {error}".strip()) from None
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
        return _whole(int(headers["Content-Length"]), tag, chunks, start, stop)


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
                yield from stream.iter_chunks(S3_CHUNK_BYTES)
            except BotoCoreError as error:
                raise BusyError(str(error)) from None

        try:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._prefix + path, **_range_header(start, stop)
            )
        except ClientError as error:
            raise self._explained(error) from None
        except BotoCoreError as error:
            raise BusyError(str(error)) from None
        with closing(answer["Body"]) as stream:
            tag, chunks = answer["ETag"], read(stream)
            if "ContentRange" in answer:
                yield _part(answer["ContentRange"], tag, chunks, start, stop)
            else:
                yield _whole(answer["ContentLength"], tag, chunks, start, stop)

    def _explained(self, error: Any) -> Exception:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status in GONE_STATUSES:
            return NotThereError(status)
        if status in BUSY_STATUSES and status != 403:
            return BusyError(f"status {status}")
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


def _whole(total: int, tag: str, chunks: Iterator[bytes], start: int, stop: int | None) -> Body:
    """An answer with all of a file, which will do if all that follows ``start`` was asked for."""
    if stop is not None or start < 0:
        raise ValueError("the host of base_url serves no byte ranges; use another")
    return Body(0, total, tag, chunks)
