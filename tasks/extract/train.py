"""The command that makes the content model: pages and gold texts in, ``content_model.npz`` out.

    python -m tasks.extract.train --data ../shared/data/web

Several kinds of pages teach it. Where somebody wrote down the whole main text (article-extraction
benchmark, readability's test pages), its blocks are the labels. Where only a few segments are known
that must or must not appear (trafilatura's set), and where nothing is known, trafilatura's own
output under three settings is the teacher, and the known segments overrule it. The pages of the
Universal Declaration are nothing but main text, in 300 languages. All others are learned a second
time with teasers or comments added (``augment``), which are not main text, and every other one of
these in no known language.

The model is two boosted forests: the second sees the first one's guess of each block's
surroundings, which the first made without having learned from that site.

Needs the packages of the ``dev`` extra; the pipeline needs none of them.
"""

import argparse
import gzip
import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tasks.extract import _native
from tasks.extract.archive import read_archive
from tasks.extract.augment import EXCHANGED, augmented, in_no_language, paragraphs_of
from tasks.extract.body import Refused, record_body
from tasks.extract.charset import decode
from tasks.extract.content import MODEL_FILE, content_model, load_model
from tasks.extract.labels import block_labels
from tasks.extract.records import Record

GOLD_SETS = ("fulltext-article-extraction-benchmark", "fulltext-readability")
SEGMENT_SET = "segments-trafilatura"
UNLABELLED_SETS = ("pages-postlight-fixtures",)
WHOLE_SET = "site-udhr"  # of pages that are main text and nothing else
SET_WEIGHTS = {**dict(zip(GOLD_SETS, (2.5, 1.6), strict=True)), SEGMENT_SET: 0.6, WHOLE_SET: 0.15}
UNLABELLED_WEIGHT = 0.3
NUM_FOLDS = 5
NUM_TREES = (300, 250)
MAX_PAGE_BYTES = 50_000_000
KNOWN_WEIGHT = 3.0  # of a block that holds a known segment, against one that the teacher judged
UNKNOWN_HOST = "unknown.invalid"
TWIN_WEIGHT = 0.25
EXCHANGED_SHARE = 0.5
AUGMENT_SEED = 0
TEACHER_SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"favor_precision": True},
    {"favor_recall": True},
)
FOREST_SETTINGS = {
    "objective": "cross_entropy",
    "learning_rate": 0.05,
    "num_leaves": 24,
    "max_depth": 6,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.2,
    "extra_trees": True,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 2.0,
    "max_bin": 63,
    "num_threads": 2,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A page to learn from; ``labels`` and ``weights`` have one entry a block."""

    set_name: str
    item_id: str
    site: str
    page: _native.Page
    labels: np.ndarray
    weights: np.ndarray
    is_augmented: bool = False


def read_pages(data: Path, set_name: str) -> Iterator[tuple[str, str, str]]:
    """Item id, URL and HTML of each page of a set."""
    for record in read_archive(data / "pages" / f"{set_name}.warc.gz"):
        if not isinstance(record, Record) or record.type != "response":
            continue
        try:
            body = record_body(record, MAX_PAGE_BYTES)
        except Refused:
            continue
        item_id = record.headers.get("X-Item-Id") or record.url
        yield item_id, record.url, decode(body.data, body.charset, is_html=True, url=record.url)


def read_gold(data: Path, set_name: str) -> dict[str, dict[str, Any]]:
    """The gold records of a set by item id."""
    with gzip.open(data / "gold" / f"{set_name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return {record["id"]: record for record in map(json.loads, lines)}


def read_examples(data: Path) -> list[Example]:
    """All pages that there is something to learn from, and their augmented twins."""
    random = Random(AUGMENT_SEED)
    examples: list[Example] = []
    for set_name in (*GOLD_SETS, SEGMENT_SET, *UNLABELLED_SETS):
        started = time.monotonic()
        gold = {} if set_name in UNLABELLED_SETS else read_gold(data, set_name)
        pages = [
            _Source(set_name, item_id, url, html, known, _taught(html, known))
            for item_id, url, html in read_pages(data, set_name)
            if (known := gold.get(item_id)) or set_name in UNLABELLED_SETS
        ]
        others = [text for page in pages for text in paragraphs_of(page.taught[0])]
        for page in pages:
            if not (example := _example(page)).page.blocks:
                continue
            examples.append(example)
            html = augmented(page.html, page.taught[0], others, random)
            is_exchanged = random.random() < EXCHANGED_SHARE
            examples.append(
                _twin(example, in_no_language(html) if is_exchanged else html, is_exchanged)
            )
        print(f"{set_name}: labelled in {time.monotonic() - started:.0f} s", flush=True)
    for item_id, _, html in read_pages(data, WHOLE_SET):
        whole = _native.Page(html)
        ones = np.ones(len(whole.blocks))
        examples.append(
            Example(
                set_name=WHOLE_SET,
                item_id=item_id,
                site=WHOLE_SET,
                page=whole,
                labels=ones,
                weights=_weights(whole, ones, WHOLE_SET),
            )
        )
    return examples


@dataclass(frozen=True, slots=True)
class _Source:
    set_name: str
    item_id: str
    url: str
    html: str
    gold: Mapping[str, Any] | None
    taught: list[str]  # what somebody says is the main text; several who may differ


def _example(source: _Source) -> Example:
    page = _native.Page(source.html)
    labels, certainty = _labels([block.text for block in page.blocks], source)
    return Example(
        set_name=source.set_name,
        item_id=source.item_id,
        site=site_of(source.url, source.item_id),
        page=page,
        labels=labels,
        weights=_weights(page, certainty, source.set_name),
    )


def _twin(example: Example, html: str, is_exchanged: bool) -> Example:
    """The same page with things added to it, none of which are main text."""
    page = _native.Page(html)
    labels, weights = np.zeros(len(page.blocks)), np.full(len(page.blocks), example.weights.mean())
    old, new = ([block.text for block in p.blocks] for p in (example.page, page))
    if is_exchanged:
        old = [text.translate(EXCHANGED) for text in old]
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for start, to, length in matcher.get_matching_blocks():
        labels[to : to + length] = example.labels[start : start + length]
        weights[to : to + length] = example.weights[start : start + length]
    return replace(
        example, page=page, labels=labels, weights=weights * TWIN_WEIGHT, is_augmented=True
    )


def site_of(url: str, item_id: str) -> str:
    """What must not be in two folds: the registered domain, or the page if no host is known."""
    host = urlsplit(url).hostname or UNKNOWN_HOST
    if host == UNKNOWN_HOST:
        return item_id
    parts = host.split(".")
    return ".".join(parts[-3:] if len(parts) > 2 and len(parts[-2]) <= 3 else parts[-2:])


def fold_of(site: str) -> int:
    """The fold of a site; the same in every run."""
    return int(hashlib.md5(site.encode()).hexdigest(), 16) % NUM_FOLDS


def _taught(html: str, gold: Mapping[str, Any] | None) -> list[str]:
    if gold and "text" in gold:
        return [gold["text"]]
    import trafilatura

    return [
        trafilatura.extract(html, include_comments=False, **setting) or ""
        for setting in TEACHER_SETTINGS
    ]


def _labels(texts: Sequence[str], source: _Source) -> tuple[np.ndarray, np.ndarray]:
    """Labels and how sure they are, one a block."""
    labels = np.mean([block_labels(texts, taught) for taught in source.taught], axis=0)
    certainty = np.ones(len(texts))
    segments = source.gold if source.gold and "with" in source.gold else {"with": (), "without": ()}
    for segment in segments["with"]:
        holders = [i for i, text in enumerate(texts) if segment in text]
        if holders:
            best = max(holders, key=lambda i: (labels[i], len(texts[i])))
            labels[best], certainty[best] = 1.0, KNOWN_WEIGHT
    for segment in segments["without"]:
        for i, text in enumerate(texts):
            is_known = certainty[i] == KNOWN_WEIGHT and labels[i] == 1.0
            if segment in text and not is_known and len(text) <= 6 * len(segment) + 60:
                labels[i], certainty[i] = 0.0, KNOWN_WEIGHT
    return labels, certainty


def _weights(page: _native.Page, certainty: np.ndarray, set_name: str) -> np.ndarray:
    """Blocks count by length, pages by the root of their number of blocks."""
    chars = np.array([min(len(block.text), 1500) for block in page.blocks], float)
    if set_name not in GOLD_SETS:
        chars = 30 + np.minimum(chars, 600)
    weights = (30 + chars) * certainty
    by_set = SET_WEIGHTS.get(set_name, UNLABELLED_WEIGHT)
    return weights / weights.mean() * by_set * np.sqrt(len(weights) / 100)


def _fit(rows: Sequence[np.ndarray], examples: Sequence[Example], num_trees: int) -> Any:
    import lightgbm

    data = lightgbm.Dataset(
        np.concatenate(rows),
        np.concatenate([example.labels for example in examples]),
        weight=np.concatenate([example.weights for example in examples]),
    )
    return lightgbm.train(FOREST_SETTINGS, data, num_boost_round=num_trees)


@dataclass(frozen=True, slots=True)
class Trained:
    """The forests on all pages, and each page's scores by forests that never saw its site."""

    first: Any
    second: Any
    held_out_scores: list[np.ndarray]


def train(examples: Sequence[Example], *, held_out: bool) -> Trained:
    """Fit both forests; ``held_out`` also scores every page by cross-validation (5 x the time)."""
    seen = [_native.seen(example.page) for example in examples]
    folds = np.array([fold_of(example.site) for example in examples])
    guesses = _cross_validated(seen, examples, folds, NUM_TREES[0])
    rows = [
        np.concatenate([seen[i], _native.guessed(example.page, guesses[i])], axis=1)
        for i, example in enumerate(examples)
    ]
    return Trained(
        first=_fit(seen, examples, NUM_TREES[0]),
        second=_fit(rows, examples, NUM_TREES[1]),
        held_out_scores=_cross_validated(rows, examples, folds, NUM_TREES[1]) if held_out else [],
    )


def _cross_validated(
    rows: Sequence[np.ndarray], examples: Sequence[Example], folds: np.ndarray, num_trees: int
) -> list[np.ndarray]:
    scores: list[np.ndarray] = [np.empty(0)] * len(examples)
    for fold in range(NUM_FOLDS):
        others = np.flatnonzero(folds != fold).tolist()
        forest = _fit([rows[i] for i in others], [examples[i] for i in others], num_trees)
        for i in np.flatnonzero(folds == fold).tolist():
            scores[i] = forest.predict(rows[i]).astype(np.float32)
        print(f"fold {fold + 1} of {NUM_FOLDS}", flush=True)
    return scores


def forest_arrays(forest: Any) -> dict[str, np.ndarray]:
    """A LightGBM model as the arrays that ``_native.Model`` reads: one entry a node or a tree."""
    nodes: list[tuple[int, float, int, int, float]] = []

    def add(node: Mapping[str, Any]) -> tuple[int, int]:
        at = len(nodes)
        if "leaf_value" in node:
            nodes.append((0, np.inf, at, at, node["leaf_value"]))
            return at, 0
        nodes.append((0, 0.0, 0, 0, 0.0))  # its children come first
        left, left_depth = add(node["left_child"])
        right, right_depth = add(node["right_child"])
        nodes[at] = (node["split_feature"], node["threshold"], left, right, 0.0)
        return at, 1 + max(left_depth, right_depth)

    trees = [add(tree["tree_structure"]) for tree in forest.dump_model()["tree_info"]]
    feature, threshold, left, right, value = zip(*nodes, strict=True)
    roots, depths = zip(*trees, strict=True)
    return {
        "feature": np.array(feature, np.int32),
        "threshold": np.array(threshold, np.float64),
        "left": np.array(left, np.int32),
        "right": np.array(right, np.int32),
        "value": np.array(value, np.float32),
        "roots": np.array(roots, np.int32),
        "depths": np.array(depths, np.int32),
    }


def model_bytes(trained: Trained) -> bytes:
    """The model file: ``content.load_model`` reads it."""
    arrays: dict[str, Any] = {}
    for name, forest in (("first", trained.first), ("second", trained.second)):
        arrays |= {f"{name}.{key}": array for key, array in forest_arrays(forest).items()}
    out = BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def main() -> None:
    """Read the pages, train, save, and say how good it is."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with pages/ and gold/")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / MODEL_FILE)
    args = parser.parse_args()
    trained = train(read_examples(args.data), held_out=False)
    data = model_bytes(trained)
    load_model(data)
    args.output.write_bytes(data)
    content_model.cache_clear()
    print(f"{args.output}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
