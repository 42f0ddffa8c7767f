"""Fetching: one URL in, one answer out, politely.

The only module that touches the network. Each request obeys the site's robots.txt and reservation
of rights, keeps its pace, and connects to no private address unless it is told to. A host that is
overloaded or gone is asked less and less, and then left alone. Redirects are not followed here;
they are answers, and the frontier judges where they point.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeVar

import aiohttp
import yarl

from tasks.common.retry_after import retry_after_seconds
from tasks.crawl.addresses import (
    Allowance,
    GuardedResolver,
    PrivateAddressError,
    chosen_address,
)
from tasks.crawl.answer import (
    HOST_FAILURES,
    NOT_MODIFIED,
    RETRY_REASONS,
    TOO_MANY_REQUESTS,
    UNCHANGED,
    Answer,
)
from tasks.crawl.config import SourceConfig
from tasks.crawl.record import KEPT_HEADERS
from tasks.crawl.reservations import MAX_FILE_BYTES as MAX_TDM_BYTES
from tasks.crawl.reservations import TDM_PATH, Reservations
from tasks.crawl.robots import MAX_REDIRECTS, MAX_ROBOTS_BYTES, Robots, product_token
from tasks.crawl.sitemaps import (
    MAX_FILE_BYTES,
    MAX_FILES_PER_ORIGIN,
    MAX_NESTING,
    read_sitemap,
)
from tasks.crawl.unpack import ACCEPT_ENCODING, BadEncodingError, unpack
from tasks.crawl.urls import host_of, normalise, origin_of

ACCEPTED_TYPES = ("text/html", "application/xhtml+xml", "text/plain")
ACCEPT_HEADER = "text/html,application/xhtml+xml;q=0.9,text/plain;q=0.8"
MAX_ATTEMPTS = 3
RETRY_SECONDS = 1.0  # doubled each time that a host fails again
MAX_RETRY_WAIT_SECONDS = 60.0
MAX_HOST_FAILURES = 10  # in a row; then a host is left alone for the rest of the crawl
CHUNK_BYTES = 64 * 1024
MAX_LARGE_FILES = 4  # sitemaps under way at the same time
MAX_BODIES_BYTES = 256 * 1024 * 1024  # what the answers under way may take of memory

Value = TypeVar("Value")


@dataclass
class Harvest:
    """What the sitemaps of one origin list.

    Args:
        pages: URLs with their last modification as written, empty where none is.
        num_files: sitemap files that were read.
        refused: why others, or parts of them, were not.
    """

    pages: list[tuple[str, str]] = field(default_factory=list)
    num_files: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class Fetcher:
    """Fetches pages; use as an async context manager.

    Args:
        config: pace, limits and name of the crawl.
        connect_to: host to ``address:port`` to connect to instead of asking DNS, in plain HTTP.
    """

    def __init__(self, config: SourceConfig, connect_to: Mapping[str, str]) -> None:
        self._config = config
        self._chosen = {host: chosen_address(host, place) for host, place in connect_to.items()}
        self._allowance = Allowance.of(config.allow_private_addresses, config.private_hosts)
        self._agent = product_token(config.user_agent)
        in_memory = max(1, MAX_BODIES_BYTES // config.max_page_bytes)
        self._connections = asyncio.Semaphore(min(config.max_connections, in_memory))
        self._large_files = asyncio.Semaphore(MAX_LARGE_FILES)
        self._robots: dict[str, asyncio.Task[Robots]] = {}
        self._tdm: dict[str, asyncio.Task[Reservations]] = {}
        self._hosts: dict[str, _Host] = {}

    async def __aenter__(self) -> "Fetcher":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=GuardedResolver(self._chosen, self._allowance),
                use_dns_cache=False,
                limit=0,  # the semaphores count
            ),
            headers={
                "User-Agent": self._config.user_agent,
                "Accept": ACCEPT_HEADER,
                "Accept-Encoding": ACCEPT_ENCODING,
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
        for task in (*self._robots.values(), *self._tdm.values()):
            task.cancel()
        await self._session.close()

    @property
    def num_hosts(self) -> int:
        """Hosts that were asked so far."""
        return len(self._hosts)

    async def fetch(self, url: str, conditions: Mapping[str, str] | None = None) -> Answer:
        """Fetch a normalised URL if its site allows; every failure is an Answer with a reason.

        Args:
            conditions: headers that ask for the page only if it has changed; if it has not, the
                answer's reason is ``unchanged``.
        """
        origin = origin_of(url)
        robots = await self._robots_of(origin)
        if reason := self._refusal(robots, url):
            return Answer(url, reason)
        if self._config.respect_opt_out and (await self._tdm_of(origin)).reserve(url):
            return Answer(url, "tdm_reservation")
        answer = await self._patiently(
            url, self._delay(robots), self._config.max_page_bytes, conditions=conditions
        )
        if answer.reason is None and answer.content_type not in ACCEPTED_TYPES:
            return Answer(url, "content_type", answer.status, answer.headers)
        return answer

    async def sitemaps(self, origin: str) -> Harvest:
        """Read the sitemaps that an origin's robots.txt names, or the one at the usual place."""
        robots = await self._robots_of(origin)
        named = [url for name in robots.sitemaps if (url := normalise(name, f"{origin}/"))]
        waiting = [(url, 0) for url in dict.fromkeys(named or [f"{origin}/sitemap.xml"])]
        harvest, known = Harvest(), set[str]()
        max_urls = self._config.max_sitemap_urls
        while waiting and len(known) < MAX_FILES_PER_ORIGIN and len(harvest.pages) < max_urls:
            url, nesting = waiting.pop(0)
            if url not in known:
                known.add(url)
                waiting += await self._read_sitemap(url, nesting, harvest)
        if waiting:
            harvest.refused["beyond_limits"] += len(waiting)
        return harvest

    async def _read_sitemap(
        self, url: str, nesting: int, harvest: Harvest
    ) -> list[tuple[str, int]]:
        """Take in one sitemap file; returns those that it lists in turn."""
        robots = await self._robots_of(origin_of(url))
        if reason := self._refusal(robots, url):
            harvest.refused[reason] += 1
            return []
        async with self._large_files:
            answer = await self._follow(url, self._delay(robots), MAX_FILE_BYTES)
            if answer.reason:
                harvest.refused[answer.reason] += 1
                return []
            max_urls = self._config.max_sitemap_urls - len(harvest.pages)
            found = read_sitemap(answer.body, max_urls)
        harvest.num_files += 1
        harvest.pages += found.pages
        if found.refusal:
            harvest.refused[found.refusal] += 1
        if nesting >= MAX_NESTING:
            harvest.refused["nesting"] += len(found.sitemaps)
            return []
        listed = (normalise(location, url) for location in found.sitemaps)
        return [(location, nesting + 1) for location in listed if location]

    def _refusal(self, robots: Robots, url: str) -> str | None:
        if self._config.respect_robots_txt and (reason := robots.refusal(url)):
            return reason
        reserved = self._config.respect_opt_out and robots.reservations.reserve(url)
        return "no_training" if reserved else None

    def _delay(self, robots: Robots) -> float:
        return max(self._config.delay_seconds, robots.delay_seconds)

    async def _robots_of(self, origin: str) -> Robots:
        return await _once_for(self._robots, origin, self._read_robots)

    async def _tdm_of(self, origin: str) -> Reservations:
        return await _once_for(self._tdm, origin, self._read_tdm)

    async def _read_robots(self, origin: str) -> Robots:
        answer = await self._follow(
            f"{origin}/robots.txt", self._config.delay_seconds, MAX_ROBOTS_BYTES, cut=True
        )
        if answer.reason == "private_address":
            return Robots(refuses_all="private_address")
        if answer.status is None:
            return Robots(refuses_all="robots_unreachable")
        return Robots.read(answer.status, answer.body, self._agent, self._config.robots_agents)

    async def _read_tdm(self, origin: str) -> Reservations:
        delay = self._delay(await self._robots_of(origin))
        answer = await self._follow(origin + TDM_PATH, delay, MAX_TDM_BYTES)
        return Reservations() if answer.reason else Reservations.read_tdmrep(answer.body)

    async def _follow(
        self, url: str, delay_seconds: float, limit_bytes: int, cut: bool = False
    ) -> Answer:
        """Ask for one of a site's own notes, through a few redirects."""
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._patiently(url, delay_seconds, limit_bytes, cut=cut)
            if answer.location is None:
                break
            url = answer.location
        return answer

    async def _patiently(
        self,
        url: str,
        delay_seconds: float,
        limit_bytes: int,
        *,
        cut: bool = False,
        conditions: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask again, with growing pauses, where the host or the line was only busy."""
        host = self._hosts.setdefault(
            host_of(url), _Host(asyncio.Semaphore(self._config.max_connections_per_host))
        )
        answer = Answer(url, "host_unavailable")
        for _ in range(MAX_ATTEMPTS):
            async with host.turn(delay_seconds, self._connections):
                if host.is_given_up:
                    break
                answer = await self._once(url, limit_bytes, cut, conditions or {})
            host.count(answer)
            if answer.reason not in RETRY_REASONS or _asks_for_too_long(answer):
                break
        return answer

    async def _once(
        self, url: str, limit_bytes: int, cut: bool, conditions: Mapping[str, str]
    ) -> Answer:
        try:
            async with asyncio.timeout(self._config.timeout_seconds):
                async with self._session.get(
                    self._wire_url(url), headers=conditions, allow_redirects=False
                ) as response:
                    return await _read(url, response, limit_bytes, cut)
        except PrivateAddressError:
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
        if not self._allowance.admits_literal(host):
            raise PrivateAddressError(host)
        return parsed


@dataclass
class _Host:
    """The pace of one host: so many requests at once, none sooner than its next turn."""

    connections: asyncio.Semaphore
    next_turn: float = 0.0
    num_failures: int = 0  # in a row
    is_given_up: bool = False

    @asynccontextmanager
    async def turn(self, delay_seconds: float, of_all: asyncio.Semaphore) -> AsyncIterator[None]:
        """Wait for this host's next turn and for one of the connections to all hosts.

        A host's turn begins when both are there: who waits for a connection holds no turn, so
        that two of a host's requests never leave at once after a wait.
        """
        clock = asyncio.get_running_loop().time
        async with self.connections:
            while True:
                while not self.is_given_up and (wait := self.next_turn - clock()) > 0:
                    await asyncio.sleep(wait)  # and look again: an answer may have postponed it
                async with of_all:
                    if self.is_given_up or self.next_turn <= clock():
                        self.next_turn = clock() + delay_seconds
                        yield
                        return

    def count(self, answer: Answer) -> None:
        """Take note of an answer: after a busy one or none, all of the host has a rest.

        The rest doubles with each such answer in a row, unless the host says how long it needs;
        a host that has nothing else to say, or that sends us away for long, is left alone.
        """
        if answer.reason not in HOST_FAILURES:
            self.num_failures = 0
            return
        self.num_failures += 1
        is_sent_away = answer.status == TOO_MANY_REQUESTS and _asks_for_too_long(answer)
        if is_sent_away or self.num_failures >= MAX_HOST_FAILURES:
            self.is_given_up = True
        elif answer.reason in RETRY_REASONS and not _asks_for_too_long(answer):
            seconds = answer.retry_after or RETRY_SECONDS * 2 ** (self.num_failures - 1)
            resume = asyncio.get_running_loop().time() + min(seconds, MAX_RETRY_WAIT_SECONDS)
            self.next_turn = max(self.next_turn, resume)


def _asks_for_too_long(answer: Answer) -> bool:
    return (answer.retry_after or 0) > MAX_RETRY_WAIT_SECONDS


async def _once_for(
    tasks: dict[str, asyncio.Task[Value]],
    origin: str,
    read: Callable[[str], Coroutine[None, None, Value]],
) -> Value:
    """What was read of an origin, by whoever was the first to ask."""
    if origin not in tasks:
        tasks[origin] = asyncio.create_task(read(origin))
    return await asyncio.shield(tasks[origin])


async def _read(url: str, response: aiohttp.ClientResponse, limit_bytes: int, cut: bool) -> Answer:
    status = response.status
    headers = tuple(
        (name, value) for name in KEPT_HEADERS for value in response.headers.getall(name, [])
    )
    if status == NOT_MODIFIED:
        return Answer(url, UNCHANGED, status, headers)
    if 300 <= status < 400 and "Location" in response.headers:
        location = normalise(response.headers["Location"], url)
        reason = "redirect" if location else "bad_redirect"
        return Answer(url, reason, status, headers, location=location)
    if status != 200:
        retry_after = retry_after_seconds(response.headers.get("Retry-After", ""))
        return Answer(url, f"status_{status}", status, headers, retry_after=retry_after)
    encodings = ",".join(response.headers.getall("Content-Encoding", []))
    body, is_cut = await _read_body(response, limit_bytes)
    if is_cut and not cut:
        return Answer(url, "too_large", status, headers)
    try:
        body = unpack(body, encodings, limit_bytes, partial=is_cut)
    except BadEncodingError:
        return Answer(url, "content_encoding", status, headers)
    if len(body) > limit_bytes and not cut:
        return Answer(url, "too_large", status, headers)
    return Answer(url, None, status, headers, body[:limit_bytes])


async def _read_body(response: aiohttp.ClientResponse, limit_bytes: int) -> tuple[bytes, bool]:
    """Read at most ``limit_bytes`` as they were sent; tells whether there were more."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) > limit_bytes:
            return bytes(body[:limit_bytes]), True
    return bytes(body), False
