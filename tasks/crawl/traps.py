"""Traps: URLs that a site could go on making for ever.

Pure: a URL in, a reason out. Rules look at one URL; budgets count, per host and per pattern of URL,
so that a calendar, a faceted search or a session in the path costs so many requests and no more.
They are driven in order by what is offered, so that an interrupted crawl counts to the same.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

import can_ada
import xxhash

MAX_PATH_SEGMENTS = 20
MAX_PATH_REPEATS = 2  # times that a run of segments may follow itself
MAX_QUERY_CHARS = 512
MAX_QUERY_KEYS = 16
# A run of segments, and itself twice again: /a/b/a/b/a/b. Paths are at most 2,000 characters long
# and at most 20 segments deep when this is asked, so that trying every run stays cheap.
REPEATS = re.compile(rf"(?:^|/)((?:[^/]+/){{1,6}}?)\1{{{MAX_PATH_REPEATS},}}")
DIGITS = re.compile(r"\d+")


def trap_reason(url: str) -> str | None:
    """Name the rule by which a normalised URL looks like a trap, or None."""
    parsed = can_ada.parse(url)
    if parsed.pathname.count("/") > MAX_PATH_SEGMENTS:
        return "path_too_deep"
    if REPEATS.search(parsed.pathname + "/"):
        return "repeating_path"
    query = parsed.search
    if len(query) > MAX_QUERY_CHARS or query.count("&") >= MAX_QUERY_KEYS:
        return "long_query"
    return None


def pattern_of(url: str) -> str:
    """What a URL has in common with its like: host, path and query keys, without numbers."""
    parsed = can_ada.parse(url)
    keys = sorted({pair.partition("=")[0] for pair in parsed.search[1:].split("&")})
    return DIGITS.sub("0", f"{parsed.host}{parsed.pathname}?{'&'.join(keys)}")


@dataclass
class Budgets:
    """How many URLs of one host, and of one pattern, a crawl has taken on.

    Args:
        per_host: URLs of a host at most.
        per_pattern: URLs of a pattern at most.
    """

    per_host: int
    per_pattern: int
    _hosts: Counter[str] = field(default_factory=Counter)
    _patterns: Counter[int] = field(default_factory=Counter)

    def refusal(self, url: str, host: str) -> str | None:
        """Count a URL in and return None, or name the budget that it would break."""
        pattern = xxhash.xxh3_64_intdigest(pattern_of(url).encode())
        if self._hosts[host] >= self.per_host:
            return "host_budget"
        if self._patterns[pattern] >= self.per_pattern:
            return "pattern_budget"
        self._hosts[host] += 1
        self._patterns[pattern] += 1
        return None
