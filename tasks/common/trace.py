"""Where in a store documents are, found by address or id, and what has been made from them.

In: a store's artifacts and the addresses or ids that are wanted. Out: sightings, one a row of a
document shard or of a crawl's page table, and how far each artifact is touched by them. Only the
columns of addresses and ids are read until something is found, some files at a time; nothing is
written. Telling a page's story of it is left to ``story``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel

from tasks.common.manifest import ArtifactRef, FileEntry, Manifest
from tasks.common.mixture import VALIDATION
from tasks.common.page_table import PAGE_TABLE_NAME
from tasks.common.shard import ROWS_PER_BATCH, TAKEN_DOWN
from tasks.common.store import Store
from tasks.common.url_list import UrlList, host_of

NUM_THREADS = 4
# What lies before the path of an address, in any spelling that a browser takes for one.
ORIGIN = r"^(?P<origin>[A-Za-z][A-Za-z0-9+.\-]*:(?:[/\\]{2}[^/\\?#]*)?)"
# Stages of which more is known than what they were made from.
EXTRACT, TOKENIZER, REPORT, CLASSIFIERS = "extract", "tokenizer", "report", "classifiers"
VERDICTS = "duplicates"
KEYS_ONLY = frozenset({"signatures", VERDICTS})  # their tables are of documents, and hold none
BRIEF_COLUMNS = ("id", "url", "source", "domain", "licence", "reason", "detail")


@dataclass(frozen=True)
class Wanted:
    """Which documents to look for: those that a list of addresses names, and those with these ids.

    Args:
        urls: hosts and addresses; page tables are searched by these alone.
        ids: of documents.
        copies_of: ids in whose place something else was dropped.
    """

    urls: UrlList = field(default_factory=lambda: UrlList(()))
    ids: frozenset[str] = frozenset()
    copies_of: frozenset[str] = frozenset()

    def rows(self, table: pa.Table) -> list[int]:
        """The rows of a table of ``url``, and ``id`` if it has any, that are wanted."""
        found = self._by_url(table["url"]) if len(self.urls) else []
        for column, ids in (("id", self.ids), ("detail", self.copies_of)):
            if ids and column in table.column_names:
                is_named = pc.is_in(table[column], pa.array(sorted(ids)))
                found = sorted({*found, *pc.indices_nonzero(is_named).to_pylist()})
        return found

    def _by_url(self, urls: pa.ChunkedArray) -> list[int]:
        """Hosts are looked at first, since a shard has far fewer of them than addresses."""
        known = _origins(urls)
        open_origins = [o for o in pc.unique(known).to_pylist() if self.urls.may_name(o)]
        rows = pc.indices_nonzero(pc.is_in(known, pa.array(open_origins, pa.string())))
        near = pc.take(urls, rows).to_pylist()
        return [r for r, url in zip(rows.to_pylist(), near, strict=True) if self.urls.match(url)]


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """One row that is wanted: a document, or a line of a crawl's page table.

    Args:
        manifest: of the artifact that holds it.
        name: the file in the artifact.
        row: the columns that were asked for and are there.
        is_page: whether it is a line of a page table.
    """

    manifest: Manifest
    name: str
    row: Mapping[str, Any]
    is_page: bool

    @property
    def kept(self) -> bool:
        """Whether it went on to the next stage."""
        return self.row.get("reason") is None

    @property
    def place(self) -> str:
        """The set and group of a mixture, ``train/news``; empty elsewhere."""
        folders = self.name.split("/")[:-1]
        return "/".join(folders if self.kept else folders[:-1])


def holds_documents(manifest: Manifest) -> bool:
    """Whether an artifact's shards say themselves which documents it has."""
    return any(map(_is_shard, manifest.files))


def _is_shard(entry: FileEntry) -> bool:
    return entry.name.endswith(".parquet") and entry.name != PAGE_TABLE_NAME


def find(
    store: Store,
    manifests: Iterable[Manifest],
    wanted: Wanted,
    columns: Sequence[str] | None = BRIEF_COLUMNS,
    *,
    num_threads: int = NUM_THREADS,
) -> Iterator[Sighting]:
    """Every row of the artifacts that is wanted, artifact by artifact, in the order of the files.

    Args:
        columns: what to bring of each row; None for all.
    """
    files = [
        (manifest, entry.name)
        for manifest in manifests
        for entry in manifest.files
        if entry.name.endswith(".parquet") and entry.rows
    ]
    with ThreadPoolExecutor(num_threads) as pool:
        yield from chain.from_iterable(
            pool.map(lambda file: _in_file(store, file[0], file[1], wanted, columns), files)
        )


def _in_file(
    store: Store, manifest: Manifest, name: str, wanted: Wanted, columns: Sequence[str] | None
) -> list[Sighting]:
    found: list[Sighting] = []
    with open_shard(store, manifest.ref, name) as file:
        names = file.schema_arrow.names
        is_page = name == PAGE_TABLE_NAME
        keys = [key for key in ("id", "url") if key in names]
        if keys != ["id", "url"] and not (is_page and len(wanted.urls)):
            return []
        details = ["detail"] if wanted.copies_of and "detail" in names else []
        brought = [column for column in columns or names if column in names]
        for group in range(file.num_row_groups):
            rows = wanted.rows(file.read_row_group(group, keys + details))
            if rows:
                table = file.read_row_group(group, brought).take(rows)
                found += [
                    Sighting(manifest=manifest, name=name, row=row, is_page=is_page)
                    for row in table.to_pylist()
                ]
    return found


@contextmanager
def open_shard(store: Store, ref: ArtifactRef, name: str) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file where it lies, so that of a remote one only what is asked for is sent."""
    with store.fs.open(store.path(ref, name), "rb") as raw, pq.ParquetFile(raw) as file:
        yield file


class Touch(IntEnum):
    """How far an artifact is touched by some documents; a greater one says more."""

    UNTOUCHED = 0
    DROPPED = 1  # it set them aside: their bytes are there, but nothing was made from them
    HELD_OUT = 2  # a model was measured on them, or is to be, and not trained
    HOLDS = 3  # they are in it, or it was made from what they are in


class Footprint(BaseModel):
    """What there is of some documents in one artifact.

    Attributes:
        names: the readable names that point at it.
        touch: how far it is touched; ``untouched`` where what it was made from is.
        num_kept: rows of them that it holds.
        dropped: rows that it set aside, by reason.
        spared_by: where it is untouched, the artifacts that dropped them on the way.
    """

    artifact: str
    label: str
    names: list[str]
    touch: str
    num_kept: int = 0
    dropped: dict[str, int] = {}
    spared_by: list[str] = []


class Trail:
    """Counts sightings artifact by artifact as they pass by."""

    def __init__(self) -> None:
        self.num_kept: Counter[str] = Counter()
        self.dropped: dict[str, Counter[str]] = {}
        self._seen: dict[str, Touch] = {}

    def follow(self, sightings: Iterable[Sighting]) -> Iterator[Sighting]:
        """Hand the sightings on."""
        for sighting in sightings:
            ref = str(sighting.manifest.ref)
            self._seen[ref] = max(self._seen.get(ref, Touch.UNTOUCHED), _touch_of(sighting))
            if sighting.kept:
                self.num_kept[ref] += 1
            else:
                self.dropped.setdefault(ref, Counter())[sighting.row["reason"]] += 1
            yield sighting

    def touches(self, manifests: Sequence[Manifest]) -> dict[str, Touch]:
        """How far each artifact is touched, by its address; all but those that are not at all.

        Shards of documents speak for themselves. An archive that was brought in whole is known by
        what was extracted from it. What holds no documents is as touched as what it was made from.
        """
        seen = {ref: touch for ref, touch in self._seen.items() if touch}
        ordered = in_order(manifests)
        for manifest in ordered:
            if manifest.identity.stage == EXTRACT and str(manifest.ref) in seen:
                seen |= {str(ref): Touch.HOLDS for ref in manifest.input_refs}
        found: dict[str, Touch] = {}
        for manifest in ordered:
            ref = str(manifest.ref)
            is_known = ref in seen or holds_documents(manifest)
            touch = seen.get(ref, Touch.UNTOUCHED) if is_known else _inherited(manifest, found)
            if touch:
                found[ref] = touch
        return found

    def footprints(
        self, manifests: Sequence[Manifest], names: Mapping[str, ArtifactRef]
    ) -> list[Footprint]:
        """What is touched, and what is not though something before it is, in order."""
        touched = self.touches(manifests)
        spared: dict[str, set[str]] = {}
        found = []
        for manifest in in_order(manifests):
            ref = str(manifest.ref)
            inputs = [str(each) for each in manifest.input_refs]
            passed = {i for i in inputs if touched.get(i, 0) <= Touch.DROPPED}
            spared[ref] = {i for i in passed if i in self.dropped}
            spared[ref] |= {by for i in passed - spared[ref] for by in spared.get(i, ())}
            if manifest.identity.stage == VERDICTS and ref not in touched:
                continue  # ids alone: nothing there says which pages they are of, or is of a page
            if ref in touched or ref in self.dropped or spared[ref]:
                found.append(
                    Footprint(
                        artifact=ref,
                        label=manifest.label,
                        names=[name for name, named in names.items() if str(named) == ref],
                        touch=touched.get(ref, Touch.UNTOUCHED).name.lower(),
                        num_kept=self.num_kept[ref],
                        dropped=dict(sorted(self.dropped.get(ref, Counter()).items())),
                        spared_by=[] if ref in touched else sorted(spared[ref] - {ref}),
                    )
                )
        return found


def footprints(store: Store, wanted: Wanted) -> list[Footprint]:
    """What some documents touch in all of the store."""
    manifests = list(store.manifests())
    trail = Trail()
    for _ in trail.follow(find(store, manifests, wanted)):
        pass
    return trail.footprints(manifests, store.names())


def _touch_of(sighting: Sighting) -> Touch:
    if not sighting.kept:  # of a page that was refused, or taken down, there is no byte
        has_bytes = not sighting.is_page and sighting.row["reason"] != TAKEN_DOWN
        return Touch.DROPPED if has_bytes else Touch.UNTOUCHED
    is_held_out = sighting.place.startswith(f"{VALIDATION}/")
    return Touch.HELD_OUT if is_held_out else Touch.HOLDS


def _inherited(manifest: Manifest, found: Mapping[str, Touch]) -> Touch:
    touch = max(
        (found.get(str(ref), Touch.UNTOUCHED) for ref in manifest.input_refs),
        default=Touch.UNTOUCHED,
    )
    stage = manifest.identity.stage
    if touch == Touch.HELD_OUT and stage == TOKENIZER:  # it reads what is trained on
        return Touch.UNTOUCHED
    if touch == Touch.DROPPED and stage != REPORT:  # which shows samples of what was set aside
        return Touch.UNTOUCHED
    return touch


def in_order(manifests: Sequence[Manifest]) -> list[Manifest]:
    """Each artifact after all that it was made from; those of one depth by stage and label."""
    known = {str(manifest.ref): manifest for manifest in manifests}
    depths: dict[str, int] = {}

    def depth(ref: str) -> int:
        if ref not in depths:
            inputs = known[ref].input_refs if ref in known else []
            depths[ref] = 1 + max((depth(str(each)) for each in inputs), default=-1)
        return depths[ref]

    return sorted(
        manifests,
        key=lambda m: (depth(str(m.ref)), m.identity.stage, m.label, m.fingerprint),
    )


def made_of(manifests: Iterable[Manifest], start: ArtifactRef) -> list[Manifest]:
    """``start`` and all that it was made from, as far as that is there.

    Of classifiers that learned from other documents than they judged there (pinned ones), only they
    themselves: no document of ``start`` came by what they learned from.
    """
    known = {str(manifest.ref): manifest for manifest in manifests}
    todo, seen, pinned = [str(start)], set[str](), set[str]()
    while todo:
        ref = todo.pop()
        if ref not in seen and ref in known:
            seen.add(ref)
            inputs = known[ref].input_refs
            for each in map(str, inputs):
                if _learned_elsewhere(known.get(each), inputs):
                    pinned.add(each)
                else:
                    todo.append(each)
    seen |= pinned
    return [manifest for ref, manifest in known.items() if ref in seen]


def _learned_elsewhere(judge: Manifest | None, beside: Sequence[ArtifactRef]) -> bool:
    """Whether an input is of classifiers, trained on what is not among the inputs beside them."""
    if judge is None or judge.identity.stage != CLASSIFIERS:
        return False
    return not {str(ref) for ref in judge.input_refs} <= {str(ref) for ref in beside}


def documents_behind(manifests: Iterable[Manifest], start: ArtifactRef) -> list[Manifest]:
    """The artifacts whose documents ``start`` holds or was made from, none behind those."""
    known = {str(manifest.ref): manifest for manifest in manifests}
    found: dict[str, Manifest] = {}
    todo, seen = [str(start)], set[str]()
    while todo:
        ref = todo.pop()
        if ref in seen or ref not in known:
            continue
        seen.add(ref)
        if known[ref].identity.stage not in KEYS_ONLY and holds_documents(known[ref]):
            found[ref] = known[ref]
        else:
            todo += map(str, known[ref].input_refs)
    return in_order(list(found.values()))


def kept_rows(
    store: Store, manifest: Manifest, columns: Sequence[str]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The documents that an artifact keeps, a batch at a time, with the set that they are in."""
    for place, batch in _kept_batches(store, manifest, columns):
        yield place, batch.to_pylist()


def count_kept(store: Store, manifest: Manifest, by: str) -> Counter[tuple[str, ...]]:
    """How many documents an artifact keeps of each set and host, or source, domain and licence.

    Args:
        by: ``hosts`` or ``sources``.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    columns = ["url"] if by == "hosts" else ["source", "domain", "licence"]
    for place, batch in _kept_batches(store, manifest, columns):
        table = pa.table({name: pc.fill_null(batch[name], "") for name in columns})
        if by == "hosts":
            table = pa.table({"url": _origins(table["url"])})
        for row in table.group_by(columns).aggregate([([], "count_all")]).to_pylist():
            number = row.pop("count_all")
            key = (host_of(row["url"]),) if by == "hosts" else tuple(row.values())
            counts[place, *key] += number
    return counts


def dropped_for(store: Store, manifest: Manifest, reason: str) -> Iterator[dict[str, Any]]:
    """The documents that an artifact set aside for one reason: id, address and detail."""
    for entry in filter(_is_shard, manifest.files):
        with open_shard(store, manifest.ref, entry.name) as file:
            if not {"id", "url", "reason", "detail"} <= set(file.schema_arrow.names):
                continue
            for batch in file.iter_batches(columns=["id", "url", "reason", "detail"]):
                yield from batch.filter(pc.equal(batch["reason"], reason)).to_pylist()


def _kept_batches(
    store: Store, manifest: Manifest, columns: Sequence[str]
) -> Iterator[tuple[str, pa.RecordBatch]]:
    for entry in filter(_is_shard, manifest.files):
        with open_shard(store, manifest.ref, entry.name) as file:
            names = file.schema_arrow.names
            if "reason" in names or not set(columns) <= set(names):
                continue
            for batch in file.iter_batches(batch_size=ROWS_PER_BATCH, columns=list(columns)):
                yield entry.name.rpartition("/")[0], batch


def _origins(urls: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.struct_field(pc.extract_regex(urls, ORIGIN), [0]), "")
