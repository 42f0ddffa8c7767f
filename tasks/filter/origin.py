"""Rules on where a document comes from and what its owner allows. Pure.

They ask the address, the licence and the opt-outs, not the text, and hold for prose and code alike.
A licence is an SPDX expression (ISO/IEC 5962, annex D).
"""

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from tasks.common.url_list import UrlLists
from tasks.filter.breach import Breach
from tasks.filter.config import FilterConfig, Licences, OptOuts
from tasks.filter.view import Candidate

UNKNOWN_LICENCE = "unknown"
NO_LICENCES = {"", "NOASSERTION"}
AND = re.compile(r"(?:(?<=\s)|^)AND(?:(?=\s)|$)", re.I)
OR = re.compile(r"(?:(?<=\s)|^)OR(?:(?=\s)|$)", re.I)
OPERATORS = {"AND", "OR", "WITH"}

Ruling = tuple[list[Breach], list[str]]  # what a document breaks, and its tags


def judge_origin(document: Candidate, config: FilterConfig, blocked: UrlLists | None) -> Ruling:
    """The breaches and tags of a document by its address, licence and opt-outs."""
    breaches: list[Breach] = []
    tags: list[str] = []
    for category, entry in (blocked.match(document.url) if blocked else {}).items():
        if _listed(category, config.blocklists.drop):
            breaches.append(Breach(f"blocklist:{category}", f"list entry {entry}"))
        elif _listed(category, config.blocklists.tag):
            tags.append(f"blocklist:{category}")
    for found in (
        _judge_licence(document.licence, config.licences),
        _judge_opt_outs(document.opt_outs, config.opt_outs),
    ):
        breaches += found[0]
        tags += found[1]
    return breaches, tags


def licence_choices(expression: str | None) -> list[list[str]]:
    """The ways in which a licence may be taken: alternatives of identifiers that bind together.

    With brackets in it all identifiers bind together: no document is taken for freer than it is.
    """
    text = (expression or "").strip()
    if "(" in text or ")" in text:
        words = re.sub(r"[()]", " ", text).split()
        return [[word for word in words if word.upper() not in OPERATORS]]
    ways = [way for way in OR.split(text) if way.strip()]
    return [[one.split()[0] for one in AND.split(way) if one.strip()] for way in ways]


def _judge_licence(expression: str | None, config: Licences) -> Ruling:
    if (expression or "").strip().upper() in NO_LICENCES:
        return _judge_unknown(config)
    assert expression
    choices = licence_choices(expression)
    detail = f"licence {expression}"
    allowed = [one for one in choices if not any(_fits(name, config.drop) for name in one)]
    if choices and not allowed:
        return [Breach("licence", f"{detail} fits {', '.join(config.drop)}")], []
    if config.keep and not any(all(_fits(name, config.keep) for name in one) for one in allowed):
        return [Breach("licence", f"{detail} fits none of {', '.join(config.keep)}")], []
    names = dict.fromkeys(name for one in choices for name in one)
    return [], [f"licence:{name}" for name in names if _fits(name, config.tag)]


def _judge_unknown(config: Licences) -> Ruling:
    if config.unknown == "drop":
        return [Breach("licence", "licence unknown")], []
    return [], [f"licence:{UNKNOWN_LICENCE}"] if config.unknown == "tag" else []


def _judge_opt_outs(opt_outs: Sequence[str], config: OptOuts) -> Ruling:
    dropped = [name for name in opt_outs if _listed(name, config.drop)]
    if dropped:
        return [Breach("opt_out", f"page says {', '.join(dropped)}")], []
    return [], [f"opt-out:{name}" for name in opt_outs if _listed(name, config.tag)]


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in patterns)


def _listed(name: str, names: Sequence[str]) -> bool:
    return name in names or "*" in names
