"""Fetching: one URL in, one answer out, politely.

The only module that touches the network. Each request obeys the host's robots.txt, keeps its pace,
and connects to no private address unless it is told to: the addresses that are checked are the
ones that are connected to, so a name that resolves differently a moment later gains nothing.
Redirects are not followed here; they are answers, and the frontier judges where they point.
"""

import asyncio
import ipaddress
import re
import socket
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult

from tasks.crawl.config import SourceConfig
from tasks.crawl.record import KEPT_HEADERS
from tasks.crawl.robots import MAX_REDIRECTS, MAX_ROBOTS_BYTES, Robots, product_token
from tasks.crawl.urls import host_of, is_public, normalise, origin_of

ACCEPTED_TYPES = ("text/html", "application/xhtml+xml", "text/plain")
ACCEPT_HEADER = "text/html,application/xhtml+xml;q=0.9,text/plain;q=0.8"
MAX_ATTEMPTS = 3
RETRY_SECONDS = 1.0  # doubled at each attempt
MAX_RETRY_WAIT_SECONDS = 60.0
RETRY_STATUSES = (429, 503)
CHUNK_BYTES = 64 * 1024
# Worth another attempt; a page that was too slow once costs its whole timeout again, so is not.
RETRY_REASONS = ("connection", *(f"status_{status}" for status in RETRY_STATUSES))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a URL: a page, or the reason why there is none.

    Args:
        reason: None for a page that may be read; else why it is refused.
        body: the page, unpacked.
        headers: those of KEPT_HEADERS that it had.
        location: where it redirects to, normalised.
        retry_after: seconds to wait, where the server named them.
    """

    url: str
    reason: str | None = None
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    location: str | None = None
    retry_after: float | None = None

    def header(self, name: str) -> str:
        """A kept header, or an empty text."""
        return dict(self.headers).get(name, "")

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        return self.header("Content-Type").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The encoding that the Content-Type names, if any."""
        found = re.search(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", self.header("Content-Type"), re.I)
        return found[1] if found else None


class Fetcher:
    """Fetches pages; use as an async context manager.

    Args:
        config: pace, limits and name of the crawl.
        connect_to: host to ``address:port`` to connect to instead of asking DNS, in plain HTTP.
    """

    def __init__(self, config: SourceConfig, connect_to: Mapping[str, str]) -> None:
        self._config = config
        self._chosen = {host: _chosen(host, place) for host, place in connect_to.items()}
        self._agent = product_token(config.user_agent)
        self._robots: dict[str, asyncio.Task[Robots]] = {}
        self._hosts: dict[str, _Host] = {}

    async def __aenter__(self) -> "Fetcher":
        allow_private = self._config.allow_private_addresses
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_GuardedResolver(self._chosen, allow_private),
                use_dns_cache=False,
                limit=0,  # hosts have their own limits, and a batch bounds the sum
            ),
            headers={
                "User-Agent": self._config.user_agent,
                "Accept": ACCEPT_HEADER,
                "Accept-Encoding": "gzip, deflate",
            },
            timeout=aiohttp.ClientTimeout(total=None),  # ours covers the body and the checks
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # unpacked here, under a limit
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for task in self._robots.values():
            task.cancel()
        await self._session.close()

    @property
    def num_hosts(self) -> int:
        """Hosts that were asked so far."""
        return len(self._hosts)

    async def fetch(self, url: str) -> Answer:
        """Fetch a normalised URL if its host allows; every failure is an Answer with a reason."""
        robots = await self._robots_of(origin_of(url))
        if reason := robots.refusal(url):
            return Answer(url, reason)
        delay = max(self._config.delay_seconds, robots.delay_seconds)
        answer = await self._patiently(url, delay, self._config.max_page_bytes)
        if answer.reason is None and answer.content_type not in ACCEPTED_TYPES:
            return Answer(url, "content_type", answer.status, answer.headers)
        return answer

    async def _robots_of(self, origin: str) -> Robots:
        if origin not in self._robots:
            self._robots[origin] = asyncio.create_task(self._read_robots(f"{origin}/robots.txt"))
        return await asyncio.shield(self._robots[origin])

    async def _read_robots(self, url: str) -> Robots:
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._patiently(
                url, self._config.delay_seconds, MAX_ROBOTS_BYTES, cut=True
            )
            if answer.location is None:
                break
            url = answer.location
        if answer.reason == "private_address":
            return Robots(refuses_all="private_address")
        if answer.status is None:
            return Robots(refuses_all="robots_unreachable")
        return Robots.read(answer.status, answer.body, self._agent)

    async def _patiently(
        self, url: str, delay_seconds: float, limit_bytes: int, cut: bool = False
    ) -> Answer:
        """Ask again, with growing pauses, where the host or the line was only busy."""
        host = self._hosts.setdefault(
            host_of(url), _Host(asyncio.Semaphore(self._config.max_connections_per_host))
        )
        for attempt in range(MAX_ATTEMPTS):
            async with host.turn(delay_seconds):
                answer = await self._once(url, limit_bytes, cut)
            wait = answer.retry_after or RETRY_SECONDS * 2**attempt
            if answer.reason not in RETRY_REASONS or wait > MAX_RETRY_WAIT_SECONDS:
                break
            if attempt + 1 < MAX_ATTEMPTS:
                host.rest(wait)
        return answer

    async def _once(self, url: str, limit_bytes: int, cut: bool) -> Answer:
        try:
            async with asyncio.timeout(self._config.timeout_seconds):
                wire_url = self._wire_url(url)
                async with self._session.get(wire_url, allow_redirects=False) as response:
                    return await _read(url, response, limit_bytes, cut)
        except _PrivateAddressError:
            return Answer(url, "private_address")
        except TimeoutError:
            return Answer(url, "timeout")
        except aiohttp.InvalidURL:
            return Answer(url, "invalid_url")
        except (aiohttp.ClientError, OSError, ValueError):  # ValueError: headers that are not HTTP
            return Answer(url, "connection")

    def _wire_url(self, url: str) -> yarl.URL:
        """The URL to request: plain HTTP where we connect to an address of our own choosing."""
        parsed = yarl.URL(url, encoded=True)
        host = parsed.raw_host or ""
        if host in self._chosen:
            return parsed.with_scheme("http") if parsed.scheme == "https" else parsed
        # aiohttp asks no resolver about an address that is written out
        if not self._config.allow_private_addresses and _is_private_literal(host):
            raise _PrivateAddressError(host)
        return parsed


@dataclass
class _Host:
    """The pace of one host: so many requests at once, none sooner than its next turn."""

    connections: asyncio.Semaphore
    next_turn: float = 0.0

    @asynccontextmanager
    async def turn(self, delay_seconds: float) -> AsyncIterator[None]:
        async with self.connections:
            clock = asyncio.get_running_loop().time
            while (wait := self.next_turn - clock()) > 0:  # again: a busy answer may postpone it
                await asyncio.sleep(wait)
            self.next_turn = clock() + delay_seconds
            yield

    def rest(self, seconds: float) -> None:
        """Leave the host alone for a while: all requests to it, not only the one that failed."""
        resume = asyncio.get_running_loop().time() + seconds
        self.next_turn = max(self.next_turn, resume)


class _PrivateAddressError(Exception):
    """A name or a URL leads to an address that is not on the open internet."""


class _GuardedResolver(AbstractResolver):
    """Resolves names to public addresses only, or to where the machine's configuration says."""

    def __init__(self, chosen: Mapping[str, ResolveResult], allow_private: bool) -> None:
        self._chosen = chosen
        self._allow_private = allow_private
        self._dns = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of ``host``; _PrivateAddressError if it has none that may be connected to."""
        if host in self._chosen:
            return [self._chosen[host]]
        found = await self._dns.resolve(host, port, family)
        if self._allow_private:
            return found
        public = [result for result in found if not _is_private_literal(result["host"])]
        if not public:
            raise _PrivateAddressError(host)
        return public

    async def close(self) -> None:
        """Nothing is held."""
        await self._dns.close()


def _chosen(host: str, address_port: str) -> ResolveResult:
    address, colon, port = address_port.rpartition(":")
    address = address.strip("[]")
    if not colon or not port.isdigit() or not address:
        raise ValueError(f"connect_to of {host!r} is {address_port!r}; write address:port")
    return ResolveResult(
        hostname=host,
        host=address,
        port=int(port),
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=0,
        flags=socket.AI_NUMERICHOST,
    )


def _is_private_literal(host: str) -> bool:
    try:
        return not is_public(ipaddress.ip_address(host.strip("[]").partition("%")[0]))
    except ValueError:  # a name
        return False


async def _read(url: str, response: aiohttp.ClientResponse, limit_bytes: int, cut: bool) -> Answer:
    status = response.status
    headers = tuple(
        (name, ", ".join(response.headers.getall(name)))
        for name in KEPT_HEADERS
        if name in response.headers
    )
    if 300 <= status < 400 and "Location" in response.headers:
        location = normalise(response.headers["Location"], url)
        reason = "redirect" if location else "bad_redirect"
        return Answer(url, reason, status, headers, location=location)
    if status != 200:
        retry_after = _retry_after_seconds(response.headers.get("Retry-After", ""))
        return Answer(url, f"status_{status}", status, headers, retry_after=retry_after)
    body, refusal = await _read_body(response, limit_bytes, cut)
    return Answer(url, refusal, status, headers, body)


async def _read_body(
    response: aiohttp.ClientResponse, limit_bytes: int, cut: bool
) -> tuple[bytes, str | None]:
    """Read and unpack at most ``limit_bytes``; beyond them the page is refused, or cut."""
    unpack = _unpacker(response.headers.get("Content-Encoding", ""))
    if unpack is None:
        return b"", "content_encoding"
    body = bytearray()
    try:
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            body += unpack(chunk, limit_bytes + 1 - len(body))
            if len(body) > limit_bytes:
                return (bytes(body[:limit_bytes]), None) if cut else (b"", "too_large")
    except zlib.error:
        return b"", "content_encoding"
    return bytes(body), None


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes] | None:
    """A function (chunk, most bytes to return) for a Content-Encoding; None if unknown."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return lambda chunk, limit: chunk
    if encoding in ("gzip", "x-gzip"):
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress
    if encoding == "deflate":
        return _Deflate().unpack
    return None


@dataclass
class _Deflate:
    """Servers disagree whether deflate has a zlib header; the first byte tells."""

    _unpack: Callable[[bytes, int], bytes] | None = field(default=None)

    def unpack(self, chunk: bytes, limit: int) -> bytes:
        if self._unpack is None:
            has_header = chunk[:1] and chunk[0] & 0x0F == zlib.DEFLATED
            bits = zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
            self._unpack = zlib.decompressobj(bits).decompress
        return self._unpack(chunk, limit)


def _retry_after_seconds(value: str) -> float | None:
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
