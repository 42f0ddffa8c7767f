"""What scores decide. Pure: scores in, thresholds and verdicts out."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

LOW_QUALITY, TOXIC = "low_quality", "toxic"


def thresholds(
    scores: Sequence[float], groups: Sequence[str], least: float, worst_share: float
) -> dict[str, float]:
    """The score of each group below which its worst share goes, and no less than ``least``."""
    values, names = np.asarray(scores, float), np.asarray(groups, object)
    found = {}
    for group in sorted(set(groups)):
        worst = float(np.quantile(values[names == group], worst_share, method="lower"))
        found[group] = max(least, worst)
    return found


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
    alpha: float | None,
) -> str | None:
    """Why a document's quality sets it aside; None if it does not."""
    if score is None:
        return None
    if score < limits.get(group, 0.0):
        return f"{score:.3f} < {limits[group]:.3f}"
    if alpha is not None and not keeps_by_chance(document_id, score, alpha):
        return f"{score:.3f}, by chance"
    return None
