"""The planner: walk the road with a pencil before any data exists.

Fingerprints come from configurations, so the whole graph can be named without running it; the
store then says which artifacts are there, and a comparison with the nearest earlier artifact of
the same stage says why the others are not.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from tasks.common.manifest import ArtifactRef, Identity, Manifest
from tasks.common.stage import Stage
from tasks.common.store import Store


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a planned run: what it would make, whether that is there, and why not."""

    label: str
    identity: Identity
    cached: bool
    why: str

    @property
    def ref(self) -> ArtifactRef:
        """The artifact this stage makes or finds."""
        return self.identity.ref()


class Planner:
    """Stands in for running: called like a runner, it records what would be done."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, list[Manifest]] = {}
        self.stages: list[PlannedStage] = []

    def __call__(
        self,
        stage: Stage,
        config: BaseModel,
        inputs: Mapping[str, Sequence[ArtifactRef]],
        label: str,
    ) -> ArtifactRef:
        """Plan one stage and return the address of what it would make."""
        identity = stage.identify(config, inputs)
        cached = self._store.has(identity.ref())
        why = "" if cached else self._why(identity)
        self.stages.append(PlannedStage(label, identity, cached, why))
        return identity.ref()

    def _why(self, identity: Identity) -> str:
        stage = identity.stage
        if stage not in self._known:
            self._known[stage] = list(self._store.manifests(stage))
        differences = [list(_differences(m.identity, identity)) for m in self._known[stage]]
        if not differences:
            return "never made"
        nearest = min(differences, key=lambda found: (len(found), found))
        return ", ".join(nearest[:3]) + (" …" if len(nearest) > 3 else "") or "was deleted"


def _differences(old: Identity, new: Identity) -> Iterator[str]:
    if old.version != new.version:
        yield f"stage version {old.version} → {new.version}"
    yield from _changed(old.config, new.config, "")
    for name, refs in new.inputs.items():
        if old.inputs.get(name) != refs:
            yield f"new {name}"


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _changed(before, after, f"{prefix}{key}.")
        elif before != after:
            yield f"{prefix}{key} {_short(before)} → {_short(after)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "…"
