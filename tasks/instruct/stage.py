"""The instruct stage: documents (or the user's files) in, post-training data out.

Out, one JSON object a line: ``sft-{train,validation}.jsonl``, ``prompts.jsonl`` (what is taught, as
questions with references, to practise on), ``questions.jsonl`` (the same of what is held out),
``multiple-choice.jsonl``, and the user's ``preferences-{train,validation}.jsonl`` if there are any.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.common.files import checksums, expand_files
from tasks.common.records import Record, numbered_lines, split_validation, write_records
from tasks.common.shard import read_tables
from tasks.common.stage import Outcome, Stage, StageContext
from tasks.common.store import Artifact
from tasks.instruct import compose
from tasks.instruct.config import InstructConfig
from tasks.instruct.docstrings import module_name, read_facts
from tasks.instruct.records import check_choice, check_conversation, check_preference


def run(context: StageContext, config: InstructConfig) -> Outcome:
    """Build instructions, preferences and a held-out multiple-choice suite."""
    made = _from_files(config) if config.origin == "files" else _from_corpus(context, config)
    for name, records in made.items():
        write_records(context.path / f"{name}.jsonl", records)
        context.log.info("%s: %d records", name, len(records))
    return Outcome(metrics={name.replace("-", "_"): len(records) for name, records in made.items()})


def _from_corpus(context: StageContext, config: InstructConfig) -> dict[str, list[Record]]:
    facts = [
        fact
        for artifact, name in context.shards("documents")
        for module, text in _code_documents(artifact, name)
        for fact in read_facts(text, module)
    ]
    taught, held_out = compose.split_facts(compose.usable_facts(facts, config), config)
    return {
        **_split("sft", compose.conversations(taught, config)),
        "prompts": compose.open_questions(taught),
        "questions": compose.open_questions(held_out),
        "multiple-choice": compose.multiple_choice(held_out, config),
    }


def _from_files(config: InstructConfig) -> dict[str, list[Record]]:
    sft = _read(config.sft_files, check_conversation)
    if len(sft) <= config.num_eval:
        raise ValueError(
            f"instruct.sft_files hold {len(sft)} conversations; instruct.num_eval="
            f"{config.num_eval} of them are held out, and none is left to teach: lower num_eval, "
            "or add conversations"
        )
    held_out, taught = sft[: config.num_eval], sft[config.num_eval :]
    return {
        **_split("sft", taught),
        **_split("preferences", _read(config.preference_files, check_preference)),
        "prompts": [_as_question(record) for record in taught],
        "questions": [_as_question(record) for record in held_out],
        "multiple-choice": _read(config.multiple_choice_files, check_choice),
    }


def _as_question(record: Record) -> Record:
    *prompt, answer = record["messages"]
    return {"id": record["id"], "prompt": prompt, "reference": answer["content"]}


def _code_documents(artifact: Artifact, name: str) -> list[tuple[str, str]]:
    found = []
    for table in read_tables(artifact.fetch(name)):
        for row in table.select(["kind", "url", "source", "text"]).to_pylist():
            path = row["url"].removeprefix(f"file://{row['source']}/")
            if row["kind"] == "code" and path.endswith(".py"):
                found.append((module_name(path), row["text"]))
    return found


def _split(name: str, records: list[Record]) -> dict[str, list[Record]]:
    train, validation = split_validation(records)
    return {f"{name}-train": train, f"{name}-validation": validation}


def _read(paths: Sequence[str], check: Any) -> list[Record]:
    records = []
    for name, path in expand_files(paths).items():
        for number, line in numbered_lines(path):
            where = f"{name}, line {number}"
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{where} is not JSON: {error}") from error
            check(record, where)
            # The user's own ids may be numbers, and the same in two files.
            records.append({**record, "id": f"{name}:{number}"})
    return records


def _identity(config: InstructConfig) -> Mapping[str, Any]:
    identity = config.model_dump(mode="json")
    for name in ("sft_files", "preference_files", "multiple_choice_files"):
        identity[name] = checksums(identity[name])
    return identity


STAGE = Stage(
    name="instruct",
    version=2,
    config=InstructConfig,
    inputs=("documents",),
    run=run,
    identity=_identity,
)
