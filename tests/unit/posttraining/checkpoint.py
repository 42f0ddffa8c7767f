"""Artifacts for evaluation, made of a model in memory and one text."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from model.chat import encode_document
from model.checkpoint import write_model
from model.tokens import TokenWriter
from tasks.common.manifest import ArtifactRef
from tasks.common.stage import Machine, Outcome, Stage, materialise
from tests.stages import given


class Folder(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str


def _copy(context, config):
    for source in Path(config.path).rglob("*"):
        if source.is_file():
            target = context.path / source.relative_to(config.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return Outcome()


ASKED = {"a": [{"role": "user", "content": "?"}]}
COPY = Stage("copied", 1, Folder, (), _copy)


def checkpoint_and_tokens(
    machine: Machine,
    model: Any,
    tokenizer: Any,
    text: str,
    questions: Sequence[Mapping[str, Any]],
    prompts: Mapping[str, Sequence[Mapping[str, str]]] = ASKED,
) -> dict[str, list[ArtifactRef]]:
    """The inputs of the evaluate stage: training and validation text are the same one,
    beside a portion that is never trained on.

    ``prompts`` are the questions to answer freely, by id.
    """
    with tempfile.TemporaryDirectory() as folder:
        weights, tokens = Path(folder, "weights"), Path(folder, "tokens")
        weights.mkdir()
        tokens.mkdir()
        write_model(weights, model)
        tokenizer.save(str(weights / "tokenizer.json"))
        for place, own in (
            ("train/text/1", text),
            ("train/text/0", "?"),
            ("validation/text", text),
        ):
            with TokenWriter(tokens / place, "part-00000", tokenizer.get_vocab_size()) as out:
                out.add(encode_document(tokenizer, own))
        portions = [
            {"folder": "text/0", "target_tokens": 0},
            {"folder": "text/1", "target_tokens": 1_000},
        ]
        row = {"group": "text", "folder": "text", "portions": portions}
        (tokens / "mixture.json").write_text(json.dumps({"groups": [row]}))
        checkpoint, shards = (
            materialise(COPY, Folder(path=str(path)), {}, machine)[0].ref
            for path in (weights, tokens)
        )
    asked = "\n".join(
        json.dumps({"id": own, "prompt": prompt, "reference": "!"})
        for own, prompt in prompts.items()
    )
    lines = "\n".join(json.dumps(question) for question in questions)
    instructions = given(machine, files={"multiple-choice.jsonl": lines, "questions.jsonl": asked})
    return {"checkpoint": [checkpoint], "tokens": [shards], "instructions": [instructions]}
