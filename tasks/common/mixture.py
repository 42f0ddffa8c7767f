"""The shape of a mixed corpus: groups of documents with weights, as later stages read it.

``mixture.json`` holds the table (``mix_table``); ``train/FOLDER/part-….parquet`` and
``validation/FOLDER/…`` the documents. A group of one portion has it in its own folder; several
portions are in folders below it.
"""

import json
from collections.abc import Mapping
from typing import Any

from tasks.common.store import Artifact

MIXTURE_NAME = "mixture.json"
TRAIN, VALIDATION = "train", "validation"


def read_mixture(artifact: Artifact) -> dict[str, Any]:
    """The mixture table of a mixed corpus, or of the tokens made from one."""
    table: dict[str, Any] = json.loads(artifact.fetch(MIXTURE_NAME).read_text())
    return table


def shard_names(artifact: Artifact, split: str, row: Mapping[str, Any], suffix: str) -> list[str]:
    """The shards of one group's training or validation set, in order."""
    own = [part["folder"] for part in row["portions"]] if split == TRAIN else [row["folder"]]
    return [name for folder in own for name in artifact.names(suffix, f"{split}/{folder}")]
