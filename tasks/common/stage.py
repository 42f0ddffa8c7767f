"""The stage: the contract between a piece of work and the artifact it leaves.

A stage is data: a name, a version, a configuration model, the names of its inputs and a function.
``materialise`` turns it into an artifact: a hit in the store, or the function run into a workspace
and sealed whole. This module knows no orchestrator; ``stage_task`` puts Prefect's coat on it.
"""

import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import node, python_version
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.common.fanout import local_executor, map_pieces
from tasks.common.funnel import Funnel
from tasks.common.manifest import ArtifactRef, Identity, Manifest, Provenance
from tasks.common.shard import count_rows
from tasks.common.store import Artifact, Store, Workspace
from tasks.common.training_machine import TrainingMachine

PROVENANCE_TOOLS = (
    *("torch", "tokenizers", "pyarrow", "datasketch", "fasttext", "lightgbm"),
    *("chardetng-py", "mwparserfromhell", "pypdfium2", "scipy", "numpy", "xxhash"),
    *("phonenumbers", "python-stdnum", "pyahocorasick", "can-ada"),
)


SUMMARY_NAME = "summary.md"  # a stage may write one; it is shown in its report


class Machine(BaseModel):
    """Where and how a run works, never what it makes: nothing here enters a fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Machine")

    store: str = Field(
        default_factory=lambda: os.environ.get("BLOOMERY_STORE", "store"),
        title="Store",
        description="Where artifacts live: a folder or s3://bucket/prefix",
    )
    num_workers: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        ge=1,
        title="Workers",
        description="Processes on shards at the same time; by default one a core",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", title="Device", description="What to train on"
    )
    num_training_processes: int = Field(
        1, ge=1, title="Training processes", description="That train together, one a GPU"
    )
    training: TrainingMachine = TrainingMachine()
    connect_to: dict[str, str] = Field(
        default_factory=dict,
        title="Connect to",
        description="Advanced: host → address:port to use instead of asking DNS",
    )

    @model_validator(mode="after")
    def _processes_can_be_dealt_out(self) -> Self:
        in_a_group = self.training.tensor * self.training.replicas
        if self.num_training_processes % in_a_group:
            raise ValueError(
                f"num_training_processes={self.num_training_processes} cannot stand in groups of "
                f"training.tensor × training.replicas = {in_a_group}: make it a multiple"
            )
        return self


@dataclass(frozen=True)
class Outcome:
    """What a stage's function hands back besides the files in its workspace."""

    funnel: Funnel | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class StageContext:
    """The room a stage's function works in: its inputs, its folder, its workers, its log."""

    inputs: Mapping[str, Sequence[Artifact]]
    workspace: Workspace
    machine: Machine
    log: logging.Logger
    should_stop: Callable[[], bool] = lambda: False
    closing: ExitStack = field(default_factory=ExitStack)

    @property
    def path(self) -> Path:
        """The folder whose files become the artifact; dot-folders in it do not."""
        return self.workspace.path

    def input(self, name: str) -> Artifact:
        """The one artifact given as ``name``."""
        (artifact,) = self.inputs[name]
        return artifact

    def shards(self, name: str, suffix: str = ".parquet") -> list[tuple[Artifact, str]]:
        """Every file ending in ``suffix`` at the top of the artifacts ``name``, in order."""
        return [(a, shard) for a in self.inputs[name] for shard in a.names(suffix)]

    @cached_property
    def executor(self) -> Executor:
        """This stage's workers, started when they are first needed."""
        return self.closing.enter_context(local_executor(self.machine.num_workers))

    def map(
        self,
        work: Callable[..., Any],
        calls: Sequence[tuple[Any, ...]],
        *,
        key: str = "shard",
        names: Callable[[int], list[str]] = lambda index: [],
    ) -> list[Any]:
        """Run ``work(*call)`` for each call on the workers and commit each as it finishes.

        Args:
            work: a module-level function; its result must be JSON, and not None.
            calls: picklable arguments, one tuple a piece.
            key: what a piece is called, in the log and in the commits; one a ``map`` of a stage.
            names: the files that piece ``index`` writes into the workspace.

        Returns:
            The results in the order of ``calls``; pieces committed by an earlier attempt are not
            run again.
        """

        def commit(index: int, result: Any) -> None:
            assert result is not None, f"{work.__name__} must return something: None is not done"
            self.workspace.commit(f"{key}-{index:05d}", result, names(index))

        map_pieces(
            self.executor,
            work,
            calls,
            is_done=lambda i: self.workspace.committed(f"{key}-{i:05d}") is not None,
            on_done=commit,
            log=self.log,
            unit=key,
        )
        return [self.workspace.committed(f"{key}-{i:05d}") for i in range(len(calls))]


@dataclass(frozen=True)
class Stage:
    """One step of the road from pages to a model.

    Args:
        name: the stage's folder in the store.
        version: raised whenever the same inputs and configuration give other output.
        config: the configuration model; it is frozen and refuses unknown fields.
        inputs: the names under which ``run`` finds its input artifacts.
        run: fills ``context.path`` from the inputs; returns the ledger and metrics.
        identity: what of a configuration decides the output; by default all of it. A stage that
            reads the outside world puts checksums or a snapshot's name here instead of paths.
    """

    name: str
    version: int
    config: type[BaseModel]
    inputs: tuple[str, ...]
    run: Callable[[StageContext, Any], Outcome]
    identity: Callable[[Any], Mapping[str, Any]] = lambda config: config.model_dump(mode="json")

    def identify(self, config: BaseModel, inputs: Mapping[str, Sequence[ArtifactRef]]) -> Identity:
        """Everything that decides the output, before any of it exists."""
        assert set(inputs) == set(self.inputs), f"{self.name} takes {self.inputs}, not {inputs}"
        return Identity(
            stage=self.name,
            version=self.version,
            config=dict(self.identity(config)),
            inputs={name: [str(ref) for ref in inputs[name]] for name in self.inputs},
        )


def materialise(
    stage: Stage,
    config: BaseModel,
    inputs: Mapping[str, Sequence[ArtifactRef]],
    machine: Machine,
    *,
    label: str = "",
    flow_run_id: str | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Manifest, bool]:
    """Make the artifact, or find it made; returns its manifest and whether it was found.

    Of several processes that ask for the same artifact at once, one makes it.

    Raises:
        FileNotFoundError: an input has not been made.
        ValueError: files of the user's changed while they were read.
        LeaseLostError: another worker took over while this one was asleep.
    """
    store = Store(machine.store)
    log = logging.getLogger(f"bloomery.{stage.name}")
    identity = stage.identify(config, inputs)
    ref = identity.ref()
    if store.has(ref):
        return store.manifest(ref), True
    with store.lease(ref, on_wait=lambda holder: log.info("waiting: %s makes it", holder)) as lease:
        if not lease.held or store.has(ref):
            return store.manifest(ref), True
        context = StageContext(
            inputs={name: [store.open(r) for r in refs] for name, refs in inputs.items()},
            workspace=store.workspace(ref, guard=lease.check),
            machine=machine,
            log=log,
            should_stop=should_stop,
        )
        meter = _Meter()
        with context.closing:
            outcome = stage.run(context, config)
        if outcome.funnel:
            outcome.funnel.check()
        manifest = Manifest(
            fingerprint=ref.fingerprint,
            label=label,
            identity=identity,
            files=context.workspace.entries(_num_rows),
            funnel=outcome.funnel,
            metrics=dict(outcome.metrics),
            provenance=meter.provenance(flow_run_id),
        )
        if stage.identify(config, inputs) != identity:
            context.workspace.discard()  # its pieces may be of the old files or of the new
            raise ValueError(f"what {stage.name} {label} reads was changed meanwhile; run it again")
        context.workspace.seal(manifest)
        return manifest, False


def _num_rows(path: Path) -> int | None:
    return count_rows(path) if path.suffix == ".parquet" else None


class _Meter:
    """Measures one stage's time and memory, its child processes included."""

    def __init__(self) -> None:
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._started = time.monotonic()
        self._cpu = _cpu_seconds()
        self._children_kib = _children_peak_kib()
        _forget_own_peak()

    def provenance(self, flow_run_id: str | None) -> Provenance:
        return Provenance(
            code_revision=_code_revision(),
            tool_versions=_tool_versions(),
            host=node(),
            started_at=self._started_at,
            wall_seconds=round(time.monotonic() - self._started, 3),
            cpu_seconds=round(_cpu_seconds() - self._cpu, 3),
            peak_memory_bytes=self._peak_kib() * 1024,
            flow_run_id=flow_run_id,
        )

    def _peak_kib(self) -> int:
        """The largest process of this stage; a child only if it outgrew those of earlier stages."""
        children_kib = _children_peak_kib()
        return max(_own_peak_kib(), children_kib if children_kib > self._children_kib else 0)


def _forget_own_peak() -> None:
    """Let Linux measure this process's peak anew: else each stage inherits its predecessors'."""
    with suppress(OSError):  # without it the peak is that of the process's whole life
        Path("/proc/self/clear_refs").write_text("5")


def _own_peak_kib() -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _children_peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


def _cpu_seconds() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _code_revision() -> str:
    here = Path(__file__).parent
    git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


@cache
def _tool_versions() -> dict[str, str]:
    found = {"python": python_version(), "platform": sys.platform}
    for name in PROVENANCE_TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
