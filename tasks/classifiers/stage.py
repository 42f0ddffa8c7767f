"""The classifiers stage: documents and labelled files in, trained classifiers out.

Passes: sample examples, train each classifier in a process of its own, calibrate and measure it on
documents held out, draw. The artifact holds the models, ``classifiers.json`` (how to read them),
``held-out.json`` (curves and histograms), one plot a classifier and the labels that were asked for.
What they say of every document is the classify stage's business.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.classifiers.config import ClassifiersConfig
from tasks.classifiers.examples import CLEAN, GOOD, OTHER, TOXIC, Unusable, questions, samples
from tasks.classifiers.labelling import label
from tasks.classifiers.learners import SUFFIX, train, train_points
from tasks.classifiers.measures import (
    area_under_curve,
    calibration_error,
    class_measures,
    class_scale,
    equal_weights,
    histogram,
    logit_scale,
    points_measures,
    points_scale,
    reliability,
)
from tasks.classifiers.plots import calibration_png
from tasks.classifiers.sample import Example, Sample, calibrates, is_held_out, rank_of
from tasks.common.classifier import (
    CARDS_NAME,
    MAX_LABEL_SCORE,
    Card,
    Cards,
    Raw,
    document_values,
    load_model,
    of_each_label,
    read,
    sigmoid,
    softmax,
)
from tasks.common.files import checksums
from tasks.common.records import write_records
from tasks.common.stage import Outcome, Stage, StageContext

WINDOWS_FIELDS = ("max_windows", "inverse_penalty")
FASTTEXT_FIELDS = ("dimensions", "buckets", "epochs", "learning_rate")
HIDDEN_FOLDER = ".classifiers"
HELD_OUT_NAME, LABELS_NAME = "held-out.json", "labels.jsonl"
WORD = re.compile(r"\w")  # without words there is nothing to measure


def run(context: StageContext, config: ClassifiersConfig) -> Outcome:
    """Train classifiers. In: documents. Out: models, how to read them, how good they are."""
    (context.path / HIDDEN_FOLDER).mkdir(exist_ok=True)
    shards = context.shards("documents")
    unusable = Unusable()
    cards: dict[str, Card] = {}
    held_out: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    if config.quality.method == "labels":
        examples, labelled = _labelled(context, config)
        metrics["labels"] = labelled
        _make_points(context, config, examples, cards, held_out)
    for purpose, sample in samples(shards, config, unusable).items():
        _make_classes(context, config, purpose, sample, cards, held_out)
    if unusable:
        context.log.warning("records that teach nothing: %s", dict(unusable))
        metrics["unusable_records"] = sum(unusable.values())
    _write_json(context.path / CARDS_NAME, Cards(**cards).model_dump())
    _write_json(context.path / HELD_OUT_NAME, held_out)
    for purpose, found in held_out.items():
        metrics[purpose] = found["measures"]
        (context.path / f"{purpose}.png").write_bytes(calibration_png(purpose, found))
    return Outcome(metrics=metrics)


def _make_classes(
    context: StageContext,
    config: ClassifiersConfig,
    purpose: str,
    sample: Sample,
    cards: dict[str, Card],
    held_out: dict[str, Any],
) -> None:
    """Train, calibrate and measure one classifier of labels."""
    labels = {"quality": [OTHER, GOOD], "toxicity": [CLEAN, TOXIC]}.get(purpose, sample.labels)
    if len(sample.labels) < 2:
        if purpose != "domain" or sample.labels:
            context.log.warning("%s needs examples of two kinds; it is left out", purpose)
        return
    examples = sample.examples(held_out=False)
    _log_examples(context, purpose, examples)
    card = Card(
        file=purpose + SUFFIX[config.learning.learner],
        learner=config.learning.learner,
        labels=labels,
        reading=_reading(purpose, config),
    )
    if purpose == "quality":
        own = {name: getattr(config.quality, name) for name in ("half_words", "reference_sources")}
        card = card.model_copy(update=own)
    if context.workspace.committed(card.file) is None:
        train(examples, labels, _scratch(context, card.file), config.learning)
        _commit(context, card.file)
    test = [example for example in sample.examples(held_out=True) if WORD.search(example.text)]
    raw = _raw(context, card, test)
    cards[purpose], held_out[purpose] = _judged(purpose, card, test, raw)


def _make_points(
    context: StageContext,
    config: ClassifiersConfig,
    examples: Sequence[Example],
    cards: dict[str, Card],
    held_out: dict[str, Any],
) -> None:
    """Train, calibrate and measure the regression on points."""
    card = Card(file="quality.npz", learner="windows", labels=[], reading="points")
    learned = [example for example in examples if not is_held_out(example.rank)]
    if len({example.label for example in learned}) < 2:
        raise ValueError(
            "the labels say the same of every document, or there are none: look at the prompt and "
            "the model of classifiers.quality.labels, or label more documents"
        )
    if context.workspace.committed(card.file) is None:
        train_points(learned, _scratch(context, card.file), config.learning)
        _commit(context, card.file)
    test = [e for e in examples if is_held_out(e.rank) and WORD.search(e.text)]
    raw = _raw(context, card, test)
    points = np.array([float(example.label) for example in test])
    values = document_values(raw, card.reading)[:, 0]
    sets_scale = np.array([calibrates(example.rank) for example in test], bool)
    scale, shift = points_scale(values[sets_scale], points[sets_scale])
    card = card.model_copy(update={"scale": scale, "shift": shift})
    said = read(raw, card)[:, 0]
    truth, said = points[~sets_scale], said[~sets_scale] * MAX_LABEL_SCORE
    curve = reliability(said / MAX_LABEL_SCORE, truth / MAX_LABEL_SCORE)
    scaled = [b | {name: b[name] * MAX_LABEL_SCORE for name in ("said", "true")} for b in curve]
    cards["quality"] = card
    held_out["quality"] = {
        "measures": points_measures(truth, said) | {"num_held_out": len(truth)},
        "curve": scaled,
        "top": MAX_LABEL_SCORE,
        "said": "points predicted",
        "true": "points given",
        "histograms": {"all": histogram(said / MAX_LABEL_SCORE)},
    }


def _labelled(
    context: StageContext, config: ClassifiersConfig
) -> tuple[list[Example], dict[str, int]]:
    """Documents with the points that the endpoint gave them; the labels become part of the
    artifact.
    """
    wanted = config.quality.labels
    asked = questions(context.shards("documents"), wanted.num_documents, wanted.max_chars)
    journal = context.path / HIDDEN_FOLDER / LABELS_NAME
    records = label(asked, wanted, journal, context.should_stop)
    write_records(context.path / LABELS_NAME, records)
    examples = [
        Example(rank_of(question.document_id), str(record["points"]), question.text)
        for question, record in zip(asked, records, strict=True)
        if record["points"] is not None
    ]
    num_unreadable = len(records) - len(examples)
    if num_unreadable:
        context.log.warning("%d answers name no points; they are set aside", num_unreadable)
    return sorted(examples), {"asked": len(records), "unreadable": num_unreadable}


def _judged(
    purpose: str, card: Card, test: Sequence[Example], raw: Raw
) -> tuple[Card, dict[str, Any]]:
    """Calibrate on one half of what was held out, measure on the other."""
    truth = np.array([card.labels.index(example.label) for example in test], np.int64)
    sets_scale = np.array([calibrates(example.rank) for example in test], bool)
    if card.reading == "amount":
        values, unit_truth, unit_scales = raw.values, truth[raw.text], sets_scale[raw.text]
    else:
        values, unit_truth, unit_scales = document_values(raw, card.reading), truth, sets_scale
    card = _calibrated(card, values[unit_scales], unit_truth[unit_scales])
    said = card.scale * values[~unit_scales] + card.shift
    true = unit_truth[~unit_scales]
    score = read(raw, card)
    measured = ~sets_scale
    if len(card.labels) == 2:
        curve = reliability(sigmoid(said[:, 0]), true == 1, equal_weights(true))
    else:
        probability = softmax(said)
        is_right = probability.argmax(axis=1) == true
        curve = reliability(probability.max(axis=1, initial=0), is_right)
    if purpose == "domain":
        found = _subjects(card, of_each_label(score), truth, measured)
    else:
        found = _two_kinds(card, raw, score[:, 0], truth, measured)
    found["measures"] |= {"ece": calibration_error(curve), "num_held_out": int(measured.sum())}
    unit = "window" if card.reading == "amount" else "document"
    return card, found | {
        "curve": curve,
        "top": 1,
        "said": f"probability said, of a {unit}",
        "true": "share that was so",
    }


def _calibrated(card: Card, values: np.ndarray, truth: np.ndarray) -> Card:
    if len(card.labels) > 2:
        return card.model_copy(update={"scale": class_scale(values, truth)})
    scale, shift = logit_scale(values[:, 0], truth == 1)
    return card.model_copy(update={"scale": scale, "shift": shift})


def _two_kinds(
    card: Card, raw: Raw, score: np.ndarray, truth: np.ndarray, measured: np.ndarray
) -> dict[str, Any]:
    likeness = document_values(raw, "mean")[:, 0]
    is_positive = truth[measured] == 1
    measures = {
        "auc": area_under_curve(list(score[measured]), list(is_positive)),
        "likeness_auc": area_under_curve(list(likeness[measured]), list(is_positive)),
    }
    histograms = {
        name: histogram(score[measured & (truth == number)])
        for number, name in enumerate(card.labels)
    }
    return {"measures": measures, "histograms": histograms}


def _subjects(
    card: Card, score: np.ndarray, truth: np.ndarray, measured: np.ndarray
) -> dict[str, Any]:
    names = np.array(card.labels)
    guess = names[score[measured].argmax(axis=1)] if measured.any() else []
    measures = class_measures(list(names[truth[measured]]), list(guess), card.labels)
    return {"measures": measures, "histograms": {"best": histogram(score[measured].max(axis=1))}}


def _raw(context: StageContext, card: Card, test: Sequence[Example]) -> Raw:
    """Raw numbers of the held-out documents."""
    model = load_model(context.path / card.file, card)
    return model.raw([example.text for example in test])


def _reading(purpose: str, config: ClassifiersConfig) -> Any:
    return {"quality": config.quality.reading, "domain": "mean", "toxicity": "max"}[purpose]


def _scratch(context: StageContext, name: str) -> Path:
    return context.path / HIDDEN_FOLDER / name


def _commit(context: StageContext, name: str) -> None:
    _scratch(context, name).replace(context.path / name)
    context.workspace.commit(name, True, [name])


def _log_examples(context: StageContext, purpose: str, examples: Sequence[Example]) -> None:
    counts: dict[str, int] = {}
    for example in examples:
        counts[example.label] = counts.get(example.label, 0) + 1
    context.log.info("%s learns from %s", purpose, counts)


def _write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _identity(config: ClassifiersConfig) -> Mapping[str, Any]:
    """Files by checksum; only what the method and the learner that are chosen heed, and of the
    endpoint only what decides its answers.
    """
    values = config.model_dump(mode="json", exclude={"pinned"})
    for part, name in (
        ("quality", "reference_files"),
        ("quality", "referenced_url_files"),
        ("quality", "other_files"),
        ("domain", "seed_files"),
        ("toxicity", "files"),
    ):
        values[part][name] = checksums(values[part][name])
    labels, method = values["quality"].pop("labels"), config.quality.method
    if method == "labels":
        decisive = ("model", "prompt", "num_documents", "max_chars", "max_answer_tokens")
        own = {name: labels[name] for name in decisive}
        values["quality"] = {"method": method, "labels": own}  # no other field is read
    learner = config.learning.learner
    idle = set(WINDOWS_FIELDS if learner == "fasttext" else FASTTEXT_FIELDS)
    if method == "labels":
        idle -= set(WINDOWS_FIELDS)  # points are learned by windows
    for name in idle:
        del values["learning"][name]
    return values


STAGE = Stage(
    name="classifiers",
    version=2,
    config=ClassifiersConfig,
    inputs=("documents",),
    run=run,
    identity=_identity,
)
