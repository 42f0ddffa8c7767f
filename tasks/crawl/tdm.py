"""TDMRep: rights reserved from text and data mining (W3C Community Group report, 10 May 2024).

Pure. A site says ``tdm-reservation: 1`` in /.well-known/tdmrep.json for patterns of paths, in an
HTTP header, or in a page's meta element. The report lets a page take back what its site's file
says; we do not ask for a page that the file reserves, so that any reservation counts here.
"""

import json
import re
from dataclasses import dataclass

import can_ada

WELL_KNOWN_PATH = "/.well-known/tdmrep.json"
MAX_FILE_BYTES = 1024 * 1024
MAX_RULES = 10_000
NAME = "tdm-reservation"


def is_reserved(value: str) -> bool:
    """Whether a header's or a meta element's value reserves the rights."""
    return value.strip() == "1"


@dataclass(frozen=True)
class TdmRules:
    """The rules of one origin's file: patterns of paths in its order, and what they say."""

    rules: tuple[tuple[re.Pattern[str], int, bool], ...] = ()

    @classmethod
    def read(cls, body: bytes) -> "TdmRules":
        """Read a tdmrep.json; what is not one reserves nothing."""
        try:
            listed = json.loads(body)
        except (ValueError, RecursionError):
            return cls()
        listed = listed if isinstance(listed, list) else [listed]
        rules = []
        for rule in listed[:MAX_RULES]:
            location = rule.get("location") if isinstance(rule, dict) else None
            if isinstance(location, str) and NAME in rule:
                reserved = is_reserved(str(rule[NAME]))
                rules.append((_pattern(location), len(location), reserved))
        return cls(tuple(rules))

    def reserves(self, url: str) -> bool:
        """Whether mining of a normalised URL is reserved.

        The first rule that matches counts, and the longest, as sites write for either reading; in
        doubt the rights are reserved.
        """
        parsed = can_ada.parse(url)
        path = parsed.pathname + parsed.search
        matching = [(length, reserved) for rule, length, reserved in self.rules if rule.match(path)]
        return bool(matching) and (matching[0][1] or max(matching)[1])


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
