"""The classify stage: shards in, the same shards with subject and quality out.

Passes: collect training texts, train (one process, one thread, reproducible), score each shard,
decide what quality is too low, write. The models become part of the artifact: ``domain.bin`` and
``quality.bin``.
"""

import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tasks.classify.config import ClassifyConfig
from tasks.classify.fasttext_model import Classifier, train
from tasks.classify.features import area_under_curve, is_held_out, rank_of, training_line
from tasks.common.funnel import Funnel
from tasks.common.shard import ShardWriter, part_name, read_tables, set_column
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact

HIDDEN_FOLDER = ".classify"
DOMAIN_MODEL, QUALITY_MODEL = "domain.bin", "quality.bin"
GOOD, OTHER = "good", "other"
COLUMNS = ["id", "text", "source", "kind", "domain"]


def run(context: StageContext, config: ClassifyConfig) -> Outcome:
    """Score documents. In: deduplicated documents. Out: the same with subject and quality."""
    shards = context.shards("documents")
    (context.path / HIDDEN_FOLDER).mkdir(exist_ok=True)
    models = {
        DOMAIN_MODEL: _train(context, DOMAIN_MODEL, config),
        QUALITY_MODEL: _train(context, QUALITY_MODEL, config),
    }
    scored = context.map(
        score_shard,
        [
            (
                *shard,
                context.path,
                index,
                config,
                sorted(m for m, is_there in models.items() if is_there),
            )
            for index, shard in enumerate(shards)
        ],
        key="scores",
        names=lambda index: [_scores_name(index)],
    )
    threshold = _quality_threshold(context.path, len(shards), config)
    funnels = context.map(
        write_shard,
        [(*shard, context.path, index, threshold) for index, shard in enumerate(shards)],
        names=lambda index: [part_name(index), f"dropped/{part_name(index)}"],
    )
    return Outcome(
        funnel=Funnel.total(Funnel(**funnel) for funnel in funnels),
        metrics={**_held_out_metrics(scored), "quality_threshold": threshold},
    )


def label_for(model: str, row: dict[str, Any], config: ClassifyConfig) -> str | None:
    """What ``model`` can learn from a document; None if nothing."""
    if model == DOMAIN_MODEL:
        domain: str | None = row["domain"]
        return domain
    if row["kind"] != "prose":
        return None
    return GOOD if row["source"] in config.quality_reference_sources else OTHER


def _train(context: StageContext, model: str, config: ClassifyConfig) -> bool:
    """Train one model unless an earlier attempt did; whether there is one."""
    if model == DOMAIN_MODEL and not config.domain:
        return False
    if model == QUALITY_MODEL and not config.quality_reference_sources:
        context.log.info("no reference sources are given: quality is not scored")
        return False
    done = context.workspace.committed(model)
    if done is None:
        done = _train_now(context, model, config)
        context.workspace.commit(model, done, [model] if done else [])
    return bool(done)


def _train_now(context: StageContext, model: str, config: ClassifyConfig) -> bool:
    sample = _sample(context, model, config)
    context.log.info(
        "%s learns from %s", model, {label: len(lines) for label, lines in sample.items()}
    )
    if len(sample) < 2:
        context.log.warning("%s needs documents of two classes; it is left out", model)
        return False
    lines = sorted(line for lines in sample.values() for line in lines)
    training_file = context.path / HIDDEN_FOLDER / f"{model}.txt"
    training_file.write_text("".join(line for _, line in lines))
    train(training_file, context.path / model, config)
    training_file.unlink()
    return True


def _sample(
    context: StageContext, model: str, config: ClassifyConfig
) -> dict[str, list[tuple[int, str]]]:
    """Training lines of each label, those of the smallest ranks when there are too many.

    A class has at most as many documents as the limit, whatever the order of the shards.
    """
    sample: dict[str, list[tuple[int, str]]] = {}
    for artifact, name in context.shards("documents"):
        for row in _rows(artifact.fetch(name)):
            label = label_for(model, row, config)
            if label is None or is_held_out(row["id"]):
                continue
            entry = (-rank_of(row["id"]), training_line(label, row["text"]))
            lines = sample.setdefault(label, [])
            if len(lines) < config.max_training_documents:
                heapq.heappush(lines, entry)
            else:
                heapq.heappushpop(lines, entry)
    return sample


def score_shard(
    artifact: Artifact,
    name: str,
    folder: Path,
    index: int,
    config: ClassifyConfig,
    models: list[str],
) -> dict[str, Any]:
    """Save one shard's scores; return what the held-out documents say about the models."""
    domain = Classifier(folder / DOMAIN_MODEL) if DOMAIN_MODEL in models else None
    quality = Classifier(folder / QUALITY_MODEL) if QUALITY_MODEL in models else None
    scores: dict[str, list[Any]] = {"domains": [], "domain_scores": [], "quality_scores": []}
    can_drop: list[bool] = []
    tested: dict[str, list[Any]] = {"domain": [], "quality": []}
    for row in _rows(artifact.fetch(name)):
        label, score, is_right = _domain_of(row, domain)
        scores["domains"].append(label)
        scores["domain_scores"].append(score)
        quality_label = label_for(QUALITY_MODEL, row, config) if quality else None
        p_good = (
            quality.probabilities(row["text"]).get(GOOD, 0.0) if quality and quality_label else None
        )
        scores["quality_scores"].append(p_good)
        can_drop.append(quality_label == OTHER)
        if is_held_out(row["id"]):
            if is_right is not None:
                tested["domain"].append(is_right)
            if quality_label:
                tested["quality"].append([p_good, quality_label == GOOD])
    (folder / _scores_name(index)).write_text(json.dumps({**scores, "can_drop": can_drop}))
    return tested


def _domain_of(
    row: dict[str, Any], model: Classifier | None
) -> tuple[str | None, float | None, bool | None]:
    """A document's subject, the model's probability of it, and whether a known one was guessed."""
    known = row["domain"]
    if model is None:
        return known, None, None
    found = model.probabilities(row["text"])
    guess = next(iter(found), None)
    if known is None:
        return guess, found.get(guess, 0.0) if guess else None, None
    return known, found.get(known, 0.0), guess == known


def write_shard(
    artifact: Artifact, name: str, folder: Path, index: int, threshold: float
) -> dict[str, Any]:
    """Write one shard with its scores; prose below the threshold is set aside."""
    scores = json.loads((folder / _scores_name(index)).read_text())
    start = 0
    with ShardWriter(folder, index) as shard:
        for table in read_tables(artifact.fetch(name)):
            here = slice(start, start + len(table))
            start += len(table)
            table = set_column(table, "domain", scores["domains"][here])
            table = set_column(table, "domain_score", scores["domain_scores"][here])
            table = set_column(table, "quality_score", scores["quality_scores"][here])
            reasons = [
                "low_quality" if can_drop and score < threshold else None
                for can_drop, score in zip(
                    scores["can_drop"][here], scores["quality_scores"][here], strict=True
                )
            ]
            shard.split(table, reasons)
    return shard.funnel.model_dump()


def _quality_threshold(folder: Path, num_shards: int, config: ClassifyConfig) -> float:
    """The score below which prose of other sources goes."""
    others: list[float] = []
    for index in range(num_shards):
        scores = json.loads((folder / _scores_name(index)).read_text())
        pairs = zip(scores["quality_scores"], scores["can_drop"], strict=True)
        others += [score for score, can_drop in pairs if can_drop]
    if not others:
        return config.min_quality_score
    worst = float(np.quantile(others, config.drop_lowest_share, method="lower"))
    return max(config.min_quality_score, worst)


def _held_out_metrics(tested: list[dict[str, list[Any]]]) -> dict[str, Any]:
    """Accuracy and area under the curve on documents that no model was trained on."""
    is_right = [answer for shard in tested for answer in shard["domain"]]
    quality = [pair for shard in tested for pair in shard["quality"]]
    return {
        "domain_accuracy": sum(is_right) / len(is_right) if is_right else None,
        "domain_held_out_documents": len(is_right),
        "quality_auc": area_under_curve([p for p, _ in quality], [good for _, good in quality]),
        "quality_held_out_documents": len(quality),
    }


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for table in read_tables(path):
        yield from table.select(COLUMNS).to_pylist()


def _scores_name(index: int) -> str:
    return f"{HIDDEN_FOLDER}/scores-{index:05d}.json"


STAGE = Stage(name="classify", version=2, config=ClassifyConfig, inputs=("documents",), run=run)
