"""What is taken out of documents that stay: texts of evaluation suites, then personal data.

``prepare`` runs once a stage and leaves in a folder what all workers share; a ``Cleaner`` runs in
a worker. What the user gave as files enters the identity by checksum.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.common.contamination_list import CONTAMINATION_NAME
from tasks.common.files import checksums, sha256_of
from tasks.common.shard import read_tables
from tasks.common.stage import StageContext
from tasks.common.store import Artifact
from tasks.common.url_list import web_host
from tasks.common.words import batches
from tasks.filter.config import FilterConfig
from tasks.filter.decontamination.config import DecontaminationRules
from tasks.filter.decontamination.index import Index, build_index
from tasks.filter.decontamination.match import Decontaminated, Decontaminator, text_hashes
from tasks.filter.decontamination.suites import read_suites
from tasks.filter.personal.config import KINDS, PersonalDataRules
from tasks.filter.personal.names import model_identity, name_finder
from tasks.filter.personal.pseudonyms import MIN_KEY_BYTES, Pseudonyms
from tasks.filter.personal.scrub import Page, Scrubber

FOLDER = ".decontamination"  # hidden: it is no part of the artifact
COMMONPLACE = "commonplace.npy"
NEEDED = ["id", "url", "kind", "language"]  # columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What became of a document."""

    text: str
    reason: str | None = None  # why it is dropped after all
    detail: str | None = None
    tags: list[str] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)  # personal data by kind


def identity(config: FilterConfig) -> dict[str, Any]:
    """What of these rules decides the output: files by checksum, not by path.

    Raises:
        ValueError: there is no key, or a path that matches nothing.
    """
    personal, suites = config.personal_data, config.decontamination
    about_personal: dict[str, Any] = personal.model_dump(mode="json")
    if personal.key_file and _uses_key(personal):
        about_personal["key_file"] = sha256_of(_key_path(personal.key_file))
    else:
        about_personal["key_file"] = None
    if "name" in set(personal.wanted(is_code=False)):
        about_personal["names"]["model"] = model_identity(personal.names)
    else:
        about_personal["names"] = None
    if not suites.suites:
        return {"personal_data": about_personal}
    about_suites = suites.model_dump(mode="json") | {"suites": checksums(suites.suites)}
    return {"personal_data": about_personal, "decontamination": about_suites}


def _uses_key(rules: PersonalDataRules) -> bool:
    return any(rules.rule(kind).action == "pseudonymise" for kind in KINDS)


def _key_path(name: str) -> Path:
    """The key's file. None is made in passing: the same corpus would get another elsewhere."""
    path = Path(name)
    if not path.is_file():
        raise ValueError(
            f"personal_data.key_file: there is no file {name}; make the key once with "
            f"(umask 077; head -c {MIN_KEY_BYTES} /dev/urandom > {name})"
        )
    return path


def prepare(context: StageContext, config: FilterConfig) -> list[dict[str, Any]]:
    """Index the suites, and count in which documents their n-grams stand.

    Returns:
        For each suite its name, the fields that were read and the number of items.
    """
    rules = config.decontamination
    if not rules.suites:
        return []
    suites = read_suites(rules.suites, rules.fields)
    index = build_index(suites, rules)
    index.save(context.path / FOLDER)
    context.log.info(
        "decontamination: %d n-grams of %d suites", len(index.grams), len(index.suites)
    )
    if rules.max_documents:
        shards = context.shards("documents")
        context.map(
            count_sightings,
            [(*shard, context.path, number, rules) for number, shard in enumerate(shards)],
            key="sightings",
            names=lambda number: [_sightings_name(number), _innocent_name(number)],
        )
        np.save(
            context.path / FOLDER / COMMONPLACE,
            _commonplace(context.path, len(shards), len(index.grams), rules.max_documents),
        )
    return [
        {"suite": suite.name, "fields": ", ".join(suite.fields), "items": len(suite.items)}
        for suite in suites
    ]


def count_sightings(
    artifact: Artifact, name: str, folder: Path, number: int, rules: DecontaminationRules
) -> int:
    """Write which n-grams of suites stand in which of a shard's texts; returns how many do."""
    finder = Decontaminator(rules, Index.load(folder / FOLDER))
    parts, innocent = [np.zeros((2, 0), np.uint64)], [np.zeros(0, np.uint64)]
    for table in read_tables(artifact.fetch(name)):
        texts = table["text"].to_pylist()
        for part in batches(texts):
            grams, hashes = finder.sightings(texts[part])
            parts.append(np.stack([grams.astype(np.uint64), hashes]))
            innocent.append(np.setdiff1d(text_hashes(texts[part]), hashes))
    np.save(folder / _innocent_name(number), np.concatenate(innocent))
    pairs = np.unique(np.concatenate(parts, axis=1), axis=1)
    np.save(folder / _sightings_name(number), pairs)
    return pairs.shape[1]


def _sightings_name(number: int) -> str:
    return f"{FOLDER}/sightings-{number:05d}.npy"


def _innocent_name(number: int) -> str:
    """The file of hashes of texts in which there is nothing: they need not be read again."""
    return f"{FOLDER}/innocent-{number:05d}.npy"


def _commonplace(folder: Path, num_shards: int, num_grams: int, max_documents: int) -> np.ndarray:
    """Of each n-gram whether it stands in too many different texts; copies of a text are one."""
    parts = [np.load(folder / _sightings_name(number)) for number in range(num_shards)]
    pairs = np.unique(np.concatenate([np.zeros((2, 0), np.uint64), *parts], axis=1), axis=1)
    counts = np.bincount(pairs[0].astype(np.int64), minlength=num_grams)
    too_many: np.ndarray = counts > max_documents
    return too_many


class Cleaner:
    """Cleans one shard's documents, and keeps the account of it."""

    def __init__(self, config: FilterConfig, folder: Path, number: int) -> None:
        """For shard ``number``, with what ``prepare`` left in ``folder``."""
        personal = config.personal_data
        key_file = personal.key_file if _uses_key(personal) else None
        with_names = "name" in set(personal.wanted(is_code=False))
        self._scrubber = Scrubber(
            personal,
            Pseudonyms(_key_path(key_file).read_bytes()) if key_file else None,
            name_finder(personal.names) if with_names else None,
        )
        self._index: Index | None = None
        self._innocent: set[int] = set()
        if config.decontamination.suites:
            self._index = Index.load(folder / FOLDER)
            common = None
            if config.decontamination.max_documents:
                common = np.load(folder / FOLDER / COMMONPLACE)
                self._innocent = set(np.load(folder / _innocent_name(number)).tolist())
            self._decontaminator = Decontaminator(config.decontamination, self._index, common)
        self.rows: list[dict[str, Any]] = []  # of the report: what of suites stood where

    def clean(self, documents: pa.Table, texts: Sequence[str]) -> list[Cleaned]:
        """Clean documents, of which NEEDED is given, whose texts are now ``texts``.

        None depends on its neighbours.
        """
        rows = documents.to_pylist()
        cleaned: list[Cleaned] = []
        for part in batches(texts):
            cleaned += self._clean(rows[part], texts[part])
        return cleaned

    def _clean(self, rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> Iterator[Cleaned]:
        results = self._decontaminate(rows, texts)
        pages = [
            Page(
                text=result.text,
                is_code=row["kind"] == "code",
                language=row["language"],
                host=web_host(row["url"]),
            )
            for row, result in zip(rows, results, strict=True)
        ]
        for result, scrubbed in zip(results, self._scrubber.scrub(pages), strict=True):
            yield Cleaned(
                text=scrubbed.text,
                reason=result.reason or scrubbed.reason,
                detail=result.detail or scrubbed.detail,
                tags=[*result.tags, *scrubbed.tags],
                found=scrubbed.found if not result.reason else Counter(),
            )

    def _decontaminate(
        self, rows: Sequence[Mapping[str, Any]], texts: Sequence[str]
    ) -> list[Decontaminated]:
        results = [Decontaminated(text=text) for text in texts]
        if not self._index:
            return results
        hashes = text_hashes(texts).tolist() if self._innocent else [0] * len(texts)
        suspects = [at for at, known in enumerate(hashes) if known not in self._innocent]
        found = self._decontaminator.decontaminate([texts[at] for at in suspects])
        for at, result in zip(suspects, found, strict=True):
            results[at] = result
            self._note(rows[at], result, self._index)
        return results

    def _note(self, row: Mapping[str, Any], result: Decontaminated, index: Index) -> None:
        for overlap in result.overlaps:
            self.rows.append(
                {
                    "suite": index.suites[index.suite_of[overlap.item]],
                    "item": index.item_names[overlap.item],
                    "document": row["id"],
                    "url": row["url"],
                    "action": result.done,
                    "spans": result.num_spans,
                    "words": overlap.num_words,
                    "text": overlap.shown,
                }
            )

    def write_report(self, folder: Path, number: int) -> None:
        """Leave the account of shard ``number`` for ``gather``."""
        if not self._index:
            return
        with (folder / rows_name(number)).open("w", encoding="utf-8") as file:
            for row in self.rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def rows_name(number: int) -> str:
    """The file with a shard's account."""
    return f"{FOLDER}/rows-{number:05d}.jsonl"


def gather(folder: Path, num_shards: int, suites: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write the report of all shards into the artifact; returns its sums, suite by suite."""
    if not suites:
        return {}
    items: dict[str, set[str]] = {}
    documents: dict[str, dict[str, int]] = {}
    with (folder / CONTAMINATION_NAME).open("w", encoding="utf-8") as report:
        for number in range(num_shards):
            with (folder / rows_name(number)).open(encoding="utf-8") as file:
                for line in file:
                    report.write(line)
                    row = json.loads(line)
                    items.setdefault(row["suite"], set()).add(row["item"])
                    documents.setdefault(row["suite"], {})[row["document"]] = row["spans"]
    return {
        "contamination": [
            suite
            | {
                "items_found": len(items.get(suite["suite"], ())),
                "documents": len(documents.get(suite["suite"], ())),
                "spans": sum(documents.get(suite["suite"], {}).values()),
            }
            for suite in suites
        ]
    }
