"""Which language a text is in. Pure: text in, ISO 639-1 code and score out."""

import unicodedata

from resiliparse.parse.lang import detect_fast

# The detector compares letter n-gram ranks with a profile of each language; beyond this distance
# its authors call the answer "usually false".
WORST_RANK = 1200
MAX_CHARS = 10_000


def identify(text: str) -> tuple[str | None, float]:
    """Name the language and how close the text is to its profile.

    The score is ``1 - rank / 1200``: 0 at the distance where answers stop being useful, 0.65
    to 0.87 for ordinary prose. It is a closeness, not a probability.
    """
    sample = unicodedata.normalize("NFC", text[:MAX_CHARS])
    language, rank = detect_fast(sample, cutoff=WORST_RANK)
    if language == "unknown":
        return None, 0.0
    return language, 1 - rank / WORST_RANK
