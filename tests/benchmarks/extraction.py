"""Main-text extraction against gold: Bloomery, trafilatura and Resiliparse on the same pages.

    python -m tests.benchmarks.extraction --data ../shared/data/web

Each set is scored by its own authors' measure: the article-extraction benchmark and readability's
test pages by the F1 of 4-word shingles (every page counts the same), trafilatura's set by the
segments that must and must not appear. CPU time is that of one process, user and system, HTML text
in, plain text out, best of ``--rounds``.

The shipped model has learned from these pages, so its row says what a user gets on pages it knows.
``--held-out`` trains five times, each time without a fifth of the sites, and scores every page with
the model that never saw its site: the row to compare with others. It takes some minutes.
"""

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.extract.content import as_text, keep_blocks, read_content
from tasks.extract.train import (
    GOLD_SETS,
    SEGMENT_SET,
    model_bytes,
    read_examples,
    read_gold,
    read_pages,
    train,
)

SHINGLE_WORDS = 4
WORD = re.compile(r"\w+")
SLOW_SECONDS = 2.0

Extractor = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Score:
    """Precision, recall and their harmonic mean."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean; 0 if both are 0."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """The runs of four words of a text, counted; a shorter text is one run."""
    words = WORD.findall(text)
    num_runs = max(1, len(words) - SHINGLE_WORDS + 1)
    return Counter(tuple(words[i : i + SHINGLE_WORDS]) for i in range(num_runs))


def shingle_score(pairs: Iterable[tuple[str, str]]) -> Score:
    """Score of (gold, extracted) texts as the article-extraction benchmark computes it."""
    found = spurious = missed = 0.0
    for gold, extracted in pairs:
        wanted, got = shingles(gold), shingles(extracted)
        shared = (wanted & got).total()
        extra, lacking = (got - wanted).total(), (wanted - got).total()
        total = shared + extra + lacking
        found, spurious, missed = (
            found + shared / total,
            spurious + extra / total,
            missed + lacking / total,
        )
    return Score(found / (found + spurious), found / (found + missed))


def segment_score(pairs: Iterable[tuple[Mapping[str, Any], str]]) -> Score:
    """Score of (gold record, extracted text) as trafilatura's evaluation computes it."""
    found = spurious = missed = 0
    for gold, extracted in pairs:
        num_held = sum(segment in extracted for segment in gold["with"])
        found += num_held
        missed += len(gold["with"]) - num_held
        spurious += sum(segment in extracted for segment in gold["without"])
    return Score(found / (found + spurious), found / (found + missed))


def score_set(gold: Mapping[str, Mapping[str, Any]], texts: Mapping[str, str], name: str) -> Score:
    """Score a set's extracted texts, by item id; a page that gave none counts as empty."""
    if name == SEGMENT_SET:
        return segment_score((record, texts.get(key, "")) for key, record in gold.items())
    return shingle_score((record["text"], texts.get(key, "")) for key, record in gold.items())


def extractors() -> dict[str, Extractor]:
    """The contestants, by name, each at the settings its authors evaluate it with or better."""
    import trafilatura
    from resiliparse.extract.html2text import extract_plain_text

    def teach(**settings: bool) -> Extractor:
        return lambda html: trafilatura.extract(html, include_comments=False, **settings) or ""

    return {
        "bloomery": lambda html: read_content(html).text,
        "trafilatura": teach(),
        "trafilatura fast": teach(fast=True),
        "trafilatura precision": teach(favor_precision=True),
        "trafilatura recall": teach(favor_recall=True),
        "resiliparse": lambda html: str(
            extract_plain_text(html, main_content=True, alt_texts=False)
        ),
    }


@dataclass(frozen=True, slots=True)
class Run:
    """What an extractor made of a set, by item id, and its time."""

    texts: dict[str, str]
    cpu_seconds: float
    slowest_seconds: float


def run(extract: Extractor, pages: Sequence[tuple[str, str]], num_rounds: int) -> Run:
    """Extract every page ``num_rounds`` times; the times are those of the best round."""
    best: Run | None = None
    for _ in range(num_rounds):
        texts, slowest, total = {}, 0.0, 0.0
        for key, html in pages:
            started = time.process_time()
            texts[key] = extract(html)
            seconds = time.process_time() - started
            slowest, total = max(slowest, seconds), total + seconds
        if best is None or total < best.cpu_seconds:
            best = Run(texts, total, slowest)
    assert best
    return best


def held_out_texts(data: Path, save: Path | None) -> dict[str, dict[str, str]]:
    """Texts by set and item id, each by a model that never saw the page's site."""
    examples = read_examples(data)
    trained = train(examples, held_out=True)
    if save:
        save.write_bytes(model_bytes(trained))
    texts: dict[str, dict[str, str]] = {}
    for example, scores in zip(examples, trained.held_out_scores, strict=True):
        if example.is_augmented:
            continue
        blocks = example.page.blocks
        kept = keep_blocks(blocks, scores)
        text = as_text([block for block, keep in zip(blocks, kept, strict=True) if keep])
        texts.setdefault(example.set_name, {})[example.item_id] = text
    return texts


def main() -> None:
    """Print a table a set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with pages/ and gold/")
    parser.add_argument("--held-out", action="store_true", help="also score by cross-validation")
    parser.add_argument("--save", type=Path, help="with --held-out: where to keep the model of all")
    parser.add_argument("--rounds", type=int, default=1, help="timed rounds  [default: 1]")
    args = parser.parse_args()
    held_out = held_out_texts(args.data, args.save) if args.held_out else {}
    for name in (*GOLD_SETS, SEGMENT_SET):
        gold = read_gold(args.data, name)
        pages = [(key, html) for key, _, html in read_pages(args.data, name) if key in gold]
        print(f"\n{name}: {len(pages)} pages, {sum(len(h) for _, h in pages) / 1e6:.1f} MB")
        print(f"{'':24}{'F1':>8}{'prec.':>8}{'recall':>8}{'pages/s/core':>14}{'slowest, ms':>13}")
        if held_out:
            score = score_set(gold, held_out[name], name)
            print(
                f"{'bloomery, held out':24}{score.f1:8.4f}{score.precision:8.4f}{score.recall:8.4f}"
            )
        for title, extract in extractors().items():
            result = run(extract, pages, args.rounds)
            score = score_set(gold, result.texts, name)
            print(
                f"{title:24}{score.f1:8.4f}{score.precision:8.4f}{score.recall:8.4f}"
                f"{len(pages) / result.cpu_seconds:14.1f}{result.slowest_seconds * 1000:13.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
