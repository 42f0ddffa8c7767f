"""The 50-word rule by a suffix array; started by ``passages.py`` in a process of its own.

In: a store, an artifact of documents and what our stage made of it. Out: on stdout one JSON line:
CPU seconds from reading to what is covered (nothing is written), the peak of memory, and of how
many documents other words are left than our stage left.
"""

import json
import resource
import sys
import time

import numpy as np
import xxhash
from pydivsufsort import divsufsort, kasai

from tasks.common.manifest import ArtifactRef
from tasks.common.shard import read_tables
from tasks.common.store import Store
from tasks.common.words import INK, batches, split_words

NUM_WORDS = 50


def main(store: str, given: str, made: str) -> None:
    """Cover what comes again, and compare."""
    started = time.process_time()
    texts = _texts(store, given)
    order = sorted(texts, key=lambda name: xxhash.xxh3_64_intdigest(name.encode()))
    numbers, begins = _numbers([texts[name] for name in order])
    goes = covered(numbers, begins)
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    ours = _texts(store, made)
    num_different = 0
    for at, name in enumerate(order):
        begin, end = begins[at], begins[at + 1] - 1
        words = _words(texts[name])
        assert len(words) == end - begin
        left = [word for word, out in zip(words, goes[begin:end].tolist(), strict=True) if not out]
        num_different += left != _words(ours.get(name, ""))
    print(
        json.dumps(
            {
                "cpu_seconds": seconds,
                "peak_bytes": peak,
                "num_documents": len(order),
                "num_different": num_different,
            }
        )
    )


def covered(numbers: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """Which words stand in a run that stood before, in order of documents."""
    suffixes = divsufsort(numbers)
    is_near = kasai(numbers, suffixes)[: len(numbers) - 1] >= NUM_WORDS
    starts = np.flatnonzero(np.concatenate([[True], ~is_near]))
    first = np.repeat(
        np.minimum.reduceat(suffixes, starts), np.diff(np.append(starts, len(suffixes)))
    )
    again = suffixes != first
    later, first = suffixes[again].astype(np.int64), first[again].astype(np.int64)
    of = np.searchsorted(begins, [later, first], "right")
    later = later[(of[0] != of[1]) | (first + NUM_WORDS <= later)]
    steps = np.bincount(later, minlength=len(numbers) + 1)
    steps -= np.bincount(later + NUM_WORDS, minlength=len(numbers) + 1)
    return np.cumsum(steps[:-1]) > 0


def _numbers(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Every word as a number, a number of its own after each text; where texts begin."""
    hashes, sizes = [], []
    for part in batches(texts):
        words = split_words(texts[part], INK, unspaced=True)
        hashes.append(words.hashes)
        sizes.append(np.bincount(words.text, minlength=len(texts[part])))
    begins = np.concatenate([[0], np.cumsum(np.concatenate(sizes) + 1)])
    line = np.empty(begins[-1], np.uint32)
    is_end = np.zeros(len(line), bool)
    is_end[begins[1:] - 1] = True
    _, numbers = np.unique(np.concatenate(hashes), return_inverse=True)
    line[~is_end] = numbers
    line[is_end] = np.arange(len(texts)) + len(numbers)
    return line, begins


def _words(text: str) -> list[str]:
    words = split_words([text], INK, with_hashes=False, unspaced=True)
    ends = words.starts + words.chars
    return [text[a:b] for a, b in zip(words.starts.tolist(), ends.tolist(), strict=True)]


def _texts(store: str, ref: str) -> dict[str, str]:
    artifact = Store(store).open(ArtifactRef.parse(ref))
    tables = (t for name in artifact.names(".parquet") for t in read_tables(artifact.fetch(name)))
    return {
        name: text
        for table in tables
        for name, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
