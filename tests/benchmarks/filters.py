"""Filters and MinHash signatures on the same texts: ours, datatrove's and datasketch's.

    python -m tests.benchmarks.filters --data PATH --datatrove-python PATH

``--data`` is a folder with ``pages/*.warc.gz``; the texts are what our extraction makes of the
pages named by ``--pages``. Prints documents a second a core and, for each rule, on how many
documents the two verdicts agree. All documents are judged as English ones, because datatrove's
rules know of no language.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from datasketch import MinHash

from tasks.common.minhash import Signer, shingle
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.common.words import batches
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE as CRAWL
from tasks.extract.config import ExtractConfig
from tasks.extract.stage import STAGE as EXTRACT
from tasks.filter.config import FilterConfig
from tasks.filter.rules import Candidate, judge
from tests.benchmarks.pipeline import HERE, HOW_TO_INSTALL

NUM_PERMUTATIONS = 112
SYMBOLS = {"hash_signs": "symbols", "ellipses": "symbols"}  # one parameter of datatrove's
ROUNDS = 3


def main() -> None:
    """Time and compare."""
    options = _options()
    texts = extracted_texts(options.data, options.pages)
    documents = [Candidate(text=text, kind="prose", language="en") for text in texts]
    config = FilterConfig(languages=[], c4=True)
    ours = {
        "filters": best_seconds(lambda: judge(documents, config)),
        "signatures": best_seconds(lambda: sign(texts)),
    }
    peers = {"datasketch 2 (bulk)": {"signatures": best_seconds(lambda: sign_datasketch(texts))}}
    theirs = run_datatrove(texts, options.datatrove_python) if options.datatrove_python else None
    if theirs:
        peers["datatrove"] = theirs
    print(f"{len(texts)} documents of {sum(map(len, texts)) / len(texts):.0f} characters\n")
    print(speed_table(len(texts), ours, peers))
    if theirs:
        print(agreement_table(verdicts_by_rule(documents), theirs["breaks"]))
    else:
        print(HOW_TO_INSTALL)


def extracted_texts(data: Path, pages: str) -> list[str]:
    """The texts of the pages of one archive."""
    archive = data.resolve() / "pages" / pages
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(store=folder, num_workers=1)
        source = SourceConfig(name="pages", type="warc", paths=[str(archive)])
        crawled, _ = materialise(CRAWL, source, {}, machine)
        config = ExtractConfig(source="pages")
        made, _ = materialise(EXTRACT, config, {"pages": [crawled.ref]}, machine)
        artifact = Store(folder).open(made.ref)
        return [
            text
            for name in artifact.names(".parquet")
            for text in pq.read_table(artifact.fetch(name))["text"].to_pylist()
        ]


def sign(texts: list[str]) -> None:
    """Shingle and sign, as the dedup stage does."""
    signer = Signer(NUM_PERMUTATIONS, seed=1)
    for part in batches(texts):
        signer.sign(shingle(texts[part], 5))


def sign_datasketch(texts: list[str]) -> None:
    """The same with datasketch's fastest way, shingles as strings."""
    shingles = []
    for text in texts:
        words = text.lower().split()
        shingles.append({" ".join(words[at : at + 5]).encode() for at in range(len(words) - 4)})
    MinHash.bulk(shingles, num_perm=NUM_PERMUTATIONS)


def verdicts_by_rule(documents: list[Candidate]) -> list[set[str]]:
    """Which rules each document breaks, each recipe asked about the whole text."""
    config = FilterConfig(languages=[])
    c4 = FilterConfig(
        languages=[], gopher_quality=False, gopher_repetition=False, fineweb=False, c4=True
    )
    return [
        {SYMBOLS.get(rule, rule) for rule in (*one.broken, *other.broken)}
        for one, other in zip(judge(documents, config), judge(documents, c4), strict=True)
    ]


def run_datatrove(texts: list[str], python: Path) -> dict[str, Any]:
    """Its seconds and verdicts."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(texts, file)
        file.flush()
        command = [str(python), str(HERE / "datatrove_filters.py"), file.name]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def best_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of the quickest of some rounds, after one that loads what there is to load."""
    work()
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found)


def speed_table(num_texts: int, ours: dict[str, float], peers: dict[str, dict[str, Any]]) -> str:
    """Documents a second a core, and how many times as many ours are."""
    lines = []
    for name, seconds in ours.items():
        lines.append(f"{name:12}{'ours':22}{num_texts / seconds:10.0f} documents/s/core")
        for peer, found in peers.items():
            if name in found:
                rate, ratio = num_texts / found[name], found[name] / seconds
                lines.append(f"{name:12}{peer:22}{rate:10.0f} documents/s/core; ours {ratio:.1f} x")
    return "\n".join([*lines, ""])


def agreement_table(ours: list[set[str]], breaks: dict[str, list[bool]]) -> str:
    """For each rule how many documents break it, by us, by them, and where the two agree."""
    lines = [f"{'rule':32}{'ours':>6}{'theirs':>8}{'agree':>9}"]
    for rule, theirs in breaks.items():
        mine = [rule in broken for broken in ours]
        agree = sum(one == other for one, other in zip(mine, theirs, strict=True)) / len(mine)
        lines.append(f"{rule:32}{sum(mine):6}{sum(theirs):8}{agree:9.1%}")
    return "\n".join([*lines, ""])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.benchmarks.filters", description="Filters and signatures, ours and others'"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with pages/*.warc.gz")
    parser.add_argument("--pages", default="segments-trafilatura.warc.gz", help="archive to take")
    parser.add_argument(
        "--datatrove-python", type=Path, help="the Python of an environment with datatrove"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
