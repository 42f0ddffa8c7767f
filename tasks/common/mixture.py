"""The shape of a mixed corpus: groups of documents with weights, as later stages read it.

``mixture.json`` holds the table, a row a group, each naming its ``folder``;
``train/FOLDER/part-….parquet`` and ``validation/FOLDER/…`` hold the documents.
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
