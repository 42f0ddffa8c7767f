"""The shape of a mixed corpus: groups of documents with weights, as later stages read it.

``mixture.json`` holds the table; ``train/GROUP/part-….parquet`` and ``validation/GROUP/…`` hold
the documents.
"""

import json
from typing import Any

from tasks.common.store import Artifact

MIXTURE_NAME = "mixture.json"
TRAIN, VALIDATION = "train", "validation"


def read_mixture(artifact: Artifact) -> dict[str, Any]:
    """The mixture table of a mixed corpus, or of the tokens made from one."""
    table: dict[str, Any] = json.loads(artifact.fetch(MIXTURE_NAME).read_text())
    return table


def group_names(artifact: Artifact) -> list[str]:
    """The groups, in the order of the table."""
    return [row["group"] for row in read_mixture(artifact)["groups"]]
