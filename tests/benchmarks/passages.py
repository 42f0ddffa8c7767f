"""Repeated passages: each of our rules, a suffix array, and datatrove's spans on the same texts.

    python -m tests.benchmarks.passages --data PATH [--datatrove-python PATH]

``--data`` is a folder with ``text`` and ``sft``; the texts are taken from five of their files in
turn, ``--megabytes`` of them once, twice and four times as many (other texts, not the same again).
Each run is a process of its own with one worker; what counts is CPU time (user and system) from
shards on disk to shards on disk, start-up left out, and the peak of memory. The suffix array
(divsufsort and Kasai's prefixes over 32-bit numbers of words, which our split gives it) stops at
what it covers and writes nothing; then it is asked whether the words left are the same in every
document. With ``dedup`` in the folder, it is also shown what is left of novels of which there is
another transcription, and of those of which there is none.
"""

import argparse
import io
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import zstandard

from tasks.common.manifest import ArtifactRef
from tasks.common.stage import Machine, materialise
from tasks.ingest.config import IngestConfig
from tasks.ingest.stage import STAGE as INGEST

HERE = Path(__file__).parent
FILES = (
    "text/encyclopedia/enwiki-2015.jsonl.zst",
    "text/forum/20newsgroups-train.jsonl.zst",
    "text/docs/docs-markdown.jsonl.zst",
    "text/encyclopedia/zhwiki.jsonl.zst",
    "sft/t0-prompted-tasks.jsonl.zst",
)
NOVELS = "text/books/english-novels.jsonl.zst"
COPIES = "dedup/eltec-novel-copies.jsonl.zst"
PAIRS = "dedup/eltec-novel-pairs.json"
RULES = ("substrings", "paragraphs", "site_lines", "spans", "near_paragraphs")
SHARD_BYTES = 8_000_000
TIMES = (1, 2, 4)
HEAD = f"{'rule':18}{'MB':>6}{'CPU s':>8}{'MB/s/core':>11}{'peak MB':>9}{'cut':>8}"


def main() -> None:
    """Run and print the tables."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        refs = {
            times: given(options.data, Path(folder, f"{times}"), store, times * options.megabytes)
            for times in TIMES
        }
        print(HEAD)
        ours = {
            (rule, times): run_ours(store, refs[times][0], rule, refs[times][1])
            for rule in RULES
            for times in TIMES
        }
        for times in TIMES:
            answer = ours["substrings", times]
            compare_suffix_array(store, refs[times], answer)
        if options.datatrove_python:
            few = given(options.data, Path(folder, "few"), store, options.datatrove_megabytes)
            ours_on_few = run_ours(store, few[0], "spans", few[1])
            run_datatrove(options.datatrove_python, Path(folder, "few"), few[1], ours_on_few)
        if (options.data / PAIRS).exists():
            show_novels(options.data, Path(folder), store)


def given(data: Path, folder: Path, store: Path, megabytes: float) -> tuple[ArtifactRef, float]:
    """An artifact of so many megabytes of text, and how many there are."""
    folder.mkdir()
    readers = [texts(data / name) for name in FILES]
    records = (r for some in itertools.zip_longest(*readers) for r in some if r)
    total, number = 0, 0
    while total < megabytes * 1e6:
        with (folder / f"{number:03}.jsonl").open("w") as file:
            size = 0
            for record in records:
                file.write(json.dumps(record) + "\n")
                size += len(record["text"].encode())
                if size >= SHARD_BYTES or total + size >= megabytes * 1e6:
                    break
        assert size, "there are no more texts; ask for fewer megabytes"
        total, number = total + size, number + 1
    return ingested(store, [folder]), total / 1e6


def texts(path: Path) -> Iterator[dict[str, str]]:
    """Records with text and url."""
    with path.open("rb") as file:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8"):
            record = json.loads(line)
            text = record.get("text") or record.get("input", "") + "\n" + record.get("output", "")
            url = record.get("url") or f"https://{path.name}/{record.get('id', '')}"
            yield {"text": text, "url": url, "id": record.get("id", "")}


def ingested(store: Path, paths: Sequence[Path]) -> ArtifactRef:
    """The artifact of some files."""
    config = IngestConfig(source="texts", paths=[str(path) for path in paths])
    return materialise(INGEST, config, {}, Machine(store=str(store), num_workers=1))[0].ref


def run_ours(store: Path, ref: ArtifactRef, rule: str, megabytes: float) -> dict[str, Any]:
    """One rule in a process of its own; prints its line."""
    answer = child("passages_own.py", store, ref, rule)
    cut = answer["metrics"][rule]["characters"] / max(1, answer["characters"])
    line(f"{rule}", megabytes, answer, f"{cut:8.2%}")
    return answer


def compare_suffix_array(
    store: Path, given: tuple[ArtifactRef, float], ours: dict[str, Any]
) -> None:
    """The suffix array over the same words, and whether it leaves the same ones."""
    theirs = child("passages_suffix_array.py", store, given[0], ours["ref"])
    line("suffix array", given[1], theirs, "")
    print(
        f"    ours: {theirs['cpu_seconds'] / ours['cpu_seconds']:.1f} times as fast, "
        f"{theirs['peak_bytes'] / ours['peak_bytes']:.1f} times less memory; "
        f"{theirs['num_different']} of {theirs['num_documents']} documents differ"
    )


def run_datatrove(python: Path, folder: Path, megabytes: float, ours: dict[str, Any]) -> None:
    """Its three stages of sentence deduplication, and the ratio."""
    command = [str(python), str(HERE / "datatrove_spans.py"), str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    theirs = json.loads(done.stdout.splitlines()[-1])
    line("datatrove spans", megabytes, theirs, "")
    print(
        f"    ours: {theirs['cpu_seconds'] / ours['cpu_seconds']:.1f} times as fast, "
        f"{theirs['peak_bytes'] / ours['peak_bytes']:.1f} times less memory"
    )


def show_novels(data: Path, folder: Path, store: Path) -> None:
    """What near-duplicate segments leave of two transcriptions, and of novels without a second."""
    pairs = {pair["a"]: pair for pair in json.loads((data / PAIRS).read_text())}
    titles: dict[str, str] = {}
    with (folder / "novels.jsonl").open("w") as file:
        for name in (COPIES, NOVELS):
            for record in texts(data / name):
                titles[record["id"]] = record["url"] = f"https://novels/{record['id']}"
                file.write(json.dumps(record) + "\n")
    ref = ingested(store, [folder / "novels.jsonl"])
    shares = child("passages_own.py", store, ref, "near_paragraphs")["left"]
    print("\nnovels: share of the text that is left, of both transcriptions")
    paired = set()
    for name, pair in pairs.items():
        both = titles[name], titles[pair["b"]]
        paired |= set(both)
        left = [shares[url] for url in both]
        print(f"  {pair['b']:32} Jaccard {pair['jaccard_8word']:.3f}: {left[0]:.3f} {left[1]:.3f}")
    others = [share for url, share in shares.items() if url not in paired]
    print(f"  {len(others)} novels without a copy: {sum(others) / len(others):.5f}")


def child(script: str, *arguments: object) -> dict[str, Any]:
    """What a script beside this one prints as JSON in its last line."""
    module = f"tests.benchmarks.{Path(script).stem}"
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def line(name: str, megabytes: float, answer: dict[str, Any], cut: str) -> None:
    """One line of the table."""
    seconds, peak = answer["cpu_seconds"], answer["peak_bytes"] / 1e6
    speed = megabytes / seconds
    print(f"{name:18}{megabytes:6.1f}{seconds:8.2f}{speed:11.1f}{peak:9.0f}{cut}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=16.0)
    parser.add_argument("--datatrove-python", type=Path)
    parser.add_argument("--datatrove-megabytes", type=float, default=2.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
