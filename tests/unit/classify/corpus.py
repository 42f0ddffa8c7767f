"""A small corpus of cooks and sailors, and the stages that classify it."""

import random
from collections.abc import Sequence

import pyarrow.parquet as pq

from tasks.classifiers.config import ClassifiersConfig
from tasks.classifiers.stage import STAGE as CLASSIFIERS
from tasks.classify.config import ClassifyConfig
from tasks.classify.stage import STAGE as CLASSIFY
from tasks.common.manifest import ArtifactRef, Manifest
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tests.stages import given

KITCHEN = ("flour", "butter", "oven", "dough", "simmer", "whisk", "garlic", "recipe", "spoon")
HARBOUR = ("anchor", "mast", "harbour", "tide", "keel", "rudder", "sail", "captain", "rope")
FILLER = ("the", "a", "and", "of", "to", "with", "for", "in", "on", "at")


def text_of(words: Sequence[str], seed: int, num_words: int = 80) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice([*words, *FILLER]) for _ in range(num_words))


def documents(num_each: int = 60) -> list[dict]:
    rows = []
    for n in range(num_each):
        kitchen, harbour = text_of(KITCHEN, n), text_of(HARBOUR, n)
        mixed = text_of([KITCHEN, HARBOUR][n % 2], 1000 + n)
        rows += [
            {"id": f"k{n}", "text": kitchen, "source": "cooks", "domain": "home cooking"},
            {"id": f"h{n}", "text": harbour, "source": "sailors", "domain": "sea"},
            {"id": f"w{n}", "text": mixed, "source": "web", "url": f"https://web.invalid/{n}"},
            {"id": f"c{n}", "text": "x = 1\n" * 9, "source": "code", "kind": "code"},
        ]
    return rows


def train(
    machine: Machine, config: ClassifiersConfig, *shards: list[dict]
) -> tuple[Manifest, ArtifactRef]:
    """The classifiers, and the documents that taught them."""
    taught_by = given(machine, shards)
    made, _ = materialise(CLASSIFIERS, config, {"documents": [taught_by]}, machine)
    return made, taught_by


def classify(
    machine: Machine, config: ClassifyConfig, judges: Manifest, documents: ArtifactRef
) -> Manifest:
    inputs = {"documents": [documents], "classifiers": [judges.ref]}
    return materialise(CLASSIFY, config, inputs, machine)[0]


def read(machine: Machine, manifest: Manifest, folder: str = "") -> list[dict]:
    artifact = Store(machine.store).open(manifest.ref)
    names = artifact.names(".parquet", folder)
    return [row for name in names for row in pq.read_table(artifact.fetch(name)).to_pylist()]
