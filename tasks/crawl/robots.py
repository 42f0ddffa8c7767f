"""robots.txt: what a site allows, by RFC 9309.

Pure: the answer to a request for /robots.txt in, permissions out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from protego import Protego

from tasks.crawl.reservations import Reservations

MAX_ROBOTS_BYTES = 500 * 1024  # RFC 9309, 2.5
MAX_REDIRECTS = 5  # RFC 9309, 2.3.1.2
NOTHING_RESERVED = Reservations()
MAX_CRAWL_DELAY_SECONDS = 300.0
TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class Robots:
    """What one origin allows to one crawler.

    Args:
        refuses_all: the reason why nothing may be fetched, if so.
        rules: the parsed file; None allows everything.
        agent: the crawler's product token, e.g. ``BloomeryBot``.
        others: robots whose part we take: what is forbidden to them by name is so to us.
        reservations: where the file asks not to train on pages.
    """

    refuses_all: str | None = None
    rules: Protego | None = None
    agent: str = ""
    others: tuple[str, ...] = ()
    reservations: Reservations = NOTHING_RESERVED

    @classmethod
    def read(cls, status: int, body: bytes, agent: str, others: Sequence[str] = ()) -> "Robots":
        """Judge by the status: a file counts, its absence allows, a failing server forbids."""
        if status >= 500 or status == TOO_MANY_REQUESTS:
            return cls(refuses_all="robots_unreachable")
        if not 200 <= status < 300:
            return cls()
        text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
        robots = cls(
            rules=Protego.parse(text),
            agent=agent,
            others=tuple(others),
            reservations=Reservations.read_robots(text, agent),
        )
        if robots.delay_seconds > MAX_CRAWL_DELAY_SECONDS:
            return cls(refuses_all="robots_delay")  # slower than we would wait: stay away
        return robots

    def refusal(self, url: str) -> str | None:
        """Name why ``url`` may not be fetched, or None."""
        if self.refuses_all:
            return self.refuses_all
        if self.rules and not self.rules.can_fetch(url, self.agent):
            return "robots"
        if self.rules and not all(self.rules.can_fetch(url, other) for other in self.others):
            return "robots_others"
        return None

    @property
    def sitemaps(self) -> list[str]:
        """The sitemaps that the file names, as written."""
        return list(self.rules.sitemaps) if self.rules else []

    @property
    def delay_seconds(self) -> float:
        """The pause the site asks for between two requests; 0 if it asks for none."""
        if not self.rules:
            return 0.0
        rate = self.rules.request_rate(self.agent)
        between = rate.seconds / rate.requests if rate and rate.requests else 0.0
        return max(float(self.rules.crawl_delay(self.agent) or 0.0), between)


def product_token(user_agent: str) -> str:
    """The name by which robots.txt calls us: the first word of the user agent, no version."""
    return user_agent.split()[0].partition("/")[0]
