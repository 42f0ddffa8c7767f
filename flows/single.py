"""One data stage alone, on plain files: what it needs is brought in, the rest is left out."""

import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.params import parse_model, with_changes
from tasks.classify.stage import STAGE as CLASSIFY
from tasks.common.manifest import MANIFEST_NAME, ArtifactRef, Manifest
from tasks.common.stage import Machine, Stage, materialise
from tasks.common.store import Store
from tasks.crawl.files import ARCHIVE_SUFFIXES
from tasks.crawl.stage import STAGE as CRAWL
from tasks.crawl.table import TABLE_NAME
from tasks.dedup.stage import STAGE as DEDUP
from tasks.extract.stage import STAGE as EXTRACT
from tasks.filter.stage import STAGE as FILTER
from tasks.ingest.stage import STAGE as INGEST
from tasks.mix.stage import STAGE as MIX

log = logging.getLogger("bloomery.stage")

STAGES = {stage.name: stage for stage in (CRAWL, EXTRACT, FILTER, DEDUP, CLASSIFY, MIX)}
NOT_DATA = {MANIFEST_NAME, TABLE_NAME}


def run_stage(
    name: str, inputs: Sequence[str], output: Path, changes: Sequence[str], machine: Machine
) -> Manifest:
    """Run a data stage on files and leave its artifact as the folder ``output``.

    Raises:
        ValueError: ``output`` is there already, or a file or setting is wrong.
    """
    if output.exists():
        raise ValueError(f"{output} is there already; name a new folder")
    stage = STAGES[name]
    inputs = [str(path) for given in inputs for path in _places(stage, Path(given))]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".bloomery-") as folder:
        machine = machine.model_copy(update={"store": folder})
        config = _config(stage, inputs, changes)
        refs = {}
        if stage is not CRAWL:
            refs = {stage.inputs[0]: [_bring_in(stage, config, inputs, machine)]}
        manifest, _ = materialise(stage, config, refs, machine, label="alone")
        shutil.move(Store(folder).path(manifest.ref), output)
    return manifest


def _places(stage: Stage, given: Path) -> list[Path]:
    """What to read: of sources a folder stays one, so that its files keep their names in it."""
    is_source = stage is CRAWL or stage.inputs == ("pages",)
    is_folder = given.is_dir() and not (given / MANIFEST_NAME).exists()
    return [given] if is_source and is_folder else _data_files(given)


def _data_files(given: Path) -> list[Path]:
    """A file as it is; of an artifact's folder the shards, of any other folder every file."""
    if not given.is_dir():
        return [given]
    if (given / MANIFEST_NAME).exists():
        return sorted(p for p in given.iterdir() if p.is_file() and p.name not in NOT_DATA)
    return sorted(path for path in given.rglob("*") if path.is_file())


def _config(stage: Stage, inputs: Sequence[str], changes: Sequence[str]) -> Any:
    values: dict[str, Any] = {}
    if stage.name == "crawl":
        values = {"name": "files", "type": _source_type(inputs), "paths": list(inputs)}
    elif stage.name == "extract":
        values = {"source": "files"}
    whole = parse_model(stage.config, values).model_dump(mode="json")
    return parse_model(stage.config, with_changes(whole, changes))


def _bring_in(stage: Stage, config: Any, inputs: Sequence[str], machine: Machine) -> ArtifactRef:
    bring, values = INGEST, dict[str, Any](paths=list(inputs))
    if stage.inputs == ("pages",):
        bring = CRAWL
        kind = _source_type(inputs)
        kind = "code" if kind == "files" and config.kind == "code" else kind
        values |= {"name": "files", "type": kind}
    manifest, _ = materialise(bring, parse_model(bring.config, values), {}, machine)
    if manifest.funnel and manifest.funnel.num_dropped:
        log.warning("set aside %d: %s", manifest.funnel.num_dropped, manifest.funnel.dropped)
    return manifest.ref


def _source_type(inputs: Sequence[str]) -> str:
    files = (path for given in inputs for path in _data_files(Path(given)))
    return "warc" if all(f.name.lower().endswith(ARCHIVE_SUFFIXES) for f in files) else "files"
