"""The dedup stage: shards of documents in, the same shards without copies out.

Three passes: each shard's signatures (kept beside the work, so that a killed run does not make
them again), one decision over all of them, then each shard written with its part of the decision.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.common.funnel import Funnel
from tasks.common.shard import ShardWriter, part_name, read_tables
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.dedup.cluster import Corpus, reason, stands_for
from tasks.dedup.config import DedupConfig
from tasks.dedup.signature import Signer, exact_key, shingle_hashes

SIGNATURES_FOLDER = ".signatures"
KEY_COLUMNS = ["id", "text", "source", "fetched_at"]


def run(context: StageContext, config: DedupConfig) -> Outcome:
    """Keep one of each set of copies. In: documents of all sources. Out: fewer rows."""
    shards = context.shards("documents")
    if not shards:
        raise ValueError("dedup was given no shards; give it the artifact of extract or filter")
    (context.path / SIGNATURES_FOLDER).mkdir(exist_ok=True)
    sizes = context.map(
        sign_shard,
        [(*shard, context.path, index, config) for index, shard in enumerate(shards)],
        key="signatures",
        names=lambda index: [_signatures_name(index)],
    )
    corpus = _load([context.path / _signatures_name(index) for index in range(len(shards))])
    kept = stands_for(
        corpus,
        exact=config.exact,
        num_bands=config.num_bands if config.minhash else 0,
        rows_per_band=config.rows_per_band,
        keep=config.keep,
    )
    verdicts = [_verdict(row, int(best), corpus) for row, best in enumerate(kept)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    funnels = context.map(
        write_shard,
        [
            (*shard, context.path, index, verdicts[starts[index] : starts[index + 1]])
            for index, shard in enumerate(shards)
        ],
        names=lambda index: [part_name(index), f"dropped/{part_name(index)}"],
    )
    cluster_sizes = np.unique(kept, return_counts=True)[1]
    return Outcome(
        funnel=Funnel.total(Funnel(**funnel) for funnel in funnels),
        metrics={
            "num_clusters": int((cluster_sizes > 1).sum()),
            "largest_cluster_documents": int(cluster_sizes.max(initial=0)),
        },
    )


def sign_shard(artifact: Artifact, name: str, folder: Path, index: int, config: DedupConfig) -> int:
    """Save the keys and signatures of one shard's documents; return how many documents it has."""
    signer = Signer(config.num_bands * config.rows_per_band, config.seed)
    columns: dict[str, list[Any]] = {column: [] for column in KEY_COLUMNS}
    exact_keys: list[str] = []
    signatures: list[np.ndarray] = []
    signed_rows: list[int] = []
    for table in read_tables(artifact.fetch(name)):
        for row in table.select(KEY_COLUMNS).to_pylist():
            shingles = shingle_hashes(row["text"], config.ngram_words)
            if len(shingles) and config.minhash:
                signed_rows.append(len(exact_keys))
                signatures.append(signer.sign(shingles))
            exact_keys.append(exact_key(row["text"]))
            row["text"] = len(row["text"])
            for column, value in row.items():
                columns[column].append(value)
    np.savez(
        folder / _signatures_name(index),
        ids=np.array(columns["id"], np.str_),
        exact_keys=np.array(exact_keys, "S32"),
        signatures=np.array(signatures, np.uint32).reshape(-1, signer.num_permutations),
        signed_rows=np.array(signed_rows, np.int64),
        num_chars=np.array(columns["text"], np.int64),
        fetched_at=np.array([date or "" for date in columns["fetched_at"]], np.str_),
        sources=np.array(columns["source"], np.str_),
    )
    return len(exact_keys)


def write_shard(
    artifact: Artifact,
    name: str,
    folder: Path,
    index: int,
    verdicts: Sequence[tuple[str, str | None, str]],
) -> dict[str, Any]:
    """Write one shard; ``verdicts`` holds each row's id, reason to go and the id that stays."""
    remaining = iter(verdicts)
    with ShardWriter(folder, index) as shard:
        for table in read_tables(artifact.fetch(name)):
            for row in table.to_pylist():
                document, why, kept_id = next(remaining)
                assert document == row["id"], f"the verdict on {document} met {row['id']}"
                shard.drop(row, why, kept_id) if why else shard.keep(row)
    return shard.funnel.model_dump()


def _load(paths: Sequence[Path]) -> Corpus:
    """Join the shards' keys, renumbering rows from the first shard on."""
    parts = []
    for path in paths:
        with np.load(path) as file:
            parts.append(dict(file))
    start = 0
    for part in parts:
        part["signed_rows"] = part["signed_rows"] + start
        start += len(part["ids"])
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Corpus(**joined)


def _verdict(row: int, kept: int, corpus: Corpus) -> tuple[str, str | None, str]:
    return str(corpus.ids[row]), reason(kept, row, corpus), str(corpus.ids[kept])


def _signatures_name(index: int) -> str:
    return f"{SIGNATURES_FOLDER}/part-{index:05d}.npz"


STAGE = Stage(name="dedup", version=1, config=DedupConfig, inputs=("documents",), run=run)
