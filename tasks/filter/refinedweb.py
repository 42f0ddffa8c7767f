"""RefinedWeb's corrections line by line (Penedo et al. 2023, arXiv:2306.01116, appendix G.2).

Pure: text in, text without what belongs to a page's furniture, or the reason to drop the page:
where more than a twentieth of the words are furniture, what is left is no text either.
"""

import re
from collections import Counter

from tasks.filter.breach import above
from tasks.filter.edited import Edited
from tasks.filter.thresholds import RefinedWeb

COUNTER = re.compile(
    r"\W{0,9}\d[\d.,]{0,15}\s?[kKmM]?\s{1,9}(?:likes?|shares?|comments?|replies|retweets?|reposts?|"
    r"quotes?|bookmarks?|upvotes?|downvotes?|downloads?|views?|followers?)\W{0,9}",
    re.I,
)
# Calls to act, by where in a line they stand.
AT_START = re.compile(r"(?:sign[ -]in|log[ -]?in|sign[ -]up)\b\W{0,9}", re.I)
AT_END = re.compile(r"\bread more\W{0,9}\Z", re.I)
ANYWHERE = re.compile(r"\b(?:\d{1,9} )?items? in (?:your )?cart\b", re.I)


def correct_lines(text: str, limits: RefinedWeb) -> Edited:
    """Take furniture out of a text."""
    removed: Counter[str] = Counter()
    num_words = num_removed = 0
    left = []
    for line in text.split("\n"):
        words = len(line.split())
        num_words += words
        reason = _unwanted(line.strip(), words, limits.max_uppercase) if words else None
        corrected = line
        if not reason and words <= limits.max_edited_line_words:
            corrected = without_calls(line)
            if corrected != line and not corrected.strip():
                reason = "call_to_act"
        if reason:
            removed[reason] += 1
            num_removed += words
        else:
            left.append(corrected)
            num_removed += words - len(corrected.split())
    share = num_removed / max(1, num_words)
    breaches = above("refinedweb_words", "removed_words", share, limits.max_removed_words)
    return Edited(text="\n".join(left).strip("\n"), breaches=breaches, removed=removed)


def without_calls(line: str) -> str:
    """A short line without Sign in, Read more … and items in cart."""
    found = AT_START.sub("", line, count=1) if AT_START.match(line) else line
    found = ANYWHERE.sub("", found)
    match = AT_END.search(found)
    return found[: match.start()].rstrip() if match else found


def _unwanted(line: str, num_words: int, max_uppercase: float) -> str | None:
    """Why a line that is not blank has to go."""
    if sum(map(str.isupper, line)) > max_uppercase * len(line):
        return "uppercase"
    if "".join(line.split()).isnumeric():
        return "number"
    if COUNTER.fullmatch(line):
        return "counter"
    return "one_word" if num_words == 1 else None
