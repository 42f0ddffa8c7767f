"""Deciding about millions of documents; started by ``dedup.py`` in a process of its own.

In: a folder, a number of documents, and either ``make``, to make up a signature index of so many
documents there, or a cap of memory in MB (0: none), to decide about them. Of ten documents in the
index six are unique, three are of clusters of two to a few dozen near copies, and one is a cookie
wall that is everywhere the same. Out: on stdout one JSON line with CPU seconds and peaks of memory.
The cap is Linux's on private memory (RLIMIT_DATA): mapped files do not count, since their pages are
the kernel's to take back, and what is beyond it fails.
"""

import json
import resource
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.common.fingerprint import fingerprint
from tasks.common.shard import part_name
from tasks.common.signature_index import KEYS_SCHEMA, signatures_name
from tasks.common.stage import Machine, Outcome, Stage, StageContext, materialise
from tasks.common.store import Store
from tasks.duplicates.config import DuplicatesConfig
from tasks.duplicates.stage import STAGE as DUPLICATES
from tasks.signatures.config import SignaturesConfig

SHARD_ROWS = 250_000
SHARE_CHANGED = 0.02  # of a copy's hashes: a Jaccard similarity of .98
MIX = np.uint64(0xD6E8FEB86659FD93)


class Sampler(threading.Thread):
    """Watches this process's private and mapped memory."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peaks = {"RssAnon": 0, "VmRSS": 0}

    def run(self) -> None:
        """Look fifty times a second."""
        while True:
            self.look()
            time.sleep(0.02)

    def look(self) -> int:
        """Note what is in use now; returns the private bytes."""
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in self.peaks:
                self.peaks[name] = max(self.peaks[name], int(value.split()[0]) * 1024)
        return self.peaks["RssAnon"]


def make_index(folder: str, num_documents: int) -> None:
    """A store with the made-up index in it."""

    def write(context: StageContext, config: SignaturesConfig) -> Outcome:
        draw = np.random.default_rng(1)
        for shard, start in enumerate(range(0, num_documents, SHARD_ROWS)):
            rows = np.arange(start, min(start + SHARD_ROWS, num_documents), dtype=np.uint64)
            write_shard(context.path, shard, rows, num_documents, draw)
        return Outcome()

    stage = Stage(name="signatures", version=0, config=SignaturesConfig, inputs=(), run=write)
    materialise(stage, SignaturesConfig(), {}, Machine(store=folder, num_workers=1))


def write_shard(
    folder: Path, shard: int, rows: np.ndarray, num_documents: int, draw: np.random.Generator
) -> None:
    """Keys and signatures of some documents."""
    kinds = draw.random(len(rows))
    clusters = draw.integers(0, num_documents // 10, len(rows), np.uint64) ** 2  # uneven
    clusters = np.select([kinds < 0.6, kinds < 0.9], [rows + np.uint64(1 << 60), clusters], 7)
    is_wall = kinds >= 0.9
    signatures = np.empty((SignaturesConfig().num_permutations, len(rows)), np.uint32)
    for permutation, line in enumerate(signatures):
        origin = np.where((draw.random(len(rows)) < SHARE_CHANGED) & ~is_wall, ~rows, clusters)
        mixed = (origin + np.uint64(permutation << 32)) * MIX
        line[:] = ((mixed ^ (mixed >> np.uint64(29))) * MIX) >> np.uint64(32)
    digests = draw.bytes(16 * len(rows)).hex().encode()
    exact = np.where(is_wall, np.uint64(7), rows * MIX)
    names = pa.array(np.frombuffer(digests, "S32")).cast(pa.string())
    columns = {
        "id": names,
        "url": names,
        "source": ["web"] * len(rows),
        "fetched_at": draw.integers(0, 1 << 50, len(rows)),
        "url_key": rows * MIX,
        "page_key": rows * MIX,
        "exact_key": pa.array(
            [value.ljust(16, b"\0") for value in np.stack([exact, exact], 1).view("S16").ravel()],
            pa.binary(16),
        ),
        "num_chars": draw.integers(200, 20_000, len(rows)),
        "is_signed": np.ones(len(rows), bool),
        "quality_score": pa.nulls(len(rows), pa.float32()),
        "signals": pa.nulls(len(rows), KEYS_SCHEMA.field("signals").type),
    }
    table = pa.table([columns[name] for name in KEYS_SCHEMA.names], schema=KEYS_SCHEMA)
    pq.write_table(table, folder / part_name(shard), compression="zstd")
    np.save(folder / signatures_name(part_name(shard)), signatures)


def main(folder: str, cap_mb: int) -> None:
    """Decide about the index in ``folder``, and say what it cost."""
    (signed,) = Store(folder).manifests("signatures")
    if cap_mb:
        resource.setrlimit(resource.RLIMIT_DATA, (cap_mb << 20, cap_mb << 20))
    sampler = Sampler()
    start_bytes = sampler.look()
    sampler.start()
    started = time.process_time()
    # another quality with each cap, so that the second run does not find the first one's verdicts
    manifest, was_there = materialise(
        DUPLICATES,
        DuplicatesConfig(quality=f"cap {cap_mb}"),
        {"signatures": [signed.ref], "pages": []},
        Machine(store=folder, num_workers=1),
    )
    assert not was_there
    found = {
        "seconds": time.process_time() - started,
        "start_bytes": start_bytes,
        "private_bytes": sampler.peaks["RssAnon"],
        "resident_bytes": sampler.peaks["VmRSS"],
        "largest": manifest.metrics["largest_cluster_documents"],
        "verdicts": fingerprint([entry.sha256 for entry in manifest.files]),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[3] == "make":
        make_index(sys.argv[1], int(sys.argv[2]))
    else:
        main(sys.argv[1], int(sys.argv[3]))
