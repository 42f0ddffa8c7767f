"""Our whole data path on a folder of archives and tables; started by ``data_path`` in a process.

In: a folder with ``warc/*`` and ``text/*``, an empty folder, a number of workers, and how many
bytes the tokenizer may learn from. Out: a store in that folder, and on stdout one JSON line: what
each stage cost and made.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from flows import road
from flows.params import Params
from flows.presets import SMALL
from tasks.common.manifest import ArtifactRef, Manifest
from tasks.common.stage import Machine, materialise
from tasks.common.stage_task import StageTask
from tasks.tokenizer.task import tokenizer
from tasks.tokens.config import TokensConfig
from tasks.tokens.task import tokens

# What is known of a table of texts by its name; pages have no subject until one is found.
SUBJECTS = {
    "english-novels": "books",
    "docs-markdown": "documentation",
    "enwiki-2015": "encyclopedia",
    "zhwiki": "encyclopedia",
    "20newsgroups-train": "forum",
    "stacks-project": "science",
    "german-federal-law": "legal",
    "wikinews-en": "news",
}
REFERENCE = "enwiki-2015"
LARGEST_PAGE_BYTES = 64 * 1024 * 1024


def main(data: str, folder: str, num_workers: int, tokenizer_bytes: int) -> None:
    """Take everything from files to tokens."""
    machine = Machine(store=folder, num_workers=num_workers)
    steps: list[dict[str, Any]] = []

    def run(
        task: StageTask,
        config: BaseModel,
        inputs: Mapping[str, Sequence[ArtifactRef]],
        label: str = "",
    ) -> ArtifactRef:
        manifest, _ = materialise(task.stage, config, inputs, machine, label=label)
        steps.append(_summary(manifest))
        return manifest.ref

    params = _params(Path(data), tokenizer_bytes)
    corpus = road.curate(params, run)
    vocabulary = run(tokenizer, params.tokenizer, {"documents": [corpus.mixture]})
    texts = {"documents": [corpus.mixture], "tokenizer": [vocabulary]}
    run(tokens, TokensConfig(), texts)
    print(json.dumps(steps))


def _params(data: Path, tokenizer_bytes: int) -> Params:
    sources: list[dict[str, Any]] = [
        {"name": "pages", "type": "warc", "paths": [str(data / "warc")]},
    ]
    for path in sorted((data / "text").iterdir()):
        name = path.name.partition(".")[0]
        sources.append(
            {
                "name": name,
                "type": "files",
                "paths": [str(path)],
                "domain": SUBJECTS.get(name),
                "max_page_bytes": LARGEST_PAGE_BYTES,
            }
        )
    names = [source["name"] for source in sources]
    values = SMALL.model_dump(mode="json") | {"name": "data-path", "sources": sources}
    values["extract"]["max_page_bytes"] = LARGEST_PAGE_BYTES
    values["filter"]["languages"] = []
    values["classifiers"]["quality"]["reference_sources"] = [REFERENCE] * (REFERENCE in names)
    values["mix"]["token_budget"] = 100_000_000
    values["tokenizer"]["max_train_bytes"] = tokenizer_bytes
    return Params.model_validate(values)


def _summary(manifest: Manifest) -> dict[str, Any]:
    return {
        "stage": manifest.identity.stage,
        "label": manifest.label,
        "wall_seconds": manifest.provenance.wall_seconds,
        "cpu_seconds": manifest.provenance.cpu_seconds,
        "num_in": manifest.funnel.num_in if manifest.funnel else None,
        "num_kept": manifest.funnel.num_kept if manifest.funnel else None,
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
