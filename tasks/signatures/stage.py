"""The signatures stage: documents of one source in, their part of the signature index out.

For each shard of documents a table of keys and an array of signatures, row for row. It reads the
texts once; who decides about copies reads only what is written here.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.common.minhash import Signer, exact_key, fold, shingle
from tasks.common.shard import count_rows, part_name, read_tables
from tasks.common.signature_index import (
    KEYS_SCHEMA,
    instants,
    page_keys,
    signatures_name,
    url_keys,
)
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.common.words import batches
from tasks.signatures.config import SignaturesConfig


def run(context: StageContext, config: SignaturesConfig) -> Outcome:
    """Sign each document, so that copies are found without reading the texts again."""
    shards = context.shards("documents")
    counts = context.map(
        sign_shard,
        [(*shard, context.path, index, config) for index, shard in enumerate(shards)],
        names=lambda index: _names(index, config),
    )
    return Outcome(
        metrics={
            name: sum(count[name] for count in counts) for name in ("num_documents", "num_signed")
        }
    )


def sign_shard(
    artifact: Artifact, name: str, folder: Path, index: int, config: SignaturesConfig
) -> dict[str, int]:
    """Write the keys and signatures of one shard's documents; return how many there are."""
    path = artifact.fetch(name)
    signer = Signer(config.num_permutations, config.seed)
    keys_name, *signed_names = _names(index, config)
    shape = (config.num_permutations, count_rows(path))
    arrays = [
        np.lib.format.open_memmap(folder / signed, "w+", np.uint32, shape)
        for signed in signed_names
    ]
    start = num_signed = 0
    with pq.ParquetWriter(folder / keys_name, KEYS_SCHEMA, compression="zstd") as writer:
        for documents in read_tables(path):
            texts = fold(documents["text"].to_pylist())
            is_signed = np.zeros(len(texts), bool)
            for signatures in arrays:
                for part in batches(texts):
                    rows, found = signer.sign(shingle(texts[part], config.ngram_words))
                    is_signed[part.start + rows] = True
                    signatures[:, start + part.start + rows] = found.T
            writer.write_table(keys_table(documents, texts, is_signed))
            start += len(texts)
            num_signed += int(is_signed.sum())
    for signatures in arrays:
        signatures.flush()
    return {"num_documents": start, "num_signed": num_signed}


def keys_table(documents: pa.Table, folded: list[str], is_signed: np.ndarray) -> pa.Table:
    """All of some documents that the index holds besides their signatures."""
    urls, sources = documents["url"].to_pylist(), documents["source"].to_pylist()
    columns: dict[str, Any] = {
        name: documents[name] for name in ("id", "url", "source", "quality_score", "signals")
    }
    columns |= {
        "fetched_at": instants(documents["fetched_at"].to_pylist()),
        "url_key": url_keys(sources, urls),
        "page_key": page_keys(urls),
        "exact_key": pa.array(map(exact_key, folded), pa.binary(16)),
        "num_chars": pc.utf8_length(documents["text"]).cast(pa.int64()),
        "is_signed": is_signed,
    }
    return pa.table([columns[name] for name in KEYS_SCHEMA.names], schema=KEYS_SCHEMA)


def _names(index: int, config: SignaturesConfig) -> list[str]:
    """The table of keys and, if there are any, the signatures."""
    name = part_name(index)
    return [name, signatures_name(name)] if config.minhash else [name]


STAGE = Stage(name="signatures", version=1, config=SignaturesConfig, inputs=("documents",), run=run)
