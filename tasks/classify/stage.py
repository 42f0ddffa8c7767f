"""The classify stage: shards and classifiers in, the same shards with scores out.

Passes: score each shard, decide what quality is too low, write. What the classifiers learned and
how good they are is in their own artifact.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.classify.config import ClassifyConfig
from tasks.classify.rules import LOW_QUALITY, TOXIC, low_quality, thresholds
from tasks.common.classifier import Classifiers, load_classifiers, of_each_label
from tasks.common.document import DOCUMENT_SCHEMA
from tasks.common.funnel import Funnel
from tasks.common.shard import ShardWriter, part_name, read_tables, set_column
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact

HIDDEN_FOLDER = ".classify"
SCORE_COLUMNS = ("domain", "domain_score", "domain_scores", "quality_score", "toxicity_score")
SCORES_SCHEMA = pa.schema(
    [DOCUMENT_SCHEMA.field(name) for name in SCORE_COLUMNS]
    + [pa.field("can_drop", pa.bool_()), pa.field("group", pa.string())]
)


def run(context: StageContext, config: ClassifyConfig) -> Outcome:
    """Score documents. In: documents, classifiers. Out: the documents with their scores."""
    shards = context.shards("documents")
    classifiers = context.input("classifiers")
    (context.path / HIDDEN_FOLDER).mkdir(exist_ok=True)
    context.map(
        score_shard,
        [(*s, classifiers, context.path, i, config.worst_share_of) for i, s in enumerate(shards)],
        key="scores",
        names=lambda index: [_scores_name(index)],
    )
    limits = _limits(context.path, len(shards), config)
    written = context.map(
        write_shard,
        [(*shard, context.path, index, config, limits) for index, shard in enumerate(shards)],
        names=lambda index: [part_name(index), f"dropped/{part_name(index)}"],
    )
    return Outcome(
        funnel=Funnel.total(Funnel(**found["funnel"]) for found in written),
        metrics={
            "num_tagged_toxic": sum(found["num_tagged"] for found in written),
            "quality_thresholds": limits or {"": config.min_quality_score},
        },
    )


def score_shard(
    artifact: Artifact, name: str, classifiers: Artifact, folder: Path, index: int, group_by: str
) -> dict[str, int]:
    """Save one shard's scores."""
    loaded = Classifiers(load_classifiers(classifiers))
    num_rows = 0
    with pq.ParquetWriter(folder / _scores_name(index), SCORES_SCHEMA, compression="zstd") as file:
        for table in read_tables(artifact.fetch(name)):
            file.write_table(_scored(table, loaded, group_by))
            num_rows += len(table)
    return {"rows": num_rows}


def write_shard(
    artifact: Artifact,
    name: str,
    folder: Path,
    index: int,
    config: ClassifyConfig,
    limits: dict[str, float],
) -> dict[str, Any]:
    """Write one shard with its scores; what they are against is set aside or tagged."""
    num_tagged = 0
    tables = zip(
        read_tables(artifact.fetch(name)), read_tables(folder / _scores_name(index)), strict=True
    )
    with ShardWriter(folder, index) as shard:
        for table, scores in tables:
            for column in SCORE_COLUMNS:
                table = table.set_column(
                    table.schema.get_field_index(column),
                    DOCUMENT_SCHEMA.field(column),
                    scores[column],
                )
            reasons, details = _verdicts(table["id"].to_pylist(), scores, config, limits)
            is_toxic = _is_toxic(scores, config)
            if config.toxicity_action == "tag":
                num_tagged += sum(is_toxic)
                table = set_column(table, "tags", _with_tag(table["tags"].to_pylist(), is_toxic))
            shard.split(table, reasons, details)
    return {"funnel": shard.funnel.model_dump(), "num_tagged": num_tagged}


def _scored(table: pa.Table, loaded: Classifiers, group_by: str) -> pa.Table:
    """The scores of one table; quality and toxicity are prose's alone."""
    found = loaded.scores(table["text"].to_pylist())
    is_prose = np.array(table["kind"].to_pylist(), object) == "prose"
    domains, domain_score, domain_scores = _domains(table, found.get("domain"), loaded)
    quality = loaded.cards.get("quality")
    references = set(quality.reference_sources) if quality else set()
    quality_score = _prose_scores(is_prose, found.get("quality"))
    columns = {
        "domain": domains,
        "domain_score": domain_score,
        "domain_scores": domain_scores,
        "quality_score": quality_score,
        "toxicity_score": _prose_scores(is_prose, found.get("toxicity")),
        "can_drop": [
            score is not None and source not in references
            for score, source in zip(quality_score, table["source"].to_pylist(), strict=True)
        ],
        "group": _groups(table, domains, group_by),
    }
    return pa.table(columns, schema=SCORES_SCHEMA)


def _groups(table: pa.Table, domains: list[str | None], group_by: str) -> list[str]:
    """Whose worst share a document may be of."""
    if group_by == "all":
        return [""] * len(table)
    groups = domains if group_by == "domain" else table[group_by].to_pylist()
    return [group or "" for group in groups]


def _domains(
    table: pa.Table, scores: np.ndarray | None, loaded: Classifiers
) -> tuple[list[str | None], list[float | None], list[list[tuple[str, float]] | None]]:
    """Each document's subject: the one that it has, or the likeliest; how likely that is, and all.

    A subject that the classifier does not know has no probability.
    """
    known = table["domain"].to_pylist()
    if scores is None:
        return known, [None] * len(known), [None] * len(known)
    labels = loaded.cards["domain"].labels
    of_label = {label: index for index, label in enumerate(labels)}
    subjects: list[str | None] = []
    own_scores: list[float | None] = []
    maps: list[list[tuple[str, float]] | None] = []
    rows = of_each_label(scores)
    for own, row, likeliest in zip(known, rows.tolist(), rows.argmax(axis=1), strict=True):
        has_words = row[0] == row[0]
        subject = own if own is not None or not has_words else labels[likeliest]
        index = of_label.get(subject or "") if has_words else None
        subjects.append(subject)
        own_scores.append(None if index is None else row[index])
        maps.append(list(zip(labels, row, strict=True)) if has_words else None)
    return subjects, own_scores, maps


def _prose_scores(is_prose: np.ndarray, scores: np.ndarray | None) -> list[float | None]:
    if scores is None:
        return [None] * len(is_prose)
    has_score = is_prose & ~np.isnan(scores[:, 0])
    return [s if has else None for s, has in zip(scores[:, 0].tolist(), has_score, strict=True)]


def _limits(folder: Path, num_shards: int, config: ClassifyConfig) -> dict[str, float]:
    """The score of each group below which prose of other sources goes, where groups differ."""
    if not config.drop_lowest_share:
        return {}
    names = (folder / _scores_name(index) for index in range(num_shards))
    scores = (own for name in names for own in _droppable_scores(name))
    return thresholds(scores, config.min_quality_score, config.drop_lowest_share)


def _droppable_scores(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    for table in read_tables(path, columns=["quality_score", "can_drop", "group"]):
        table = table.filter(table["can_drop"])
        quality = table["quality_score"].to_numpy().astype(np.float64)
        groups, codes = np.unique(table["group"].to_numpy().astype(str), return_inverse=True)
        for code, group in enumerate(groups):
            yield str(group), quality[codes == code]


def _verdicts(
    ids: list[str], scores: pa.Table, config: ClassifyConfig, limits: dict[str, float]
) -> tuple[list[str | None], list[str | None]]:
    """Reasons and details of what is set aside."""
    columns = (scores[name].to_pylist() for name in ("quality_score", "can_drop", "group"))
    details = [
        low_quality(id_, score, group, limits, config.min_quality_score, config.pareto_alpha)
        if can_drop
        else None
        for id_, score, can_drop, group in zip(ids, *columns, strict=True)
    ]
    reasons = [LOW_QUALITY if detail else None for detail in details]
    if config.toxicity_action == "drop":
        for place, is_toxic in enumerate(_is_toxic(scores, config)):
            if is_toxic and reasons[place] is None:
                reasons[place] = TOXIC
    return reasons, details


def _is_toxic(scores: pa.Table, config: ClassifyConfig) -> list[bool]:
    if config.max_toxicity_score is None:
        return [False] * len(scores)
    limit = config.max_toxicity_score
    return [s is not None and s > limit for s in scores["toxicity_score"].to_pylist()]


def _with_tag(tags: Sequence[list[str] | None], is_toxic: Sequence[bool]) -> list[list[str] | None]:
    return [
        sorted({*(found or ()), TOXIC}) if toxic else found
        for found, toxic in zip(tags, is_toxic, strict=True)
    ]


def _scores_name(index: int) -> str:
    return f"{HIDDEN_FOLDER}/scores-{index:05d}.parquet"


STAGE = Stage(
    name="classify", version=3, config=ClassifyConfig, inputs=("documents", "classifiers"), run=run
)
