"""Lineage as a query: walk the manifests from an artifact to what made it, or to what it made."""

from collections.abc import Iterator

from pydantic import BaseModel

from tasks.common.manifest import ArtifactRef
from tasks.common.store import Store


class LineageNode(BaseModel):
    """One artifact on a walk. ``seen_before``: its own relatives were listed higher up."""

    artifact: str
    label: str
    depth: int
    related_to: str | None
    seen_before: bool


def walk(store: Store, start: ArtifactRef, *, down: bool = False) -> Iterator[LineageNode]:
    """Depth first from ``start``: its inputs and theirs, or with ``down`` what was made from it."""
    manifests = {str(manifest.ref): manifest for manifest in store.manifests()}
    relatives: dict[str, list[str]] = {name: [] for name in manifests}
    for name, manifest in manifests.items():
        for ref in map(str, manifest.input_refs):
            made, maker = (ref, name) if down else (name, ref)
            relatives.setdefault(made, []).append(maker)
    seen: set[str] = set()
    todo: list[tuple[str, int, str | None]] = [(str(start), 0, None)]
    while todo:
        name, depth, parent = todo.pop()
        label = manifests[name].label if name in manifests else "(deleted)"
        yield LineageNode(
            artifact=name, label=label, depth=depth, related_to=parent, seen_before=name in seen
        )
        if name not in seen:
            seen.add(name)
            todo += [(other, depth + 1, name) for other in reversed(relatives.get(name, []))]
