"""Reservations: what a site says of machine learning for patterns of paths.

Pure. Two notations lead to the same rules. TDMRep (W3C Community Group report, 10 May 2024) has
``tdm-reservation: 1`` in /.well-known/tdmrep.json, in an HTTP header, or in a page's meta element;
the report lets a page take back what its site's file says, but we do not ask for a page that the
file reserves, so that any reservation counts here. And robots.txt has ``Content-Signal:
ai-train=no`` (contentsignals.org) and ``Content-Usage: train-ai=n`` (IETF working group AIPREF),
the latter a header, too.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

import can_ada

from tasks.common.opt_outs import TDM_NAME, TRAINING_WORDS, is_reserved, training_word

TDM_PATH = "/.well-known/tdmrep.json"
MAX_FILE_BYTES = 1024 * 1024
MAX_RULES = 1_000


@dataclass(frozen=True)
class Reservations:
    """Patterns of paths, the length of each, and whether it is reserved, in a site's order."""

    rules: tuple[tuple[re.Pattern[str], int, bool], ...] = ()

    @classmethod
    def of(cls, rules: Iterable[tuple[str, bool]]) -> "Reservations":
        """Rules of a path pattern and what holds there; those beyond a large number are cut."""
        return cls(tuple((_pattern(path), len(path), held) for path, held in rules)[:MAX_RULES])

    @classmethod
    def read_tdmrep(cls, body: bytes) -> "Reservations":
        """Read a tdmrep.json; what is not one reserves nothing."""
        try:
            listed = json.loads(body)
        except (ValueError, RecursionError):
            return cls()
        rules = [rule for rule in (listed if isinstance(listed, list) else [listed]) if rule]
        return cls.of(
            (rule["location"], is_reserved(str(rule[TDM_NAME])))
            for rule in rules[:MAX_RULES]
            if isinstance(rule, dict) and isinstance(rule.get("location"), str) and TDM_NAME in rule
        )

    @classmethod
    def read_robots(cls, text: str, agent: str) -> "Reservations":
        """Read the signals in a robots.txt that are meant for ``agent``, or else for all."""
        found = list(_signals(text))
        own = [(path, held) for agents, path, held in found if agent.lower() in agents]
        return cls.of(own or [(path, held) for agents, path, held in found if "*" in agents])

    def reserve(self, url: str) -> bool:
        """Whether a normalised URL is reserved.

        The first rule that matches counts, and the longest, as sites write for either reading; in
        doubt the rights are reserved.
        """
        parsed = can_ada.parse(url)
        path = parsed.pathname + parsed.search
        matching = [(length, held) for rule, length, held in self.rules if rule.match(path)]
        return bool(matching) and (matching[0][1] or max(matching)[1])


def _signals(text: str) -> Iterable[tuple[frozenset[str], str, bool]]:
    """Each signal in a robots.txt: the agents it is for, its path, and what it says."""
    agents: set[str] = {"*"}  # what stands before any group is for all
    is_heading = False
    for line in text.splitlines():
        name, _, value = (part.strip().lower() for part in line.partition("#")[0].partition(":"))
        if name == "user-agent":
            agents = agents | {value} if is_heading else {value}
        elif name in TRAINING_WORDS:
            path, _, rest = value.partition(" ") if value.startswith("/") else ("/", "", value)
            held = training_word(name, rest)
            if held is not None:
                yield frozenset(agents), path, held
        is_heading = name == "user-agent" or (is_heading and not name)


def _pattern(location: str) -> re.Pattern[str]:
    """A path that begins like ``location``, in which ``*`` and a last ``$`` mean what they do in
    robots.txt (RFC 9309, 2.2.3).
    """
    is_whole = location.endswith("$")
    parts = location.removesuffix("$").split("*")
    # possessive gaps: no pattern can make the matcher go back and forth
    gaps = "".join(f"(?>.*?{re.escape(part)})" for part in parts[1:-1])
    last = f".*{re.escape(parts[-1])}" if len(parts) > 1 else ""
    return re.compile(re.escape(parts[0]) + gaps + last + ("$" if is_whole else ""), re.DOTALL)
