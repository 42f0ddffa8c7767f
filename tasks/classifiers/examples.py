"""Labelled examples from the corpus's shards and the user's files, in one walk over each."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.classifiers.config import ClassifiersConfig
from tasks.classifiers.labelling import Question
from tasks.classifiers.records import is_toxic, label_of, text_of
from tasks.classifiers.sample import Sample, rank_of, smallest
from tasks.common.files import expand_files, open_text
from tasks.common.shard import read_tables
from tasks.common.store import Artifact
from tasks.common.url_list import UrlList
from tasks.common.windows import MAX_CHARS

OTHER, GOOD = "other", "reference"
CLEAN, TOXIC = "clean", "toxic"
COLUMNS = ["id", "url", "text", "source", "kind", "domain"]
TEXT_SUFFIX = ".txt"
MAX_TEXT_FILE_CHARS = 100_000

Shards = list[tuple[Artifact, str]]


class Unusable(Counter[str]):
    """How many records of the user's files taught nothing, by file and reason."""


def samples(shards: Shards, config: ClassifiersConfig, unusable: Unusable) -> dict[str, Sample]:
    """What each classifier that is asked for can learn from."""
    found: dict[str, Sample] = {}
    if config.quality.method == "references" and config.quality.has_references:
        found["quality"] = Sample(config.learning.max_documents)
    found["domain"] = Sample(config.learning.max_documents)
    if config.toxicity.files:
        found["toxicity"] = Sample(config.learning.max_documents)
    if "quality" in found or config.domain.from_sources:
        _add_documents(found, shards, config)
    _add_files(found, config, unusable)
    return found


def questions(shards: Shards, num: int, max_chars: int) -> list[Question]:
    """The documents to be labelled: prose, the ``num`` of the smallest ranks, their beginnings."""
    entries = (
        (rank_of(f"label:{row['id']}"), row["id"], row["text"][: max(max_chars, MAX_CHARS)])
        for row in _rows(shards, ["id", "kind", "text"])
        if row["kind"] == "prose"
    )
    return [Question(*entry) for entry in smallest(entries, num)]


def _add_documents(found: dict[str, Sample], shards: Shards, config: ClassifiersConfig) -> None:
    is_good = _good_documents(shards, config)
    for row in _rows(shards, COLUMNS):
        if config.domain.from_sources and row["domain"] is not None:
            found["domain"].add(row["domain"], row["id"], row["text"])
        if "quality" in found and row["kind"] == "prose":
            good = is_good(row)
            if good or row["source"] not in config.quality.referencing_sources:
                found["quality"].add(GOOD if good else OTHER, row["id"], row["text"])


def _good_documents(
    shards: Shards, config: ClassifiersConfig
) -> Callable[[Mapping[str, Any]], bool]:
    """A test of whether a document is of the references."""
    quality = config.quality
    sources = set(quality.reference_sources)
    named = UrlList(_lines_of(quality.referenced_url_files))
    linked = UrlList(_links(shards, set(quality.referencing_sources)))
    lists = [urls for urls in (named, linked) if len(urls)]

    def is_good(row: Mapping[str, Any]) -> bool:
        return row["source"] in sources or any(urls.names_exactly(row["url"]) for urls in lists)

    return is_good


def _links(shards: Shards, sources: set[str]) -> Iterator[str]:
    """What the documents of some sources link to."""
    if sources:
        for row in _rows(shards, ["source", "links"]):
            if row["source"] in sources:
                yield from row["links"] or ()


def _lines_of(paths: list[str]) -> Iterator[str]:
    for path in expand_files(paths).values():
        with open_text(path) as file:
            yield from file


def _add_files(found: dict[str, Sample], config: ClassifiersConfig, unusable: Unusable) -> None:
    if "quality" in found:
        for label, paths in (
            (GOOD, config.quality.reference_files),
            (OTHER, config.quality.other_files),
        ):
            for name, record in _records(paths):
                _add(found["quality"], label, text_of(record), name, unusable)
    for name, record in _records(config.domain.seed_files):
        _add(found["domain"], label_of(record), text_of(record), name, unusable)
    for name, record in _records(config.toxicity.files):
        given = label_of(record)
        toxic = given is not None and is_toxic(given, config.toxicity.toxic_labels)
        kind = None if given is None else TOXIC if toxic else CLEAN
        _add(found["toxicity"], kind, text_of(record), name, unusable)


def _add(
    sample: Sample, label: str | None, text: str | None, name: str, unusable: Unusable
) -> None:
    """Rank a record by its text, so that copies of it are on one side of the fence."""
    if not text:
        unusable[f"{name}: no text"] += 1
    elif label is None:
        unusable[f"{name}: no label"] += 1
    else:
        sample.add(label, text, text)


def _records(paths: list[str]) -> Iterator[tuple[str, Any]]:
    for name, path in expand_files(paths).items():
        for record in _text_file(path) if path.suffix == TEXT_SUFFIX else _json_lines(path):
            yield name, record


def _text_file(path: Path) -> Iterable[dict[str, str]]:
    with open_text(path) as file:
        return [{"text": file.read(MAX_TEXT_FILE_CHARS)}]


def _json_lines(path: Path) -> Iterator[Any]:
    with open_text(path) as file:
        for line in file:
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError:
                    yield None


def _rows(shards: Shards, columns: list[str]) -> Iterator[dict[str, Any]]:
    for artifact, name in shards:
        for table in read_tables(artifact.fetch(name)):
            yield from pa.Table.to_pylist(table.select(columns))
