"""One data stage alone, on plain files: what it needs is brought in, the rest is left out."""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.params import DedupParams, parse_model, with_changes
from tasks.classifiers.config import ClassifiersConfig
from tasks.classifiers.stage import STAGE as CLASSIFIERS
from tasks.classify.stage import STAGE as CLASSIFY
from tasks.common.contamination_list import CONTAMINATION_NAME
from tasks.common.manifest import MANIFEST_NAME, ArtifactRef, Manifest
from tasks.common.page_table import PAGE_TABLE_NAME
from tasks.common.passage_list import REPEATED_NAME
from tasks.common.stage import Machine, Stage, materialise
from tasks.common.store import Store
from tasks.crawl.config import SourceConfig
from tasks.crawl.files import ARCHIVE_SUFFIXES
from tasks.crawl.stage import STAGE as CRAWL
from tasks.dedup.config import DedupConfig
from tasks.dedup.stage import STAGE as DEDUP
from tasks.duplicates.stage import STAGE as DUPLICATES
from tasks.extract.stage import STAGE as EXTRACT
from tasks.filter.stage import STAGE as FILTER
from tasks.ingest.stage import STAGE as INGEST
from tasks.mix.stage import STAGE as MIX
from tasks.passages.stage import STAGE as PASSAGES
from tasks.signatures.stage import STAGE as SIGNATURES

log = logging.getLogger("bloomery.stage")

STAGES = {
    stage.name: stage
    for stage in (CRAWL, EXTRACT, FILTER, DEDUP, PASSAGES, CLASSIFIERS, CLASSIFY, MIX)
}
NOT_DATA = {MANIFEST_NAME, PAGE_TABLE_NAME, REPEATED_NAME, CONTAMINATION_NAME}


def run_stage(
    name: str, inputs: Sequence[str], output: Path, changes: Sequence[str], machine: Machine
) -> Manifest:
    """Run a data stage on files and leave its artifact as the folder ``output``.

    A crawl whose settings name a source, e.g. ``type=common-crawl``, takes no files. What was cut
    short goes on when the same is asked for again.

    Raises:
        ValueError: ``output`` is there already, or a file or setting is wrong.
    """
    if output.exists():
        raise ValueError(f"{output} is there already; name a new folder")
    if not inputs and not (name == "crawl" and any(c.startswith("type=") for c in changes)):
        raise ValueError(
            f"{name} needs --input, files or folders" + ", or --set type=…" * (name == "crawl")
        )
    stage = STAGES[name]
    made = [
        Path(given) for given in inputs if stage is CLASSIFY and _made_by(given) == CLASSIFIERS.name
    ]
    inputs = [
        str(path)
        for given in inputs
        if Path(given) not in made
        for path in _places(stage, Path(given))
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    with _scratch(output) as folder:
        machine = machine.model_copy(update={"store": str(folder)})
        config = _config(stage, inputs, changes)
        if stage is CLASSIFIERS and config.pinned:
            raise ValueError(
                f"pinned={config.pinned} is for a whole run; give the folder of classifiers that "
                "were made before to classify, as one more --input"
            )
        refs: dict[str, list[ArtifactRef]] = {name: [] for name in stage.inputs}
        if stage is not CRAWL:
            refs[stage.inputs[0]] = [_bring_in(stage, config, inputs, machine)]
        if stage is DEDUP:
            refs["duplicates"] = [_verdicts(config, refs["documents"], machine)]
            config = DedupConfig()
        if stage is CLASSIFY:
            refs["classifiers"] = [_classifiers(made, refs["documents"], machine)]
        manifest, _ = materialise(stage, config, refs, machine, label="alone")
        shutil.move(Store(str(folder)).path(manifest.ref), output)
    return manifest


@contextmanager
def _scratch(output: Path) -> Iterator[Path]:
    """A store beside ``output``; it stays, to go on from, if the run is cut short or gives up."""
    folder = output.parent / f".bloomery-{output.name}"
    try:
        yield folder
    except (ValueError, FileNotFoundError):  # for the user to mend; the next run is another one
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder)


def _places(stage: Stage, given: Path) -> list[Path]:
    """What to read: of sources a folder stays one, so that its files keep their names in it."""
    is_source = stage is CRAWL or stage.inputs == ("pages",)
    is_folder = given.is_dir() and not (given / MANIFEST_NAME).exists()
    if is_source and is_folder:
        return [given]
    files = _data_files(given)
    if is_source or is_folder or not given.is_dir():
        return files
    shards = [path for path in files if path.suffix == ".parquet"]  # what else is there is notes
    if not shards:
        raise ValueError(
            f"{given} holds no documents; give {stage.name} a folder of a stage's that does"
        )
    return shards


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
        values = _web_source(inputs) or _source(inputs)
    elif stage.name == "extract":
        values = {"source": "files"}
    model = DedupParams if stage is DEDUP else stage.config
    whole = model.model_construct(**values).model_dump(mode="json")  # checked when changed
    return parse_model(model, with_changes(whole, changes))


def _verdicts(config: DedupParams, documents: list[ArtifactRef], machine: Machine) -> ArtifactRef:
    """The verdicts on some documents."""
    signed, _ = materialise(SIGNATURES, config.signatures, {"documents": documents}, machine)
    inputs = {"signatures": [signed.ref], "pages": []}
    return materialise(DUPLICATES, config.duplicates, inputs, machine)[0].ref


def _bring_in(stage: Stage, config: Any, inputs: Sequence[str], machine: Machine) -> ArtifactRef:
    bring, values = INGEST, dict[str, Any](paths=list(inputs))
    if stage.inputs == ("pages",):
        bring, values = CRAWL, _source(inputs)
        if values["type"] == "files" and config.kind == "code":
            values["type"] = "code"
    manifest, _ = materialise(bring, parse_model(bring.config, values), {}, machine)
    if manifest.funnel and manifest.funnel.num_dropped:
        log.warning("set aside %d: %s", manifest.funnel.num_dropped, manifest.funnel.dropped)
    return manifest.ref


def _made_by(given: str) -> str:
    """The stage whose artifact a folder is; nothing for any other path."""
    manifest = Path(given) / MANIFEST_NAME
    if not manifest.exists():
        return ""
    return Manifest.model_validate_json(manifest.read_bytes()).identity.stage


def _classifiers(
    made: Sequence[Path], documents: list[ArtifactRef], machine: Machine
) -> ArtifactRef:
    """Classifiers that the stage of that name left; without them, what the documents' own subjects
    teach.
    """
    if len(made) > 1:
        raise ValueError(
            f"classify takes one folder of classifiers, not {', '.join(map(str, made))}"
        )
    if not made:
        inputs = {"documents": documents}
        return materialise(CLASSIFIERS, ClassifiersConfig(), inputs, machine)[0].ref
    ref = Manifest.model_validate_json((made[0] / MANIFEST_NAME).read_bytes()).ref
    shutil.copytree(made[0], Store(machine.store).path(ref), dirs_exist_ok=True)
    return ref


def _web_source(inputs: Sequence[str]) -> dict[str, Any] | None:
    """A crawl of the URLs that text files list, one a line; None if that is not what they hold."""
    if not inputs or not all(map(_lists_urls, inputs)):
        return None
    lines = [line for name in inputs for line in Path(name).read_text("utf-8-sig").split("\n")]
    urls = [url for line in lines if (url := line.strip()) and not url.startswith("#")]
    return {
        "name": "web",
        "type": "web",
        "seeds": urls,
        "snapshot": datetime.now(UTC).date().isoformat(),
        "max_depth": 0,  # these pages; --set max_depth=1 takes what they link to on their sites
        "max_pages": max(len(urls), SourceConfig.model_fields["max_pages"].default),
    }


def _lists_urls(name: str) -> bool:
    """Whether the first line of a text file, blank ones and comments aside, is a URL."""
    if not name.lower().endswith((".txt", ".urls")):
        return False
    with Path(name).open(encoding="utf-8-sig", errors="replace") as file:
        lines = (line.strip().lower() for line in file)
        first = next((line for line in lines if line and not line.startswith("#")), "")
    return first.startswith(("http://", "https://"))


def _source(inputs: Sequence[str]) -> dict[str, Any]:
    files = (path for given in inputs for path in _data_files(Path(given)))
    archives = all(file.name.lower().endswith(ARCHIVE_SUFFIXES) for file in files)
    return {
        "name": "files" if inputs else "pages",
        "type": "warc" if archives else "files",
        "paths": list(inputs),
    }
