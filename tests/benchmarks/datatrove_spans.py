"""datatrove's sentence deduplication; started by ``passages.py`` under datatrove's own Python.

In: a folder with JSONL files. Out: on stdout one JSON line: the CPU seconds of its three stages on
one worker, and the process's peak memory.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

from datatrove.pipeline.dedup import (
    SentenceDedupFilter,
    SentenceDedupSignature,
    SentenceFindDedups,
)
from datatrove.pipeline.dedup.sentence_dedup import SentDedupConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter


def main(given: str) -> None:
    """Run the stages one after another, as its example does."""
    config = SentDedupConfig(min_doc_words=0, min_num_sentences=0)
    with tempfile.TemporaryDirectory() as folder:
        signatures, copies, output = (str(Path(folder, name)) for name in ("sigs", "dups", "out"))
        signer = SentenceDedupSignature(signatures, config=config)
        finder = SentenceFindDedups(signatures, copies, config=config)
        keeper = SentenceDedupFilter(copies, config=config)
        started = time.process_time()
        signer.run(JsonlReader(given).run(rank=0, world_size=1), rank=0, world_size=1)
        finder.run(None, rank=0, world_size=1)
        kept = keeper.run(JsonlReader(given).run(rank=0, world_size=1), rank=0, world_size=1)
        for _ in JsonlWriter(output).run(kept, rank=0, world_size=1):
            pass
        seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"cpu_seconds": seconds, "peak_bytes": peak}))


if __name__ == "__main__":
    main(sys.argv[1])
