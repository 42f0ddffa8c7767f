"""How mixing scales: ``python -m tests.benchmarks.mix_shuffle --data D``.

In: JSONL of several kinds of text in D/text, once, twice and four times (each copy's documents have
ids of their own), in shards of equal size, so that there are more shards in and out with every
doubling. Out: a table of CPU seconds and peak memory. One worker.
"""

import argparse
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import zstandard
from pydantic import BaseModel, ConfigDict

from tasks.common.shard import ShardWriter
from tasks.common.stage import Machine, Outcome, Stage, StageContext, materialise
from tasks.mix.config import MixConfig
from tasks.mix.stage import STAGE
from tests.stages import document

FILES = ("news/wikinews-en", "forum/20newsgroups-train", "legal/german-federal-law")
SHARD_BYTES = 2_000_000


class Copies(BaseModel):
    """The texts of a folder, several times over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    copies: int


def _copy(context: StageContext, config: Copies) -> Outcome:
    rows = _rows(Path(config.folder), config.copies)
    row, number = next(rows, None), 0
    while row is not None:
        size = 0
        with ShardWriter(context.path, number) as shard:
            while row is not None and size < SHARD_BYTES:
                shard.keep(row)
                size += len(row["text"])
                row = next(rows, None)
        number += 1
    return Outcome()


COPIES = Stage(name="copies", version=1, config=Copies, inputs=(), run=_copy)


def _rows(folder: Path, copies: int) -> Iterator[dict]:
    for copy in range(copies):
        for name in FILES:
            with (folder / f"{name}.jsonl.zst").open("rb") as file:
                stream = zstandard.ZstdDecompressor().stream_reader(file)
                for number, line in enumerate(io.TextIOWrapper(stream, "utf-8")):
                    record = json.loads(line)
                    source = name.partition("/")[0]
                    yield document(
                        id=f"{source}-{number}-{copy}", text=record["text"], source=source
                    )


def main() -> None:
    """Mix each size and print how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    given = parser.parse_args()
    config = MixConfig(shard_bytes=SHARD_BYTES, max_epochs=10_000)
    print("| copies | documents | MB of text | shards in → out | CPU s | MB/s | ratio | peak MB |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    before = None
    for copies in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            machine = Machine(store=folder, num_workers=1)
            texts = Copies(folder=str((given.data / "text").resolve()), copies=copies)
            documents, _ = materialise(COPIES, texts, {}, machine)
            mixed, _ = materialise(STAGE, config, {"documents": [documents.ref]}, machine)
        groups = mixed.metrics["mixture"]["groups"]
        megabytes = sum(row["bytes"] for row in groups) / 1e6
        seconds = mixed.provenance.cpu_seconds
        shards = [
            sum("part-" in f.name and "dropped" not in f.name for f in manifest.files)
            for manifest in (documents, mixed)
        ]
        assert mixed.funnel is not None
        print(
            f"| {copies} | {mixed.funnel.num_in:,} | {megabytes:.0f} | {shards[0]} → {shards[1]} | "
            f"{seconds:.1f} | {megabytes / seconds:.1f} | "
            f"{seconds / before if before else 1:.2f} | "
            f"{mixed.provenance.peak_memory_bytes / 1e6:.0f} |",
            flush=True,
        )
        before = seconds


if __name__ == "__main__":
    main()
