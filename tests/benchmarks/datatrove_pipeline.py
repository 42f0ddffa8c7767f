"""datatrove's pipeline as FineWeb runs it; started by ``pipeline.py`` under datatrove's own Python.

In: a folder of WARC files, an empty folder. Out: filtered, deduplicated Parquet in the latter, and
on stdout one JSON line: documents and seconds of each step. The order and settings are those of
datatrove's ``examples/fineweb.py``. Its URL and language filters are left out: the one reads no
text, and the other needs a model from the network.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader, WarcReader
from datatrove.pipeline.writers import JsonlWriter, ParquetWriter

NUM_BUCKETS = 14  # datatrove's default; each is a task of its own


def main(pages: str, folder: Path) -> None:
    """Run the four pipelines one after another in this process."""
    filtered, signatures, buckets, removed = (
        str(folder / name) for name in ("filtered", "signatures", "buckets", "removed")
    )
    pipelines = [
        (
            [
                WarcReader(pages),
                Trafilatura(favour_precision=True, timeout=10),
                GopherRepetitionFilter(),
                GopherQualityFilter(),
                C4QualityFilter(filter_no_terminal_punct=False),
                FineWebQualityFilter(),
                JsonlWriter(filtered),
            ],
            1,
        ),
        ([JsonlReader(filtered), MinhashDedupSignature(output_folder=signatures)], 1),
        ([MinhashDedupBuckets(input_folder=signatures, output_folder=buckets)], NUM_BUCKETS),
        ([MinhashDedupCluster(input_folder=buckets, output_folder=removed)], 1),
        (
            [
                JsonlReader(filtered),
                MinhashDedupFilter(input_folder=removed),
                PIIFormatter(),
                ParquetWriter(str(folder / "final")),
            ],
            1,
        ),
    ]
    steps = []
    for number, (pipeline, num_tasks) in enumerate(pipelines):
        executor = LocalPipelineExecutor(
            pipeline=pipeline,
            tasks=num_tasks,
            workers=1,
            logging_dir=str(folder / "logs" / str(number)),
        )
        steps += [_summary(step.to_dict()) for step in executor.run().stats]
    print(json.dumps(steps))


def _summary(step: dict[str, Any]) -> dict[str, Any]:
    counts = {name: _total(value) for name, value in step["stats"].items()}
    return {
        "step": re.sub(r"[^\w\s:-]", "", step["name"]).strip(" -"),
        "seconds": _total(step["time_stats"]),
        "documents": counts.get("forwarded", counts.get("documents", counts.get("total"))),
    }


def _total(value: Any) -> Any:
    return value["total"] if isinstance(value, dict) else value


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
