"""What a flow would do, stage by stage, without doing it, and whether it can begin."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from flows import road
from flows.params import Params
from flows.runner import PlanningRunner
from flows.takedown_record import earlier_takedowns
from model.architectures import PRESETS
from tasks.classifiers.stage import STAGE as CLASSIFIERS
from tasks.common.manifest import ArtifactRef, Manifest
from tasks.common.plan import PlannedStage
from tasks.common.stage import Machine
from tasks.common.store import Store
from tasks.crawl.config import LATEST, SourceConfig
from tasks.crawl.stage import STAGE as CRAWL
from tasks.pretrain.stage import STAGE as PRETRAIN
from tasks.pretrain.start import base_model, check_folder

log = logging.getLogger("bloomery.run")

# What a flow that begins in the middle of the road builds on, and the flow that makes it.
NEEDS = {
    "train": ({"classify", "mix"}, "curate"),
    "evaluate": ({"tokens", "instruct", "pretrain", "sft", "dpo"}, "train"),
}
# In what a crawl may differ from the one that it refreshes.
REFRESH_FIELDS = ("snapshot", "refresh_of", "min_recrawl_days", "max_recrawl_days")


class Plan(NamedTuple):
    """A road walked with a pencil: the stages a flow runs, those before them, and where it ends."""

    params: Params
    before: list[PlannedStage]
    stages: list[PlannedStage]
    corpus: road.Corpus
    models: road.Models


def plan_flow(flow: str, params: Params, machine: Machine) -> Plan:
    """Name everything that a flow would make.

    Raises:
        ValueError: a parameter that only the outside world can refute, such as a missing path.
    """
    params = with_earlier_crawls(params.dated(datetime.now(UTC).date()), Store(machine.store))
    _check_pinned(params, Store(machine.store))
    _check_start(params, Store(machine.store))
    run = PlanningRunner(machine)
    planned = run.planner.stages
    corpus = road.curate(params, run)
    end_of_curate = len(planned)
    models = road.train(params, corpus, run)
    end_of_train = len(planned)
    if flow == "mixture-search":
        end_of_tokens = 1 + [stage.ref for stage in planned].index(models.tokens)
        road.search(params, models.tokens, run)
        return Plan(params, [], [*planned[:end_of_tokens], planned[-1]], corpus, models)
    road.conclude(params, corpus, models, road.measure(params, models, run), run)
    begin, end = {
        "pipeline": (0, len(planned)),
        "curate": (0, end_of_curate),
        "train": (end_of_curate, end_of_train),
        "evaluate": (end_of_train, len(planned)),
    }[flow]
    return Plan(params, planned[:begin], planned[begin:end], corpus, models)


def _check_pinned(params: Params, store: Store) -> None:
    pinned = params.classifiers.pinned
    if pinned and not store.has(ArtifactRef.parse(pinned)):
        there = ", ".join(str(m.ref) for m in store.manifests(CLASSIFIERS.name)) or "none"
        raise ValueError(
            f"classifiers.pinned={pinned} is not in the store {store.url}; there: {there}"
        )


def _check_start(params: Params, store: Store) -> None:
    named = params.train.start.checkpoint
    if named and not store.has(ArtifactRef.parse(named)):
        there = ", ".join(str(m.ref) for m in store.manifests(PRETRAIN.name)) or "none"
        raise ValueError(
            f"train.start.checkpoint={named} is not in the store {store.url}; there: {there}"
        )
    start = params.train.start
    if start.folder:
        check_folder(start.folder)
    if start.is_given:
        path = Path(start.folder) / "config.json"
        if named:
            path = store.open(ArtifactRef.parse(named)).fetch("config.json")
        base = base_model(params.train, path)
        context = max(base.max_seq_len, params.train.seq_len)
        params.check_model(context, is_lstm=base.architecture == "lstm")


def check_flow(flow: str, params: Params, machine: Machine) -> None:
    """Refuse what the flow, or the machine, would fail with after hours.

    Raises:
        ValueError: such a setting, with the remedy.
    """
    shape = {} if params.train.start.is_given else PRESETS[params.train.model]
    is_finetuned = any(each.finetune.method != "none" for each in (params.sft, params.dpo))
    machine.training.check_model(shape, is_finetuned=is_finetuned)
    if flow in ("pipeline", "evaluate", "mixture-search") and not params.mix.validation_share:
        raise ValueError(
            f"{flow} measures models on held-out text, and mix.validation_share=0 leaves none: "
            "raise it, such as to 0.02"
        )


def with_earlier_crawls(params: Params, store: Store) -> Params:
    """The same with each source that refreshes its latest crawl told which one that is.

    The crawls before it stand in front, each a source of its own: they are in the store, so are
    found and not made, and what they hold stays in the corpus.
    """
    sources = [found for source in params.sources for found in _crawls_of(source, store)]
    return params.model_copy(update={"sources": sources})


def _crawls_of(source: SourceConfig, store: Store) -> list[SourceConfig]:
    if source.refresh_of != LATEST:
        return [source]
    settings = _settings(CRAWL.identify(source, {}).config)
    earlier = {
        str(manifest.ref): manifest
        for manifest in store.manifests(CRAWL.name)
        if manifest.identity.version == CRAWL.version
        and _settings(manifest.identity.config) == settings
        and _snapshot(manifest) < source.snapshot
    }
    chain: list[Manifest] = []
    named = max(earlier, key=lambda ref: (_snapshot(earlier[ref]), ref), default="")
    while named in earlier:
        chain.insert(0, earlier[named])
        named = chain[0].identity.config["refresh_of"]
    if named:  # the crawl at its root was deleted, and with it the pages that never changed
        chain = []
    before = [
        source.model_copy(update={name: manifest.identity.config[name] for name in REFRESH_FIELDS})
        for manifest in chain
    ]
    latest = str(chain[-1].ref) if chain else ""
    return [*before, source.model_copy(update={"refresh_of": latest})]


def _snapshot(manifest: Manifest) -> str:
    return str(manifest.identity.config["snapshot"])


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What two crawls must share for one to refresh the other."""
    return {k: v for k, v in config.items() if k not in REFRESH_FIELDS}


def ready_plan(flow: str, params: Params, machine: Machine) -> Plan:
    """Plan a flow and see that what it builds on has been made.

    Raises:
        ValueError: something has not; the message names it and the remedy.
    """
    check_flow(flow, params, machine)
    plan = plan_flow(flow, params, machine)
    for takedown in earlier_takedowns(Store(machine.store), params):
        log.warning(takedown.reminder())
    needed, maker = NEEDS.get(flow, (set(), ""))
    missing = [s for s in plan.before if s.identity.stage in needed and not s.cached]
    if missing:
        names = ", ".join(str(stage.ref) for stage in missing)
        raise ValueError(
            f"{flow} builds on {names}, which the store {machine.store} does not have: "
            f"run `bloomery run {maker}` with the same parameters first"
        )
    return plan
