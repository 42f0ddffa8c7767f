"""The two ways to walk the road: make every artifact, or only name it."""

import logging
from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from tasks.common.manifest import ArtifactRef
from tasks.common.plan import Planner
from tasks.common.stage import Machine
from tasks.common.stage_task import StageTask
from tasks.common.store import Store

log = logging.getLogger("bloomery.run")
# Prefect gives our loggers its handlers, but no level.
logging.getLogger("bloomery").setLevel(logging.INFO)


class MakingRunner:
    """Makes each stage's artifact, or finds it made, as a Prefect task of the current flow."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._store = Store(machine.store)

    def __call__(
        self,
        task: StageTask,
        config: BaseModel,
        inputs: Mapping[str, Sequence[ArtifactRef]],
        label: str = "",
    ) -> ArtifactRef:
        """Run one stage to its end."""
        name = f"{task.stage.name} {label}".strip()
        was_there = self._store.has(task.stage.identify(config, inputs).ref())
        if not was_there:
            log.info("%s …", name)
        ref = task(config, inputs, self._machine, label)
        manifest = self._store.manifest(ref)
        if was_there:
            log.info("%s: cached, %s", name, ref)
            return ref
        kept = f", kept {f.num_kept:,} of {f.num_in:,}" if (f := manifest.funnel) else ""
        log.info("%s: made %s in %.1f s%s", name, ref, manifest.provenance.wall_seconds, kept)
        return ref


class PlanningRunner:
    """Names each stage's artifact and makes nothing."""

    def __init__(self, machine: Machine) -> None:
        self.planner = Planner(Store(machine.store))

    def __call__(
        self,
        task: StageTask,
        config: BaseModel,
        inputs: Mapping[str, Sequence[ArtifactRef]],
        label: str = "",
    ) -> ArtifactRef:
        """Plan one stage."""
        return self.planner(task.stage, config, inputs, f"{task.stage.name} {label}".strip())
