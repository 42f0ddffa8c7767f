"""Finding copies: speed, memory and what is found, beside datasketch, datatrove and the theory.

    python -m tests.benchmarks.dedup --data PATH [--datatrove-python PATH] [--documents N]

``--data`` is a folder with ``web/pages`` and ``dedup``. Prints, with CPU seconds of one core:

1. signatures from texts, shingling included, against datasketch 2 (``bulk``) and datatrove (stage
   1), at 112 permutations and 5-word shingles;
2. deciding from signatures: documents a second and memory a document, with and without a cap, for
   an index of ``--documents`` made-up documents, against datasketch's LSH;
3. pairs found among editions of a book against what the S-curve says of their exact similarities;
4. independent transcriptions of novels, by shingle and bands;
5. the same documents in other orders and shards.
"""

import argparse
import gzip
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import zstandard
from datasketch import MinHash, MinHashLSH

from flows.params import DedupParams
from tasks.common.minhash import Shingles, Signer, band_keys, fold, shingle
from tasks.common.stage import Machine
from tasks.common.words import batches
from tasks.duplicates.curve import best_bands, find_probability
from tests.benchmarks.filters import best_seconds, extracted_texts, sign, sign_datasketch
from tests.benchmarks.pipeline import HERE, HOW_TO_INSTALL
from tests.stages import given, judge
from tests.unit.dedup.test_dedup_stage import read

PERMUTATIONS, BANDS, ROWS = 112, 14, 8
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
NUM_SEEDS = 240
NOVEL_LAYOUTS = ((5, 14, 8), (5, 28, 4), (8, 14, 8), (8, 28, 4), (13, 28, 4))
LSH_DOCUMENTS = 20_000
CAP_MB = "900"


def main() -> None:
    """Run all parts and print their tables."""
    options = _options()
    texts = extracted_texts(options.data / "web", options.pages)
    print(signing_table(texts, options.datatrove_python))
    print(deciding_table(options.documents))
    print(editions_table(*editions(options.data)))
    print(novels_table(*novels(options.data)))
    print(order_line(options.data))


def signing_table(texts: list[str], datatrove_python: Path | None) -> str:
    """Documents signed a second a core, and how many times as many ours are."""
    ours = best_seconds(lambda: sign(texts))
    peers = {"datasketch 2 (bulk)": best_seconds(lambda: sign_datasketch(texts))}
    if datatrove_python:
        peers["datatrove (stage 1)"] = datatrove_seconds(texts, datatrove_python)
    mean_chars = sum(map(len, texts)) / len(texts)
    lines = [f"Signatures of {len(texts)} documents of {mean_chars:.0f} characters", ""]
    lines.append(f"{'ours':22}{len(texts) / ours:9.0f} documents/s/core")
    for name, seconds in peers.items():
        lines.append(
            f"{name:22}{len(texts) / seconds:9.0f} documents/s/core; ours {seconds / ours:.1f} x"
        )
    return "\n".join([*lines, "" if datatrove_python else HOW_TO_INSTALL])


def datatrove_seconds(texts: list[str], python: Path) -> float:
    """Its seconds for the same texts, in an environment of its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(texts, file)
        file.flush()
        command = [str(python), str(HERE / "datatrove_minhash.py"), file.name]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return float(done.stdout.splitlines()[-1])


def deciding_table(num_documents: int) -> str:
    """Speed and memory of deciding from keys, and of datasketch's index of the same bands."""
    lines = ["Deciding from signatures; private memory, and with it that of mapped files", ""]
    heads = ("documents/s/core", "bytes/document", "private MB", "at start", "with files")
    lines.append(" " * 30 + "".join(f"{head:>18}" for head in heads))
    for count in (num_documents // 4, num_documents):
        with tempfile.TemporaryDirectory() as folder:
            run_scale(folder, count, "make")
            free, capped = (json.loads(run_scale(folder, count, cap)) for cap in ("0", CAP_MB))
        assert free["verdicts"] == capped["verdicts"], "the cap changed the verdicts"
        for name, found in ((f"{count:,}", free), (f"{count:,}, capped at {CAP_MB} MB", capped)):
            own_bytes = found["private_bytes"] - found["start_bytes"]
            columns = [f"{count / found['seconds']:,.0f}", f"{own_bytes / count:.0f}"]
            for key in ("private_bytes", "start_bytes", "resident_bytes"):
                columns.append(f"{found[key] / 1e6:.0f}")
            lines.append(f"{name:30}" + "".join(f"{column:>18}" for column in columns))
    seconds, num_bytes = datasketch_index()
    name = f"datasketch LSH, {LSH_DOCUMENTS:,}"
    lines.append(f"{name:30}{LSH_DOCUMENTS / seconds:18,.0f}{num_bytes:18.0f}")
    return "\n".join([*lines, ""])


def run_scale(folder: str, num_documents: int, what: str) -> str:
    """Make an index or decide about it in a process of its own; returns its last line."""
    command = [sys.executable, "-m", "tests.benchmarks.dedup_scale", folder]
    command += [str(num_documents), what]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return (done.stdout.splitlines() or [""])[-1]


def datasketch_index() -> tuple[float, float]:
    """CPU seconds to insert and query documents, and bytes of memory each of them takes."""
    draw = np.random.default_rng(1)
    hashes = draw.integers(0, 1 << 32, (LSH_DOCUMENTS, PERMUTATIONS), np.uint64).astype(np.uint32)
    made = [MinHash(PERMUTATIONS, hashvalues=line, scheme="affine32") for line in hashes]
    before = psutil.Process().memory_info().rss
    index = MinHashLSH(num_perm=PERMUTATIONS, params=(BANDS, ROWS))

    def fill() -> None:
        for at, signature in enumerate(made):
            index.query(signature)
            index.insert(f"{at:032x}", signature)

    started = psutil.Process().cpu_times()
    fill()
    ended = psutil.Process().cpu_times()
    seconds = ended.user + ended.system - started.user - started.system
    return seconds, (psutil.Process().memory_info().rss - before) / LSH_DOCUMENTS


def editions(data: Path) -> tuple[list[str], list[str], dict[tuple[str, str], float]]:
    """Ids and texts of the book's editions, and the similarities that others counted."""
    rows = list(read_jsonl(data / "dedup" / "rust-book-editions.jsonl.zst"))
    with gzip.open(data / "dedup" / "rust-book-pairs.jsonl.gz", "rt") as file:
        gold = {(p["a"], p["b"]): p["jaccard_5word"] for p in map(json.loads, file)}
    return [row["id"] for row in rows], [row["text"] for row in rows], gold


def editions_table(ids: list[str], texts: list[str], gold: dict[tuple[str, str], float]) -> str:
    """Recall and precision by threshold: measured over many seeds, and by theory."""
    exact = exact_similarities(shingle(fold(texts), 5), len(texts))
    places = {name: at for at, name in enumerate(ids)}
    error = max(abs(exact[places[a], places[b]] - value) for (a, b), value in gold.items())
    lines = [
        f"Editions of a book: {len(texts)} documents, {len(gold)} pairs in the gold, which agrees "
        f"with our shingles' exact similarities to {error:.4f}; {NUM_SEEDS} seeds",
        "",
        f"{'threshold':>9}{'bands':>7}{'recall':>9}{'theory':>8}{'precision':>11}{'theory':>8}",
    ]
    for threshold, (num_bands, rows), rates in edition_rates(texts, exact, NUM_SEEDS):
        recall, by_theory, precision, precision_by_theory = rates
        lines.append(
            f"{threshold:9}{f'{num_bands}×{rows}':>7}{recall:9.4f}{by_theory:8.4f}"
            f"{precision:11.4f}{precision_by_theory:8.4f}"
        )
    return "\n".join([*lines, ""])


def edition_rates(
    texts: list[str], exact: np.ndarray, num_seeds: int
) -> Iterator[tuple[float, tuple[int, int], tuple[float, float, float, float]]]:
    """For each threshold its bands, and recall and precision, each measured and by theory.

    The theory is the S-curve over exact similarities of all pairs, those below .05 too, which the
    gold leaves out. Documents are split as for the gold: lower-cased runs of ``\\w``. Many seeds
    are needed for the precision at low thresholds: where two hashes make a band, a phrase that many
    chapters share is the least under both in one seed of some hundred, and brings 500 pairs then.
    """
    shingles = shingle(fold(texts), 5)
    left, right = np.triu_indices(len(texts), 1)
    similarity = exact[left, right]
    layouts = [best_bands(threshold, PERMUTATIONS) for threshold in THRESHOLDS]
    counts = np.zeros((len(THRESHOLDS), 2))
    for seed in range(num_seeds):
        _, signatures = Signer(PERMUTATIONS, seed).sign(shingles)
        for at, (threshold, layout) in enumerate(zip(THRESHOLDS, layouts, strict=True)):
            found = found_pairs(signatures, *layout)[left, right]
            counts[at] += found.sum(), (found & (similarity >= threshold)).sum()
    for threshold, layout, (found, hits) in zip(THRESHOLDS, layouts, counts, strict=True):
        chance = find_probability(similarity, *layout)
        is_above = similarity >= threshold
        recall, precision = hits / num_seeds / is_above.sum(), hits / found
        by_theory = chance[is_above].mean(), chance[is_above].sum() / chance.sum()
        yield threshold, layout, (recall, by_theory[0], precision, by_theory[1])


def exact_similarities(shingles: Shingles, num_texts: int) -> np.ndarray:
    """The Jaccard similarity of each two texts' sets of shingles."""
    sets = [set(shingles.hashes[shingles.text == at].tolist()) for at in range(num_texts)]
    found = np.zeros((num_texts, num_texts))
    for one in range(num_texts):
        for other in range(one + 1, num_texts):
            shared = len(sets[one] & sets[other])
            union = len(sets[one]) + len(sets[other]) - shared
            found[one, other] = found[other, one] = shared / union if union else 0
    return found


def found_pairs(signatures: np.ndarray, num_bands: int, rows_per_band: int) -> np.ndarray:
    """Which pairs of documents agree in at least one band."""
    found = np.zeros((len(signatures),) * 2, bool)
    for band in range(num_bands):
        lines = signatures.T[band * rows_per_band : (band + 1) * rows_per_band]
        keys = band_keys(lines)
        found |= keys[:, None] == keys[None, :]
    return found


def novels(data: Path) -> tuple[list[str], list[tuple[int, int]]]:
    """Texts of novels, and which two of them are one novel as different people transcribed it."""
    rows = [*read_jsonl(data / "dedup" / "eltec-novel-copies.jsonl.zst")]
    rows += read_jsonl(data / "text" / "books" / "english-novels.jsonl.zst")
    places = {row["id"]: at for at, row in enumerate(rows)}
    gold = json.loads((data / "dedup" / "eltec-novel-pairs.json").read_text())
    return [row["text"] for row in rows], [(places[p["a"]], places[p["b"]]) for p in gold]


def novels_table(texts: list[str], pairs: list[tuple[int, int]]) -> str:
    """Which of the novels' independent transcriptions are found, and what else is."""
    lines = [
        f"Novels: {len(texts)}, {len(pairs)} of them as two people transcribed them",
        "",
        f"{'shingle':>8}{'bands':>8}{'least J':>9}{'by theory':>11}{'found':>7}{'others':>8}",
    ]
    for words in dict.fromkeys(layout[0] for layout in NOVEL_LAYOUTS):
        signatures = sign_novels(texts, words)
        exact = [pair_similarity(texts[one], texts[other], words) for one, other in pairs]
        for _, num_bands, rows_per_band in (one for one in NOVEL_LAYOUTS if one[0] == words):
            found = np.triu(found_pairs(signatures, num_bands, rows_per_band), 1)
            hits = sum(bool(found[min(pair), max(pair)]) for pair in pairs)
            expected = find_probability(np.array(exact), num_bands, rows_per_band).sum()
            lines.append(
                f"{words:8}{f'{num_bands}×{rows_per_band}':>8}{min(exact):9.3f}{expected:11.2f}"
                f"{hits:7}{int(found.sum()) - hits:8}"
            )
    return "\n".join([*lines, ""])


def sign_novels(texts: list[str], ngram_words: int) -> np.ndarray:
    """Signatures of long texts, one line each."""
    signer = Signer(PERMUTATIONS, 1)
    parts = [signer.sign(shingle(fold(texts[part]), ngram_words))[1] for part in batches(texts)]
    return np.concatenate(parts)


def pair_similarity(one: str, other: str, ngram_words: int) -> float:
    """The exact Jaccard similarity of two texts."""
    mine, theirs = (
        set(shingle(fold([text]), ngram_words).hashes.tolist()) for text in (one, other)
    )
    return len(mine & theirs) / len(mine | theirs)


def order_line(data: Path) -> str:
    """Whether the order of documents and the number of shards change a verdict."""
    ids, texts, _ = editions(data)
    rows = [{"id": name, "text": text} for name, text in zip(ids, texts, strict=True)]
    found = []
    for num_shards in (1, 3, 8):
        random.Random(num_shards).shuffle(rows)
        with tempfile.TemporaryDirectory() as folder:
            machine = Machine(store=folder, num_workers=1)
            ref = given(machine, [rows[at::num_shards] for at in range(num_shards)])
            verdicts = read(machine, judge(machine, [ref], config=DedupParams()))
            found.append(sorted(verdicts, key=lambda row: row["id"]))
    same = all(verdicts == found[0] for verdicts in found)
    kept = sum(row["reason"] is None for row in found[0])
    return (
        f"{len(ids)} editions in 1, 3 and 8 shards, shuffled: {kept} kept, verdicts "
        f"{'the same' if same else 'DIFFER'}"
    )


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a packed file."""
    with zstandard.open(path, "rt") as file:
        yield from map(json.loads, file)


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.benchmarks.dedup", description="Copies: speed, memory, and what is found"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with web and dedup")
    parser.add_argument("--pages", default="segments-trafilatura.warc.gz", help="archive to take")
    parser.add_argument("--documents", type=int, default=4_000_000, help="made-up, to decide about")
    parser.add_argument(
        "--datatrove-python", type=Path, help="the Python of an environment with datatrove"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
