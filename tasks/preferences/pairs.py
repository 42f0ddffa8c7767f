"""From judged answers to preference pairs. Pure."""

from collections.abc import Sequence

from tasks.common.records import Record


def make_pair(
    record: Record, answers: Sequence[str], scores: Sequence[float], min_margin: float
) -> Record | None:
    """The best answer over the worst, or None where the judge hardly tells them apart."""
    best = max(range(len(answers)), key=scores.__getitem__)
    worst = min(range(len(answers)), key=scores.__getitem__)
    if scores[best] - scores[worst] < min_margin:
        return None
    return {
        "id": record["id"],
        "prompt": record["prompt"],
        "chosen": answers[best],
        "rejected": answers[worst],
        "scores": [round(scores[best], 2), round(scores[worst], 2)],
    }


def use_reference(pair: Record, reference: str) -> Record:
    """The same pair with the reference as the better answer."""
    return {**pair, "chosen": reference}
