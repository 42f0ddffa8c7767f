"""What scores decide. Pure: scores in, thresholds and verdicts out."""

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

LOW_QUALITY, TOXIC = "low_quality", "toxic"
NUM_BINS = 1 << 16  # of scores: a power of two, so that floats say exactly where each begins


def thresholds(
    scores: Iterable[tuple[str, np.ndarray]], least: float, worst_share: float
) -> dict[str, float]:
    """The score of each group below which its worst share goes, and no less than ``least``.

    Scores (0 to 1, by group) come piece by piece, and a group may come several times. A limit is
    right to 1 / ``NUM_BINS``, and never sets more than the share aside.
    """
    histograms: dict[str, np.ndarray] = {}
    for group, values in scores:
        counts = histograms.setdefault(group, np.zeros(NUM_BINS + 1, np.int64))
        counts += np.bincount((values * NUM_BINS).astype(np.int64), minlength=NUM_BINS + 1)
    return {
        group: max(least, _first_bin_kept(histograms[group], worst_share) / NUM_BINS)
        for group in sorted(histograms)
    }


def _first_bin_kept(counts: np.ndarray, worst_share: float) -> int:
    """The highest bin below which there is at most ``worst_share`` of all."""
    below = np.cumsum(counts) - counts
    return int(np.flatnonzero(below <= worst_share * counts.sum())[-1])


def keeps_by_chance(document_id: str, score: float, alpha: float) -> bool:
    """Whether a document stays by GPT-3's rule (Brown et al. 2020, appendix A): a draw of a Pareto
    distribution (Lomax's) is above 1 - score. The draw is fixed by the document.
    """
    digest = hashlib.blake2b(f"pareto:{document_id}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest) + 0.5) / 2.0**64
    return float((1 - uniform) ** (-1 / alpha)) - 1 > 1 - score


def low_quality(
    document_id: str,
    score: float | None,
    group: str,
    limits: Mapping[str, float],
    least: float,
    alpha: float | None,
) -> str | None:
    """Why a document's quality sets it aside; None if it does not. ``least`` is the limit of groups
    that have none of their own.
    """
    if score is None:
        return None
    limit = limits.get(group, least)
    if score < limit:
        return f"{score:.3f} < {limit:.3f}"
    if alpha is not None and not keeps_by_chance(document_id, score, alpha):
        return f"{score:.3f}, by chance"
    return None
