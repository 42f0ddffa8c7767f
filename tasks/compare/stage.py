"""The compare stage: two models' answers to the same questions in, a win rate out.

Out: ``comparison.json`` and ``verdicts.jsonl``, one question a line.
"""

import json
from typing import Any

from tasks.common.judge import closeness
from tasks.common.records import Record, read_records
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.statistics import share_interval
from tasks.common.store import Artifact
from tasks.compare.config import CompareConfig


def run(context: StageContext, config: CompareConfig) -> Outcome:
    """Judge each pair of answers by closeness to the reference; a draw counts half."""
    candidate, baseline = _answers(context.input("candidate")), _answers(context.input("baseline"))
    asked = _asked_of_both(candidate, baseline)
    references = [candidate[key]["reference"] for key in asked]
    ours, theirs = (
        closeness([answers[key]["answer"] for key in asked], references)
        for answers in (candidate, baseline)
    )
    wins = [verdict(o, t, config.tie_margin) for o, t in zip(ours, theirs, strict=True)]
    rate, low, high = share_interval(wins)
    metrics: dict[str, Any] = {
        "win_rate": rate,
        "low": low,
        "high": high,
        "questions": len(wins),
        "draws": wins.count(0.5),
        "candidate_chrf": sum(ours) / len(ours),
        "baseline_chrf": sum(theirs) / len(theirs),
    }
    context.log.info("win rate %.3f (95 %% interval %.3f to %.3f)", rate, low, high)
    (context.path / "comparison.json").write_text(json.dumps(metrics, indent=1))
    with (context.path / "verdicts.jsonl").open("w") as file:
        for key, win, own, their in zip(asked, wins, ours, theirs, strict=True):
            file.write(json.dumps({"id": key, "win": win, "chrf": [own, their]}) + "\n")
    return Outcome(metrics=metrics)


def verdict(candidate_score: float, baseline_score: float, tie_margin: float) -> float:
    """1 for a win of the candidate, 0 for a loss, 1/2 for a draw."""
    difference = candidate_score - baseline_score
    if abs(difference) <= tie_margin:
        return 0.5
    return 1.0 if difference > 0 else 0.0


def _answers(evaluation: Artifact) -> dict[str, Record]:
    return {record["id"]: record for record in read_records(evaluation.fetch("answers.jsonl"))}


def _asked_of_both(candidate: dict[str, Record], baseline: dict[str, Record]) -> list[str]:
    """A question that was too long for one model says nothing of the two."""
    asked = [key for key in candidate if key in baseline]
    if not asked:
        raise ValueError(
            "there are no questions that both models answered: instruct's questions.jsonl is "
            "empty, or its prompts are too long for the models"
        )
    return asked


STAGE = Stage(
    name="compare", version=2, config=CompareConfig, inputs=("candidate", "baseline"), run=run
)
