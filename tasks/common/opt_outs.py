"""What a page asks of robots and of machine learning, in its headers and meta elements.

Pure. In: headers and metas as they were written. Out: directives, or the opt-outs by the names
under which documents carry them:

- ``noai``, ``noindex``: words of X-Robots-Tag headers and ``robots`` metas (``none`` is noindex).
- ``tdm-reservation``: TDMRep (W3C Community Group report, 10 May 2024), header or meta.
- ``train-ai=n``: a Content-Usage header (IETF working group AIPREF).
"""

import re
from collections.abc import Iterable, Iterator, Sequence

TDM_NAME = "tdm-reservation"
USAGE_NAME = "content-usage"
ROBOTS_HEADER = "x-robots-tag"
# Names of lines in robots.txt, and the words that allow or forbid training in them.
TRAINING_WORDS = {
    "content-signal": {"ai-train=yes": False, "ai-train=no": True},
    USAGE_NAME: {"train-ai=y": False, "train-ai=n": True},
}
# Directives of X-Robots-Tag that have a value; any other word before a colon is a robot's name.
VALUED_DIRECTIVES = frozenset(
    ["max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"]
)
ROBOT_NAME = re.compile(r"[A-Za-z_*][\w.*-]*")
MAX_METAS = 1_000

Pairs = Sequence[tuple[str, str]]


def page_opt_outs(headers: Pairs, metas: Pairs = ()) -> tuple[str, ...]:
    """The opt-outs of a page that are meant for all, sorted.

    Args:
        headers: names and values of the answer's headers.
        metas: names, in lower case, and contents of its meta elements.
    """
    metas = metas[:MAX_METAS]
    words = set(header_directives(headers))
    words.update(*(directive_words(content) for name, content in metas if name == "robots"))
    found = words & {"noai", "noindex"}
    if "none" in words:
        found.add("noindex")
    if any(is_reserved(value) for name, value in (*headers, *metas) if name.lower() == TDM_NAME):
        found.add(TDM_NAME)
    if any(forbids_training(value) for name, value in headers if name.lower() == USAGE_NAME):
        found.add("train-ai=n")
    return tuple(sorted(found))


def header_directives(headers: Iterable[tuple[str, str]], agent: str = "*") -> frozenset[str]:
    """The words of X-Robots-Tag headers that are meant for all or for ``agent``.

    A name in front holds for the words after it, up to the next name or the header's end:
    ``otherbot: noindex, nofollow, bloomerybot: noai``.
    """
    values = (value for name, value in headers if name.lower() == ROBOTS_HEADER)
    return frozenset(word for value in values for word in _words_for(agent, value))


def directive_words(text: str) -> list[str]:
    """The words of a list of directives, in lower case."""
    return [word.strip().lower() for word in text.split(",") if word.strip()]


def is_reserved(value: str) -> bool:
    """Whether a TDMRep header's or meta element's value reserves the rights."""
    return value.strip() == "1"


def forbids_training(value: str) -> bool:
    """Whether a Content-Usage header's value forbids to train on what it came with."""
    return training_word(USAGE_NAME, value) is True


def training_word(name: str, value: str) -> bool | None:
    """What a list of words says of training, None if nothing."""
    words = {"".join(word.split()).lower() for word in value.split(",")}
    said = [held for word, held in TRAINING_WORDS[name].items() if word in words]
    return any(said) if said else None


def _words_for(agent: str, value: str) -> Iterator[str]:
    addressee = ""
    for part in value.split(","):
        name, colon, rest = part.partition(":")
        name = name.strip().lower()
        if colon and ROBOT_NAME.fullmatch(name) and name not in VALUED_DIRECTIVES:
            addressee, part = name, rest
        if addressee in ("", "*", agent):
            yield from directive_words(part)
