"""Taking pages down: what is touched, what it costs to make it again, doing it, and the proof.

In: a file of hosts and addresses, and the parameters of the corpus. Out: findings; the artifacts
that stand in the place of those that held the pages. The decision itself is a setting of dedup,
``takedown``, so that a rebuild is an ordinary run in which crawling, extracting and filtering are
found made. Nothing is deleted but by ``purge``. The record of it is ``takedown_record``'s.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from flows.params import Params, parse_model
from flows.planning import plan_flow
from flows.takedown_record import (
    Document,
    Proof,
    Record,
    Remade,
    earlier_takedowns,
    first_documents,
)
from tasks.common.files import sha256_of
from tasks.common.manifest import ArtifactRef, Manifest
from tasks.common.plan import PlannedStage
from tasks.common.shard import TAKEN_DOWN
from tasks.common.stage import Machine
from tasks.common.store import Store
from tasks.common.story import DOCUMENT_ID
from tasks.common.trace import (
    BRIEF_COLUMNS,
    Footprint,
    Trail,
    Wanted,
    dropped_for,
    find,
    made_of,
)
from tasks.common.url_list import UrlList

UNTOUCHED = "untouched"
DECISION = "dedup"  # the stage from which on all is made again
SEARCH = "mixture-search"
# The flows that make something, and of each a stage that no other has: it tells that it was run.
FLOWS = {"curate": DECISION, SEARCH: "regmix", "train": "pretrain", "evaluate": "evaluate"}


@dataclass(frozen=True)
class Request:
    """A list of what must go.

    Args:
        path: the file.
        urls: its entries.
        lines: those entries as they are written.
    """

    path: Path
    urls: UrlList
    lines: list[str]

    @classmethod
    def read(cls, path: Path) -> "Request":
        """Read a list; ValueError if nothing in it can be read."""
        lines = path.read_text("utf-8-sig", "replace").splitlines()
        urls = UrlList(lines)
        if not len(urls):
            raise ValueError(f"{path} names no host and no address; write one a line")
        unreadable = set(urls.unreadable)
        stripped = (line.strip() for line in lines)
        return cls(path, urls, [s for s in stripped if s and s[0] != "#" and s not in unreadable])


def look(request: Request, store: Store, corpus: str) -> Record:
    """Find what a list names in all of the store, and what that touches; changes nothing."""
    manifests = list(store.manifests())
    trail = Trail()
    documents: dict[str, Document] = {}
    for sighting in trail.follow(find(store, manifests, Wanted(urls=request.urls))):
        row = sighting.row
        if not sighting.is_page and row["id"] not in documents:
            because = request.urls.match(row["url"]) or ""
            documents[row["id"]] = Document(id=row["id"], url=row["url"], because=because)
    copies = _known_copies(store, manifests, set(documents))
    return Record(
        corpus=corpus,
        store=store.url,
        list_name=request.path.name,
        list_sha256=sha256_of(request.path),
        entries=request.lines,
        unreadable=request.urls.unreadable,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        num_documents=len(documents),
        documents=first_documents(documents.values()),
        num_copies=len(copies),
        copies=first_documents(copies),
        touched=trail.footprints(manifests, store.names()),
    )


def _known_copies(store: Store, manifests: Sequence[Manifest], ids: set[str]) -> list[Document]:
    """Documents that an earlier dedup found to be copies of some, or some to be copies of."""
    copies: dict[str, Document] = {}
    originals: set[str] = set()
    wanted = Wanted(ids=frozenset(ids), copies_of=frozenset(ids))
    for sighting in find(store, manifests, wanted):
        row = sighting.row
        if row.get("detail") in ids and row["id"] not in ids:
            because = f"{row['reason']} of {row['detail']}"
            copies[row["id"]] = Document(id=row["id"], url=row["url"], because=because)
        elif row["id"] in ids and DOCUMENT_ID.fullmatch(row.get("detail") or ""):
            originals.add(row["detail"])
    siblings = Wanted(ids=frozenset(originals - ids), copies_of=frozenset(originals))
    for sighting in find(store, manifests, siblings):
        row = sighting.row
        because = "has a copy" if row["id"] in originals else "has a copy in common"
        if row["id"] not in ids:
            copies.setdefault(row["id"], Document(id=row["id"], url=row["url"], because=because))
    return list(copies.values())


def without(params: Params, path: Path, *, keep_copies: bool = False) -> Params:
    """The same parameters with one more takedown list, and copies left in if that is asked for."""
    values = params.model_dump(mode="json")
    lists = values["dedup"]["takedown"]
    if path.resolve() not in {Path(each).resolve() for each in lists}:
        values["dedup"]["takedown"] = [*lists, str(path)]
    if keep_copies:
        values["dedup"]["takedown_copies"] = False
    changed: Params = parse_model(Params, values)
    return changed


class Held(NamedTuple):
    """Artifacts that hold the pages, or were made from them.

    Attributes:
        replaced: nothing needs them any more.
        sources: the new corpus is made from them.
        learned: pinned classifiers that judge the new corpus, or a model that training starts
            from, which learned from the pages.
        named: another name of the store stands on them.
    """

    replaced: list[str]
    sources: list[str]
    learned: list[str]
    named: list[str]


def _roads(params: Params, machine: Machine) -> dict[str, list[PlannedStage]]:
    """The stages that lead to the end of each flow."""
    stages = plan_flow("pipeline", params, machine).stages
    names = [stage.identity.stage for stage in stages]
    return {
        "curate": stages[: names.index("mix") + 1],
        SEARCH: plan_flow(SEARCH, params, machine).stages,
        "train": stages[: names.index("evaluate")],
        "evaluate": stages,
    }


class Rebuild:
    """The same corpus without what a list names, beside the one that there is.

    Args:
        params: of the corpus as it is.
        request: what must go.
        machine: whose store holds it.
        keep_copies: whether what is only a copy of it may stay.

    Raises:
        ValueError: the parameters are of no corpus in the store, or lack an earlier takedown.
    """

    def __init__(
        self, params: Params, request: Request, machine: Machine, *, keep_copies: bool = False
    ) -> None:
        self._store = Store(machine.store)
        self._wanted = request.urls
        self.params = without(params, request.path, keep_copies=keep_copies)
        if missing := earlier_takedowns(self._store, self.params):
            raise ValueError(f"{missing[0].reminder()}, or they come back")
        roads = _roads(params, machine), _roads(self.params, machine)
        self._made = [
            flow
            for flow, stage in FLOWS.items()
            if any(s.cached for road in roads for s in road[flow] if s.identity.stage == stage)
        ]
        if "curate" not in self._made:
            raise ValueError(
                f"the store {machine.store} has no corpus that these parameters make; give those "
                "that it was made with, by --params or --preset"
                + "; and if a list of theirs has grown since, put its new lines into a list of "
                "their own" * bool(params.dedup.takedown)
            )
        old, new = ([s for flow in self._made for s in road[flow]] for road in roads)
        pairs = {str(s.ref): (s, instead) for s, instead in zip(old, new, strict=True)}
        self._pairs = list(pairs.values())  # flows have stages in common
        self.remade = list(self._remade())
        self.cached = [s.label for s, new in self._pairs if s.ref == new.ref and s.cached]

    def _remade(self) -> Iterator[Remade]:
        """The stages that are there and have to be made again, with what they cost."""
        for old, new in self._pairs:
            if old.cached and old.ref != new.ref:
                cost = self._store.manifest(old.ref).provenance
                yield Remade(
                    stage=old.label,
                    old=str(old.ref),
                    new=str(new.ref),
                    wall_seconds=cost.wall_seconds,
                    cpu_seconds=cost.cpu_seconds,
                )

    def flows(self) -> list[str]:
        """The flows that lead as far as the corpus was brought."""
        road = [flow for flow in FLOWS if flow != SEARCH]
        if not set(road) <= set(self._made):
            return self._made
        return ["pipeline", *(flow for flow in self._made if flow not in road)]

    def is_made(self) -> bool:
        """Whether all that was there has been made again."""
        return all(self._store.has(ArtifactRef.parse(each.new)) for each in self.remade)

    def move_names(self) -> dict[str, str]:
        """Point every name at what stands in the place of what it pointed at."""
        new_of = {each.old: each.new for each in self.remade}
        for name, ref in self._store.names().items():
            if str(ref) in new_of:
                self._store.give_name(name, ArtifactRef.parse(new_of[str(ref)]))
        moved = set(new_of.values())
        return {n: str(ref) for n, ref in self._store.names().items() if str(ref) in moved}

    def copies_taken(self) -> list[Document]:
        """What the new corpus dropped for the list without being named by it: copies."""
        found = {
            row["id"]: Document(id=row["id"], url=row["url"], because=row["detail"] or "a copy")
            for manifest in self._decided()
            for row in dropped_for(self._store, manifest, TAKEN_DOWN)
            if not self._wanted.match(row["url"])
        }
        return list(found.values())

    def proof(self, wanted: Wanted) -> Proof:
        """Look for what was taken down in all that was decided anew."""
        manifests = self._decided()
        problems = [
            f"{s.manifest.ref} {s.name}: {s.row['url']}"
            for s in find(self._store, manifests, wanted, (*BRIEF_COLUMNS, "text"))
            if s.kept or s.row["text"]
        ]
        return Proof(num_artifacts=len(manifests), problems=problems)

    def _decided(self) -> list[Manifest]:
        """What the new corpus has from the decision on."""
        new = [stage for _, stage in self._pairs]
        start = [stage.identity.stage for stage in new].index(DECISION)
        return [self._store.manifest(s.ref) for s in new[start:] if self._store.has(s.ref)]

    def sort_out(self, touched: Sequence[Footprint]) -> Held:
        """What to do with the artifacts that hold the pages, or were made from them."""
        manifests = list(self._store.manifests())
        there = {str(manifest.ref) for manifest in manifests}
        ours = {str(stage.ref) for _, stage in self._pairs}
        pinned = {self.params.classifiers.pinned, self.params.train.start.checkpoint}
        names = self._store.names().values()
        named = {str(m.ref) for ref in names for m in made_of(manifests, ref)}
        held = [f.artifact for f in touched if f.touch != UNTOUCHED and f.artifact in there]
        return Held(
            replaced=[ref for ref in held if ref not in ours | named | pinned],
            sources=[ref for ref in held if ref in ours],
            learned=[ref for ref in held if ref in pinned],
            named=[ref for ref in held if ref in named - ours - pinned],
        )


def purge(store: Store, artifacts: Sequence[str]) -> None:
    """Delete artifacts, those first that were made last."""
    for artifact in reversed(artifacts):
        store.delete(ArtifactRef.parse(artifact))
