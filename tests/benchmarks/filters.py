"""Filters and MinHash signatures on the same texts: ours, datatrove's and datasketch's.

    python -m tests.benchmarks.filters --data PATH --datatrove-python PATH

``--data`` is a folder with ``web/pages/*.warc.gz``, ``quality/*.gz`` and ``text/*/*.jsonl.zst``;
the texts are what our extraction makes of the pages named by ``--pages``, and a sample of the other
files. Prints documents a second a core, and how far the verdicts agree: of the chain of Gopher
repetition, Gopher quality, C4 and FineWeb, when our rules are given datatrove's splits into words
and sentences, with every difference and what the two measured; and, rule by rule, with splits of
our own. All documents are judged as English ones, because datatrove's rules know of no language.
"""

import argparse
import gzip
import io
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq
import zstandard
from datasketch import MinHash

from tasks.common.minhash import Signer, fold, shingle
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.common.words import batches
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE as CRAWL
from tasks.extract.config import ExtractConfig
from tasks.extract.stage import STAGE as EXTRACT
from tasks.filter import c4, measure, view
from tasks.filter.breach import Breach
from tasks.filter.config import FilterConfig
from tasks.filter.rules import Candidate, judge
from tests.benchmarks.pipeline import HERE, HOW_TO_INSTALL

NUM_PERMUTATIONS = 112
CHAIN = FilterConfig(languages=[], recipes=["fineweb-all"])
SYMBOLS = {"hash_signs": "symbols", "ellipses": "symbols"}  # one parameter of datatrove's
ROUNDS = 3
NUM_BY_RULE = 100  # documents, from the first on, for which each rule is asked alone
MAX_CHARS = 60_000  # datatrove takes seconds for one longer text


def main() -> None:
    """Time and compare."""
    options = _options()
    texts = sampled_texts(options.data, options.pages, options.max_documents)
    documents = [Candidate(text=text, kind="prose", language="en") for text in texts]
    ours = {"filters": best_seconds(lambda: judge(documents, CHAIN))}
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    ours["signatures"] = best_seconds(lambda: sign(texts))
    peers = {"datasketch 2 (bulk)": {"signatures": best_seconds(lambda: sign_datasketch(texts))}}
    theirs = run_datatrove(texts, options.datatrove_python) if options.datatrove_python else None
    if theirs:
        peers["datatrove"] = theirs
    print(f"{len(texts)} documents of {sum(map(len, texts)) / len(texts):.0f} characters\n")
    print(speed_table(len(texts), ours, peers))
    if theirs:
        print(
            f"peak memory of the process: ours {peak_bytes / 2**20:.0f} MiB (all texts included), "
            f"datatrove {theirs['peak_bytes'] / 2**20:.0f} MiB\n"
        )
        print(decisions(documents, theirs))
        print(agreement_table(verdicts_by_rule(documents[:NUM_BY_RULE]), theirs["breaks"]))
    else:
        print(HOW_TO_INSTALL)


def sampled_texts(data: Path, pages: str, max_documents: int) -> list[str]:
    """Web pages as we extract them, C4's, and as many again of each kind of text there is."""
    texts = extracted_texts(data / "web", pages)
    files = [*sorted(data.glob("quality/c4*.jsonl.gz")), *sorted(data.glob("text/*/*.jsonl.zst"))]
    files = [path for path in files if "zhwiki" not in path.name and "german" not in path.name]
    each = max(0, max_documents - len(texts)) // max(1, len(files))
    for path in files:
        usable = [text for text in _texts_of(path) if len(text) <= MAX_CHARS]
        texts += usable[:: max(1, len(usable) // max(1, each))][:each]
    return [text for text in texts if text.strip()][:max_documents]


def _texts_of(path: Path) -> Iterator[str]:
    if path.suffix == ".gz":
        data = gzip.decompress(path.read_bytes())
    else:
        with path.open("rb") as packed:
            data = zstandard.ZstdDecompressor().stream_reader(packed).read()
    for line in io.BytesIO(data):
        yield json.loads(line)["text"]


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
        signer.sign(shingle(fold(texts[part]), 5))


def sign_datasketch(texts: list[str]) -> None:
    """The same with datasketch's fastest way, shingles as strings."""
    shingles = []
    for text in texts:
        words = text.lower().split()
        shingles.append({" ".join(words[at : at + 5]).encode() for at in range(len(words) - 4)})
    MinHash.bulk(shingles, num_perm=NUM_PERMUTATIONS)


def decisions(documents: list[Candidate], theirs: dict[str, Any]) -> str:
    """How often the chains agree on keeping a document, given datatrove's splits; who differs."""
    ours = judge_with_splits(documents, theirs["words"], theirs["sentences"])
    differing = [
        f"  document {at}: ours {broken[0] if broken else 'keeps'}; datatrove {reason or 'keeps'}"
        for at, (broken, reason) in enumerate(zip(ours, theirs["reasons"], strict=True))
        if bool(broken) != bool(reason)
    ]
    num_kept = sum(reason is None for reason in theirs["reasons"])
    share = 1 - len(differing) / len(documents)
    first = f"same decision on {share:.2%} of documents (datatrove keeps {num_kept}), given its"
    return "\n".join([f"{first} splits into words and sentences; the others:", *differing, ""])


def judge_with_splits(
    documents: list[Candidate], words: dict[str, list[str]], sentences: dict[str, int]
) -> list[list[Breach]]:
    """What our rules say when words and sentences are those of another splitter."""

    def measure_given(texts: Sequence[str], **options: bool) -> list[measure.Measures]:
        return measure.measure(["\n".join(words[text]) for text in texts], **options)

    def count_given(lines: list[str]) -> int:
        return sum(sentences[line] for line in lines)

    with (
        patch.object(view, "measure", measure_given),
        patch.object(c4, "count_sentences", count_given),
    ):
        return [verdict.broken for verdict in judge(documents, CHAIN)]


def verdicts_by_rule(documents: list[Candidate]) -> list[set[str]]:
    """Which rules each document breaks, each recipe asked about the whole text."""
    plain = CHAIN.model_copy(update={"recipes": ["gopher-all", "fineweb", "c4"]})
    return [
        {SYMBOLS.get(breach.rule, breach.rule) for breach in verdict.broken}
        for verdict in judge(documents, plain)
    ]


def run_datatrove(texts: list[str], python: Path) -> dict[str, Any]:
    """Its seconds, verdicts and splits."""
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "given.json"), Path(folder, "found.json")
        left = [c4.clean_page(text).text for text in texts]
        given.write_text(json.dumps({"texts": texts, "left": left, "num_by_rule": NUM_BY_RULE}))
        command = [str(python), str(HERE / "datatrove_filters.py"), str(given), str(found)]
        subprocess.run(command, check=True)
        return dict(json.loads(found.read_text()))


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
    lines = [f"the first {len(ours)} documents\n{'rule':32}{'ours':>6}{'theirs':>8}{'agree':>9}"]
    for rule, theirs in breaks.items():
        mine = [rule in broken for broken in ours]
        agree = sum(one == other for one, other in zip(mine, theirs, strict=True)) / len(mine)
        lines.append(f"{rule:32}{sum(mine):6}{sum(theirs):8}{agree:9.1%}")
    return "\n".join([*lines, ""])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.benchmarks.filters", description="Filters and signatures, ours and others'"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with web, quality, text")
    parser.add_argument("--pages", default="segments-trafilatura.warc.gz", help="archive to take")
    parser.add_argument("--max-documents", type=int, default=3_000, help="to judge")
    parser.add_argument(
        "--datatrove-python", type=Path, help="the Python of an environment with datatrove"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
