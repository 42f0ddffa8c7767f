"""The dedup stage: shards of documents in, the same shards without copies and old versions out.

Three passes: each shard's signatures (kept beside the work, so that a killed run does not make
them again), one decision over all of them, then each shard written with its part of the decision.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.common.funnel import Funnel
from tasks.common.minhash import Signer, band_keys, exact_key, shingle
from tasks.common.page_table import PAGE_TABLE_NAME, withdrawn_pages
from tasks.common.shard import ShardWriter, part_name, read_tables
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.common.words import batches
from tasks.dedup.cluster import REASONS, WITHDRAWN, Corpus, verdicts
from tasks.dedup.config import DedupConfig
from tasks.dedup.versions import Withdrawals, url_keys

SIGNATURES_FOLDER = ".signatures"
KEY_COLUMNS = ["id", "source", "fetched_at"]


def run(context: StageContext, config: DedupConfig) -> Outcome:
    """Keep one version of each page, and one of each set of copies.

    In: documents of all sources, and the crawls whose page tables say which pages were withdrawn.
    Out: fewer rows.
    """
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
    withdrawals = _withdrawals(context.inputs["pages"] if config.drop_withdrawn else ())
    kept, why = verdicts(corpus, withdrawals, config)
    ends = np.cumsum(sizes)
    parts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    funnels = context.map(
        write_shard,
        [
            (*shard, context.path, index, corpus.ids[part], why[part], corpus.ids[kept[part]])
            for index, (shard, part) in enumerate(zip(shards, parts, strict=True))
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
    """Save the keys of one shard's documents; return how many documents it has."""
    num_bands = config.num_bands if config.minhash else 0
    signer = Signer(num_bands * config.rows_per_band, config.seed)
    columns: dict[str, list[Any]] = {column: [] for column in (*KEY_COLUMNS, "num_chars", "exact")}
    keys: list[np.ndarray] = [np.empty((0, num_bands), np.uint64)]
    signed_rows: list[np.ndarray] = [np.empty(0, np.int64)]
    pages: list[np.ndarray] = [np.empty(0, np.uint64)]
    for table in read_tables(artifact.fetch(name)):
        texts = table["text"].to_pylist()
        start = len(columns["exact"])
        for part in batches(texts) if num_bands else ():
            signed, signatures = signer.sign(shingle(texts[part], config.ngram_words))
            keys.append(band_keys(signatures, num_bands, config.rows_per_band))
            signed_rows.append(start + part.start + signed)
        for column in KEY_COLUMNS:
            columns[column] += [(value or "").encode() for value in table[column].to_pylist()]
        pages.append(url_keys(table["source"].to_pylist(), table["url"].to_pylist()))
        columns["num_chars"] += map(len, texts)
        columns["exact"] += map(exact_key, texts)
    np.savez(
        folder / _signatures_name(index),
        ids=np.array(columns["id"], np.bytes_),
        exact_keys=np.array(columns["exact"], "S16"),
        band_keys=np.concatenate(keys),
        signed_rows=np.concatenate(signed_rows),
        num_chars=np.array(columns["num_chars"], np.int64),
        fetched_at=np.array(columns["fetched_at"], np.bytes_),
        sources=np.array(columns["source"], np.bytes_),
        url_keys=np.concatenate(pages),
    )
    return len(columns["exact"])


def write_shard(
    artifact: Artifact,
    name: str,
    folder: Path,
    index: int,
    ids: np.ndarray,
    why: np.ndarray,
    kept_ids: np.ndarray,
) -> dict[str, Any]:
    """Write one shard. For each row: its id, an index into REASONS, and the id that stays."""
    start = 0
    with ShardWriter(folder, index) as shard:
        for table in read_tables(artifact.fetch(name)):
            rows = slice(start, start + len(table))
            start = rows.stop
            found = [document.encode() for document in table["id"].to_pylist()]
            assert found == ids[rows].tolist(), f"{name} is not the shard that was signed"
            shard.split(
                table,
                [REASONS[code] for code in why[rows]],
                [
                    None if code == WITHDRAWN else document.decode()
                    for code, document in zip(why[rows], kept_ids[rows].tolist(), strict=True)
                ],
            )
    return shard.funnel.model_dump()


def _withdrawals(crawls: Sequence[Artifact]) -> Withdrawals:
    """What the page tables of some crawls say was withdrawn."""
    keys, dates = [np.empty(0, np.uint64)], [np.empty(0, "S1")]
    for crawl in crawls:
        source = crawl.manifest.identity.config["name"]
        table = withdrawn_pages(crawl.fetch(PAGE_TABLE_NAME))
        keys.append(url_keys([source] * len(table), table["url"].to_pylist()))
        dates.append(np.array(table["withdrawn_at"].to_pylist(), np.bytes_))
    return Withdrawals(np.concatenate(keys), np.concatenate(dates))


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


def _signatures_name(index: int) -> str:
    return f"{SIGNATURES_FOLDER}/part-{index:05d}.npz"


STAGE = Stage(name="dedup", version=4, config=DedupConfig, inputs=("documents", "pages"), run=run)
