"""The story of a page: what each stage did with it, in order.

In: a store's artifacts and one address or document id. Out: a story for each document that was made
of it, with what was dropped, changed and found out on the way, and the copy that stands in its
place; and what crawls say of the address.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from tasks.common.manifest import Manifest
from tasks.common.shard import TAKEN_DOWN
from tasks.common.store import Store
from tasks.common.trace import BRIEF_COLUMNS, Sighting, Wanted, find, in_order
from tasks.common.url_list import UrlList, spell

DOCUMENT_ID = re.compile(r"[0-9a-f]{32}")
PAGE_COLUMNS = (
    "status",
    "content_type",
    "bytes",
    "fetched_at",
    "location",
    "shard",
    "withdrawn_at",
)
# What a stage may find out of a document, and say in a column.
FINDINGS = (
    *("language", "language_score", "licence", "opt_outs", "tags", "cluster_size"),
    *("quality_score", "toxicity_score", "domain", "domain_score"),
)
MAX_BELOW = 5


class Step(BaseModel):
    """What one stage did with a page or a document.

    Attributes:
        outcome: ``kept`` or ``dropped``; of a crawl ``fetched`` or ``refused``.
        place: the set and group of a mixture, such as ``train/news``.
        facts: of a crawl its line in the page table; else what was found out here.
        edits: how the text differs from the one before: lines and characters.
    """

    artifact: str
    label: str
    outcome: str
    reason: str | None = None
    detail: str | None = None
    place: str = ""
    facts: dict[str, Any] = {}
    edits: dict[str, int] = {}


class Story(BaseModel):
    """What became of one document, or of an address of which there is none (``id`` is None)."""

    url: str
    id: str | None
    source: str | None
    steps: list[Step]
    instead: "Story | None" = None


class Answer(BaseModel):
    """All that is known of an address or id.

    Attributes:
        below: addresses below the one that was asked for, some of them, where itself is unknown.
        num_below: how many rows there are of those.
    """

    asked: str
    stories: list[Story]
    below: list[str] = []
    num_below: int = 0


def explain(store: Store, manifests: Sequence[Manifest], asked: str) -> Answer:
    """Tell what became of an address (this one, in any spelling) or a document's id.

    Raises:
        ValueError: ``asked`` is neither.
    """
    ordered = in_order(manifests)
    if DOCUMENT_ID.fullmatch(asked):
        return Answer(asked=asked, stories=_stories(store, ordered, {asked}))
    listed = UrlList([asked])
    if not len(listed):
        raise ValueError(f"{asked!r} is neither an address nor the id of a document")
    columns = (*BRIEF_COLUMNS, *PAGE_COLUMNS)
    near = list(find(store, ordered, Wanted(urls=listed), columns))
    exact = [sighting for sighting in near if spell(sighting.row["url"]) == spell(asked)]
    ids = {sighting.row["id"] for sighting in exact if not sighting.is_page}
    pages = [sighting for sighting in exact if sighting.is_page]
    stories = _stories(store, ordered, ids, pages)
    stories += _of_pages_alone(pages, {story.source for story in stories})
    below = sorted({sighting.row["url"] for sighting in near}) if not stories else []
    return Answer(asked=asked, stories=stories, below=below[:MAX_BELOW], num_below=len(below))


def _stories(
    store: Store,
    ordered: Sequence[Manifest],
    ids: Iterable[str],
    pages: Sequence[Sighting] = (),
    told: frozenset[str] = frozenset(),
) -> list[Story]:
    """The story of each id, and with it those of the copies that were kept in their places."""
    by_id: dict[str, list[Sighting]] = {}
    for sighting in find(store, ordered, Wanted(ids=frozenset(ids)), None):
        by_id.setdefault(sighting.row["id"], []).append(sighting)
    stories = []
    for name, sightings in sorted(by_id.items()):
        first = sightings[0].row
        of_source = [p for p in pages if _source(p) == first["source"]]
        steps = [_page_step(page) for page in of_source] + _steps(sightings)
        stories.append(Story(url=first["url"], id=name, source=first["source"], steps=steps))
    told |= set(by_id)
    places = {s.id: copy for s in stories if (copy := _kept_copy(s)) and copy not in told}
    if places:
        copies = _stories(store, ordered, set(places.values()), told=told)
        by_copy = {copy.id: copy for copy in copies}
        for story in stories:
            story.instead = by_copy.get(places.get(story.id))
    return stories


def _steps(sightings: Sequence[Sighting]) -> list[Step]:
    steps: list[Step] = []
    before: Mapping[str, Any] = {}
    for sighting in sightings:
        row = sighting.row
        found = {name: row.get(name) for name in FINDINGS if row.get(name) not in (None, [])}
        steps.append(
            Step(
                artifact=str(sighting.manifest.ref),
                label=sighting.manifest.label,
                outcome="kept" if sighting.kept else "dropped",
                reason=row.get("reason"),
                detail=row.get("detail"),
                place=sighting.place,
                facts={k: v for k, v in found.items() if before.get(k) != v},
                edits=edits(before["text"], row["text"]) if before and _has_text(row) else {},
            )
        )
        if _has_text(row):
            before = row
    return steps


def _has_text(row: Mapping[str, Any]) -> bool:
    """Whether the text is there to be compared; of what was taken down it is not."""
    return "text" in row and row.get("reason") != TAKEN_DOWN


def edits(before: str, after: str) -> dict[str, int]:
    """Lines that are gone, and new ones, and by how many characters the text grew; {} if none.

    Lines are compared as a bag, so that it takes time in proportion to the text.
    """
    if before == after:
        return {}
    old, new = Counter(before.split("\n")), Counter(after.split("\n"))
    return {
        "lines_removed": (old - new).total(),
        "lines_added": (new - old).total(),
        "characters": len(after) - len(before),
    }


def _page_step(page: Sighting) -> Step:
    return Step(
        artifact=str(page.manifest.ref),
        label=page.manifest.label,
        outcome="fetched" if page.kept else "refused",
        reason=page.row["reason"],
        facts={k: page.row[k] for k in PAGE_COLUMNS if page.row.get(k) is not None},
    )


def _of_pages_alone(pages: Sequence[Sighting], known: set[str | None]) -> list[Story]:
    """What crawls say of an address of which their source has no document."""
    by_source: dict[str, list[Sighting]] = {}
    for page in pages:
        if _source(page) not in known:
            by_source.setdefault(_source(page), []).append(page)
    return [
        Story(url=found[0].row["url"], id=None, source=source, steps=[_page_step(p) for p in found])
        for source, found in sorted(by_source.items())
    ]


def _source(page: Sighting) -> str:
    return str(page.manifest.identity.config["name"])


def _kept_copy(story: Story) -> str | None:
    """The document that the last stage to see this one kept in its place."""
    last = story.steps[-1]
    names_one = last.outcome == "dropped" and DOCUMENT_ID.fullmatch(last.detail or "")
    return last.detail if names_one and last.detail != story.id else None
