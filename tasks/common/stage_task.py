"""A stage in Prefect's coat: the one place in ``tasks`` that knows the orchestrator.

The store is the only cache, so Prefect's is off; a hit becomes a completed state named Cached.
Prefect decides when, retries and remembers; the stage does the work.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from prefect import State, Task, get_client
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.states import Completed
from pydantic import BaseModel

from tasks.common.manifest import ArtifactRef, Manifest
from tasks.common.report_markdown import plots_of, stage_markdown
from tasks.common.stage import SUMMARY_NAME, Machine, Stage, materialise
from tasks.common.store import Store

WATCH_SECONDS = 10.0
ENDED = {StateType.CANCELLING, StateType.CANCELLED, StateType.CRASHED}


@dataclass(frozen=True)
class StageTask:
    """A stage and the Prefect task that makes its artifact."""

    stage: Stage
    description: str

    def __call__(
        self,
        config: BaseModel,
        inputs: Mapping[str, Sequence[ArtifactRef]],
        machine: Machine,
        label: str,
    ) -> ArtifactRef:
        """Run inside a flow, in the flow's own thread, so that a cancel interrupts the work."""
        name = f"{self.stage.name} {label}".strip()
        make = Task(
            _make,
            name=self.stage.name,
            description=self.description,
            task_run_name=name,
            tags=[f"stage:{self.stage.name}"],
            cache_policy=NO_CACHE,
            persist_result=False,
        )
        state: State[ArtifactRef] = make(
            self.stage, config, inputs, machine, label, return_state=True
        )
        return state.result()


def stage_task(stage: Stage) -> StageTask:
    """Put the coat on; the task's description is the stage function's first paragraph."""
    doc = (stage.run.__doc__ or stage.name).strip()
    return StageTask(stage, doc.partition("\n\n")[0])


def _make(
    stage: Stage,
    config: BaseModel,
    inputs: Mapping[str, Sequence[ArtifactRef]],
    machine: Machine,
    label: str,
) -> Any:
    context = FlowRunContext.get()
    flow_run_id = context.flow_run.id if context and context.flow_run else None
    manifest, was_cached = materialise(
        stage,
        config,
        inputs,
        machine,
        label=label,
        flow_run_id=str(flow_run_id) if flow_run_id else None,
        should_stop=_watcher(flow_run_id),
    )
    create_markdown_artifact(
        key=f"{stage.name}-{label}".strip("-").lower(),
        markdown=stage_markdown(
            manifest, was_cached=was_cached, plots=plots_of(Store(machine.store).open(manifest.ref))
        )
        + _summary(machine, manifest),
        description=f"{stage.name} {label}".strip(),
    )
    if was_cached:
        return Completed(name="Cached", message=f"{manifest.ref} was there", data=manifest.ref)
    return manifest.ref


def _summary(machine: Machine, manifest: Manifest) -> str:
    """What a stage itself wrote about its artifact, if it did."""
    artifact = Store(machine.store).open(manifest.ref)
    if SUMMARY_NAME not in artifact.names():
        return ""
    return "\n\n" + artifact.fetch(SUMMARY_NAME).read_text()


def _watcher(flow_run_id: Any) -> Callable[[], bool]:
    """Ask the server now and then whether this run was ended behind our back.

    A cancel normally arrives as an exception in this process; when the worker that would deliver
    it is dead, only the server knows.
    """
    next_look = monotonic() + WATCH_SECONDS

    def should_stop() -> bool:
        nonlocal next_look
        if flow_run_id is None or monotonic() < next_look:
            return False
        next_look = monotonic() + WATCH_SECONDS
        try:
            with get_client(sync_client=True) as client:
                state = client.read_flow_run(flow_run_id).state
        except Exception:  # the server may be restarting; the work need not stop for that
            return False
        return state is not None and state.type in ENDED

    return should_stop
