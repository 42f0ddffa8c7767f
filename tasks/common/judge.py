"""The judge: how close an answer is to its reference, by chrF as sacrebleu counts it."""

from collections.abc import Sequence

from sacrebleu.metrics import CHRF


def closeness(answers: Sequence[str], references: Sequence[str]) -> list[float]:
    """chrF2 (Popović 2015, W15-3049) of each answer against its reference, 0 to 100."""
    chrf = CHRF()
    return [
        float(chrf.sentence_score(answer, [reference]).score)
        for answer, reference in zip(answers, references, strict=True)
    ]
