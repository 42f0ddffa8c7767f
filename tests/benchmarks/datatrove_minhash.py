"""datatrove's MinHash signatures (its stage 1); started by ``dedup.py`` under datatrove's Python.

In: a JSON file with a list of texts. Out: on stdout one JSON line, the CPU seconds of signing them
with its default 14 bands of 8 hashes over 5-word shingles.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from datatrove.pipeline.dedup import MinhashDedupSignature


def main(texts: list[str]) -> None:
    """Sign once to load what there is to load, then again for the clock."""
    with tempfile.TemporaryDirectory() as folder:
        signer = MinhashDedupSignature(output_folder=folder)
        sign(signer, texts[:1])
        started = time.process_time()
        sign(signer, texts)
        print(json.dumps(time.process_time() - started))


def sign(signer: MinhashDedupSignature, texts: list[str]) -> None:
    """Shingle and sign each text."""
    for text in texts:
        shingles = signer.get_shingles(text)
        if shingles.size:
            signer.get_signature(shingles)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
