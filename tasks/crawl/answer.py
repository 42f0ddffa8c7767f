"""An answer: what came of asking for one URL."""

import re
from dataclasses import dataclass

NOT_MODIFIED = 304
TOO_MANY_REQUESTS = 429
RETRY_STATUSES = (TOO_MANY_REQUESTS, 503)
UNCHANGED = "unchanged"  # the reason of an answer to a conditional request
# Worth another attempt; a page that was too slow once costs its whole timeout again, so is not.
RETRY_REASONS = ("connection", *(f"status_{status}" for status in RETRY_STATUSES))
# Says nothing of a page, only that its host could not answer now.
HOST_FAILURES = (*RETRY_REASONS, "timeout")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a URL: a page, or the reason why there is none.

    Args:
        reason: None for a page that may be read; else why it is refused.
        body: the page, unpacked.
        headers: those of KEPT_HEADERS that it had, in that order; one may be there several times.
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
        """A kept header, the first of its name, or an empty text."""
        return next((value for found, value in self.headers if found == name), "")

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        return self.header("Content-Type").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The encoding that the Content-Type names, if any."""
        found = re.search(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", self.header("Content-Type"), re.I)
        return found[1] if found else None
