"""The passages stage: shards of documents in, the same shards without repeated passages out.

Three passes: the keys of each shard's runs of words, lines … (on disk, so that a killed run goes
on), then range by range of the keys which of them come again, then each shard written without what
its documents repeat. What was cut most often is named in ``repeated.jsonl``.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from tasks.common.funnel import Funnel
from tasks.common.passage_list import REPEATED_NAME
from tasks.common.shard import ShardWriter, part_name, read_tables, set_column
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.common.url_list import web_host
from tasks.common.words import INK, batches, split_words
from tasks.passages.config import PassagesConfig
from tasks.passages.cut import Stretch, covered, united, without
from tasks.passages.keys import (
    DocumentTable,
    KeyRange,
    KeyWriter,
    key_names,
    num_ranges,
    read_range,
)
from tasks.passages.repeats import Pages, Places, come_again, decide, top_of
from tasks.passages.rules import Rule, rules_of
from tasks.passages.units import run_keys, split

KEYS_FOLDER = ".keys"
COLUMNS = ["id", "url", "source", "kind", "text"]
PAGES_NAME = "pages.npz"
SHOWN_CHARS = 200
COUNTED = ("passages", "characters", "documents")


def run(context: StageContext, config: PassagesConfig) -> Outcome:
    """Cut passages that stand elsewhere. In: documents. Out: shorter ones, and fewer rows."""
    rules = rules_of(config)
    if not rules:
        raise ValueError("passages has no rule to apply; switch one on, as substrings.on=true")
    shards = context.shards("documents")
    if not shards:
        raise ValueError("passages was given no shards; give it the artifact of dedup or filter")
    folder = context.path / KEYS_FOLDER
    sizes = context.map(
        write_keys,
        [(*shard, folder, index, config) for index, shard in enumerate(shards)],
        key="keys",
        names=lambda index: [
            f"{KEYS_FOLDER}/{name}" for rule in rules for name in key_names(rule.name, index)
        ],
    )
    for rule in rules:
        _write_pages(folder, rule, len(shards))
    ranges = {rule.name: num_ranges(sum(size[rule.name] for size in sizes)) for rule in rules}
    pieces = [(rule, part) for rule in rules for part in range(ranges[rule.name])]
    context.map(
        write_repeats,
        [(folder, rule, len(shards), KeyRange(part, ranges[rule.name])) for rule, part in pieces],
        key="range",
        names=lambda index: [
            f"{KEYS_FOLDER}/{_repeats_name(*pieces[index])}.{kind}" for kind in ("npy", "npz")
        ],
    )
    top = {rule.name: _top(folder, rule, ranges[rule.name]) for rule in rules}
    results = context.map(
        write_shard,
        [
            (*shard, context.path, index, config, ranges, _of_shard(top, index))
            for index, shard in enumerate(shards)
        ],
        names=lambda index: [part_name(index), f"dropped/{part_name(index)}"],
    )
    _write_repeated(context.path / REPEATED_NAME, [row for r in results for row in r["repeated"]])
    return Outcome(
        funnel=Funnel.total(Funnel(**result["funnel"]) for result in results),
        metrics=_metrics(rules, results),
    )


def write_keys(
    artifact: Artifact, name: str, folder: Path, index: int, config: PassagesConfig
) -> dict[str, int]:
    """Save the keys of one shard under each rule; return how many there are."""
    rules = rules_of(config)
    writers = [KeyWriter(folder, rule.name, index) for rule in rules]
    for table in read_tables(artifact.fetch(name)):
        rows = _Rows(table, config)
        for rule, writer in zip(rules, writers, strict=True):
            scopes = rows.scopes(rule)
            num_units = np.zeros(len(table), np.int64)
            for part in batches(rows.texts):
                texts, of = rows.texts[part], rows.seen[part]
                units = split(texts, rule)
                writer.add(*run_keys(texts, units, rule, scopes[of]), len(units.text))
                num_units[of] = np.bincount(units.text, minlength=len(texts))
            writer.add_documents(rows.orders, scopes, rows.is_seen, num_units)
    for writer in writers:
        writer.close()
    return {rule.name: writer.num_keys for rule, writer in zip(rules, writers, strict=True)}


def write_repeats(folder: Path, rule: Rule, num_shards: int, keys: KeyRange) -> int:
    """Save which runs of one range of keys are cut, shard by shard, and which come again most.

    Returns how many are cut.
    """
    found, units, bounds = read_range(folder, rule.name, num_shards, keys)
    entries = come_again(found)
    found, units = found[entries], units[entries]
    shards = np.searchsorted(bounds, entries, "right") - 1
    places = _places(folder, rule, found, units, shards)
    cut, top = decide(places, rule, _pages(folder, rule))
    cut = cut[np.lexsort((units[cut], shards[cut]))]
    name = _repeats_name(rule, keys.index)
    np.save(folder / f"{name}.npy", units[cut])
    np.savez(
        folder / f"{name}.npz",
        bounds=np.searchsorted(shards[cut], np.arange(num_shards + 1)),
        top_scopes=top.scopes,
        top_keys=found[top.entries],
        top_shards=shards[top.entries],
        top_units=units[top.entries],
        top_counts=top.counts,
        top_documents=top.documents,
    )
    return len(cut)


def write_shard(
    artifact: Artifact,
    name: str,
    folder: Path,
    index: int,
    config: PassagesConfig,
    ranges: dict[str, int],
    top: dict[str, list[tuple[int, int, int]]],
) -> dict[str, Any]:
    """Write one shard without what its documents repeat; return its ledger and what was cut."""
    rules = rules_of(config)
    cuts = [_Cuts(folder / KEYS_FOLDER, rule, index, ranges[rule.name]) for rule in rules]
    counts = {rule.name: Counter[str]() for rule in rules}
    repeated: list[dict[str, Any]] = []
    start = 0
    with ShardWriter(folder, index) as shard:
        for table in read_tables(artifact.fetch(name)):
            rows = _Rows(table, config)
            assert (rows.orders == cuts[0].documents.orders[start : start + len(table)]).all()
            lost: dict[int, dict[str, list[Stretch]]] = {}
            for rule, cut in zip(rules, cuts, strict=True):
                for row, stretches in cut.stretches(rows, start).items():
                    lost.setdefault(row, {})[rule.name] = stretches
                    counts[rule.name].update(
                        passages=len(stretches),
                        characters=_num_chars(stretches),
                        documents=1,
                    )
                repeated += _named(rows, rule, cut, start, top.get(rule.name, []))
            texts, reasons, details = _edited(table["text"].to_pylist(), lost, config)
            shard.split(set_column(table, "text", texts), reasons, details)
            start += len(table)
    return {"funnel": shard.funnel.model_dump(), "counts": counts, "repeated": repeated}


class _Rows:
    """A table's documents, and which of them the rules look at."""

    def __init__(self, table: pa.Table, config: PassagesConfig) -> None:
        ids, self.urls, self.sources, kinds, texts = (table[c].to_pylist() for c in COLUMNS)
        self.orders = _numbers(ids)
        self.is_seen = np.array([kind in config.kinds for kind in kinds], bool)
        self.seen = np.flatnonzero(self.is_seen)
        self.all_texts: list[str] = texts
        self.texts = [texts[row] for row in self.seen]

    def labels(self, rule: Rule) -> list[str]:
        """Where a run of each document must come again; empty for the whole corpus."""
        if rule.scope == "host":
            return [web_host(url) or s for url, s in zip(self.urls, self.sources, strict=True)]
        return self.sources if rule.scope == "source" else [""] * len(self.urls)

    def scopes(self, rule: Rule) -> np.ndarray:
        """The same as numbers, 0 for the whole corpus."""
        if rule.scope == "corpus":
            return np.zeros(len(self.urls), np.uint64)
        return _numbers(self.labels(rule))


class _Cuts:
    """What one rule cuts out of a shard."""

    def __init__(self, folder: Path, rule: Rule, shard: int, num_ranges: int) -> None:
        found = [np.empty(0, np.int64)]
        for part in range(num_ranges):
            name = _repeats_name(rule, part)
            with np.load(folder / f"{name}.npz") as file:
                start, end = file["bounds"][shard : shard + 2]
            units = np.load(folder / f"{name}.npy", mmap_mode="r")
            found.append(units[start:end].astype(np.int64))
        self.rule = rule
        self.documents = DocumentTable.load(folder, rule.name, shard)
        self._units = np.unique(np.concatenate(found))

    def stretches(self, rows: _Rows, start: int) -> dict[int, list[Stretch]]:
        """By row of a table, which is the shard's ``start``-th, what goes from its text."""
        first_units = self.documents.first_units[start : start + len(rows.orders) + 1]
        begin, end = np.searchsorted(self._units, first_units[[0, -1]])
        units = self._units[begin:end]
        hit, of = np.unique(self.documents.documents_of(units) - start, return_inverse=True)
        found: dict[int, list[Stretch]] = {}
        texts = [rows.all_texts[row] for row in hit]
        for part in batches(texts):
            here = hit[part]
            is_here = (of >= part.start) & (of < part.stop)
            sizes = first_units[here + 1] - first_units[here]
            shifts = np.cumsum(sizes) - sizes - first_units[here]
            pieces = split(texts[part], self.rule, with_hashes=False)
            assert len(pieces.text) == sizes.sum(), "these are not the texts that had the keys"
            firsts = units[is_here] + shifts[of[is_here] - part.start]
            first, last = covered(firsts, self.rule.num_units, pieces.text)
            for row, a, b in zip(
                here[pieces.text[first]].tolist(),
                pieces.starts[first].tolist(),
                pieces.ends[last].tolist(),
                strict=True,
            ):
                found.setdefault(row, []).append((a, b))
        return found


def _edited(
    texts: Sequence[str], lost: dict[int, dict[str, list[Stretch]]], config: PassagesConfig
) -> tuple[list[str], list[str | None], list[str | None]]:
    """The texts that stay, and for each document why it goes, if it does, with the figures."""
    edited = list(texts)
    reasons: list[str | None] = [None] * len(edited)
    details: list[str | None] = [None] * len(edited)
    rows = sorted(lost)
    stretches = [united([s for found in lost[row].values() for s in found]) for row in rows]
    shorter = [without(texts[row], cut) for row, cut in zip(rows, stretches, strict=True)]
    words = split_words(shorter, INK, with_hashes=False, unspaced=True)
    num_words = np.bincount(words.text, minlength=len(rows)).tolist()
    for row, cut, text, num_left in zip(rows, stretches, shorter, num_words, strict=True):
        num_chars = _num_chars(cut)
        if num_chars > config.max_cut_share * len(texts[row]):
            reasons[row] = "mostly_repeated"
        elif num_left < max(1, config.min_left_words):
            reasons[row] = "little_left"
        else:
            edited[row] = text
            continue
        by_rule = ", ".join(f"{name} {_num_chars(cut)}" for name, cut in lost[row].items())
        details[row] = (
            f"{num_chars} of {len(texts[row])} characters come again ({by_rule}), "
            f"{num_left} words would be left"
        )
    return edited, reasons, details


def _num_chars(stretches: Sequence[Stretch]) -> int:
    return sum(end - start for start, end in stretches)


def _places(
    folder: Path, rule: Rule, keys: np.ndarray, units: np.ndarray, shards: np.ndarray
) -> Places:
    """Look up the documents of runs whose keys come again."""
    orders, scopes = np.empty(len(keys), np.uint64), np.empty(len(keys), np.uint64)
    documents, places = np.empty(len(keys), np.int64), np.empty(len(keys), np.int64)
    for shard in np.unique(shards).tolist():
        table = DocumentTable.load(folder, rule.name, shard)
        here = np.flatnonzero(shards == shard)
        rows = table.documents_of(units[here])
        orders[here], scopes[here] = table.orders[rows], table.scopes[rows]
        documents[here] = (shard << 32) + rows
        places[here] = units[here] - table.first_units[rows]
    return Places(keys=keys, orders=orders, documents=documents, units=places, scopes=scopes)


def _write_pages(folder: Path, rule: Rule, num_shards: int) -> None:
    """Save how many documents each scope has, where a rule asks for it; 16 bytes a scope."""
    scopes, counts = np.empty(0, np.uint64), np.empty(0, np.int64)
    for shard in range(num_shards) if rule.min_pages else ():
        table = DocumentTable.load(folder, rule.name, shard)
        new, num = np.unique(table.scopes[table.is_seen > 0], return_counts=True)
        scopes, of = np.unique(np.concatenate([scopes, new]), return_inverse=True)
        counts = np.bincount(of, np.concatenate([counts, num]), len(scopes)).astype(np.int64)
    np.savez(folder / rule.name / PAGES_NAME, scopes=scopes, counts=counts)


def _pages(folder: Path, rule: Rule) -> Pages:
    with np.load(folder / rule.name / PAGES_NAME) as file:
        return Pages(scopes=file["scopes"], counts=file["counts"])


def _top(folder: Path, rule: Rule, num_ranges: int) -> np.ndarray:
    """Shard, unit, count and documents of what comes again most; only whole units are shown."""
    if rule.num_units > 1 or rule.near:
        return np.empty((0, 4), np.int64)
    names = ("scopes", "keys", "shards", "units", "counts", "documents")
    columns: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for part in range(num_ranges):
        with np.load(folder / f"{_repeats_name(rule, part)}.npz") as file:
            for name in names:
                columns[name].append(file[f"top_{name}"])
    scopes, keys, *rest = map(np.concatenate, columns.values())
    return np.stack(rest, axis=1).astype(np.int64)[top_of(scopes, rest[2], keys)]


def _of_shard(top: dict[str, np.ndarray], shard: int) -> dict[str, list[tuple[int, int, int]]]:
    return {name: rows[rows[:, 0] == shard, 1:].tolist() for name, rows in top.items()}


def _named(
    rows: _Rows, rule: Rule, cut: _Cuts, start: int, top: Sequence[tuple[int, int, int]]
) -> list[dict[str, Any]]:
    """What comes again most and stands first in this table, in words."""
    named = []
    first_units = cut.documents.first_units
    labels = rows.labels(rule) if top else []
    for unit, count, documents in top:
        row = int(cut.documents.documents_of(np.array([unit]))[0]) - start
        if 0 <= row < len(labels):
            pieces = split([rows.all_texts[row]], rule, with_hashes=False)
            place = unit - first_units[start + row]
            text = rows.all_texts[row][pieces.starts[place] : pieces.ends[place]]
            named.append(
                {
                    "rule": rule.name,
                    "within": labels[row] or "corpus",
                    "count": count,
                    "documents": documents,
                    "text": text[:SHOWN_CHARS],
                }
            )
    return named


def _write_repeated(path: Path, rows: list[dict[str, Any]]) -> None:
    rows.sort(key=lambda row: (row["rule"], -row["count"], row["within"], row["text"]))
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), "utf-8")


def _metrics(rules: Sequence[Rule], results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What each rule cut, whether the document then stayed or not."""
    return {
        rule.name: {
            name: sum(result["counts"][rule.name].get(name, 0) for result in results)
            for name in COUNTED
        }
        for rule in rules
    }


def _numbers(names: Sequence[str]) -> np.ndarray:
    hashed = (xxhash.xxh3_64_intdigest(name.encode()) for name in names)
    return np.fromiter(hashed, np.uint64, len(names))


def _repeats_name(rule: Rule, part: int) -> str:
    return f"{rule.name}/repeats-{part:05d}"


STAGE = Stage(
    name="passages",
    version=1,
    config=PassagesConfig,
    inputs=("documents",),
    run=run,
    identity=PassagesConfig.identity,
)
