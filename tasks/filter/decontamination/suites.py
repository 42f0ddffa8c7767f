"""Evaluation suites as users have them: files in, items with their texts out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from tasks.common.files import expand_files, open_text

FORMATS = (".jsonl", ".json", ".txt")
PACKINGS = ("", ".gz", ".zst")

# What public suites call the texts of their items, in the order in which these are read.
KNOWN_FIELDS = (
    *("passage", "article", "story", "support", "premise", "context", "context_options", "ctx"),
    *("sentence", "sentence1", "sentence2", "text", "problem", "prompt", "instruction", "input"),
    *("inputs", "query", "question", "question_stem", "goal", "turns", "hypothesis", "endings"),
    *("choices", "options", "mc1_targets", "sol1", "sol2", "option1", "option2"),
    *("chain_of_thought", "solution", "canonical_solution", "continuation", "completion"),
    *("output", "target", "targets", "answer", "answers", "best_answer", "correct_answer"),
    *("correct_answers", "incorrect_answers", "best_incorrect_answer", "test"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item of a suite.

    Attributes:
        texts: each to be looked for by itself.
        together: what stands in single fields as one text, as the item may be printed somewhere:
            question, then answer. Empty where there is one field only.
    """

    name: str
    texts: tuple[str, ...]
    together: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A named list of items, and which of their fields were read."""

    name: str
    fields: tuple[str, ...]
    items: tuple[Item, ...]


def read_suites(paths: Sequence[str], fields: Sequence[str]) -> list[Suite]:
    """Read every suite.

    Args:
        paths: files, folders or patterns.
        fields: names of the fields to read; empty: KNOWN_FIELDS.

    Raises:
        ValueError: a file that is no suite, or has none of the fields.
    """
    found = [(name, path, _format(name)) for name, path in expand_files(paths).items()]
    named = [(name, path, kind) for name, path, kind in found if kind]
    if paths and not named:
        raise ValueError(
            f"{', '.join(paths)}: no suites; they are read from {', '.join(FORMATS)}, "
            "also as .gz and .zst"
        )
    return [_read(name, path, str(kind), fields) for name, path, kind in named]


def _format(name: str) -> str | None:
    endings = ((kind, kind + packing) for kind in FORMATS for packing in PACKINGS)
    return next((kind for kind, ending in endings if name.endswith(ending)), None)


def _read(name: str, path: Path, kind: str, fields: Sequence[str]) -> Suite:
    with open_text(path) as file:
        records = list(_records(file, kind, name))
    suite = str(PurePosixPath(name)).rpartition(kind)[0]
    if kind == ".txt":
        items = [Item(name=str(n), texts=(text,)) for n, text in enumerate(records, start=1)]
        return Suite(name=suite, fields=("paragraph",), items=tuple(items))
    wanted = _wanted_fields(records, fields, name)
    items = [as_item(record, wanted, number) for number, record in enumerate(records, start=1)]
    return Suite(name=suite, fields=tuple(wanted), items=tuple(items))


def _records(file: TextIO, kind: str, name: str) -> Iterator[Any]:
    if kind == ".txt":
        yield from filter(None, map(str.strip, file.read().split("\n\n")))
        return
    if kind == ".json":
        whole = _parsed(file.read(), name)
        found = list(whole.values()) if isinstance(whole, dict) else whole
        yield from (each if isinstance(each, dict) else {"text": each} for each in found)
        return
    for number, line in enumerate(file, start=1):
        if line.strip():
            place = f"{name}, line {number}"
            record = _parsed(line, place)
            if not isinstance(record, dict):
                raise ValueError(f"{place}: an item is an object, not {line.strip():.60}")
            yield record


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _wanted_fields(
    records: Sequence[Mapping[str, Any]], fields: Sequence[str], name: str
) -> list[str]:
    """The names as this suite writes them, in the order in which they are read."""
    spelled: dict[str, str] = {}
    for record in records:
        for field in record:
            spelled.setdefault(_plain(field), field)
    asked = map(_plain, fields or KNOWN_FIELDS)
    wanted = [spelled[field] for field in asked if field in spelled]
    if records and not wanted:
        raise ValueError(
            f"{name}: no field to look for; it has {', '.join(sorted(spelled.values()))}: name "
            "those with texts in decontamination.fields"
        )
    return wanted


def _plain(field: str) -> str:
    return field.lower().replace(" ", "_").replace("-", "_")


def _item_name(record: Mapping[str, Any], number: int) -> str:
    for field in ("id", "task_id", "question_id", "key", "idx"):
        if isinstance(record.get(field), str | int):
            return str(record[field])
    return str(number)


def as_item(record: Mapping[str, Any], fields: Sequence[str], number: int) -> Item:
    """The item that a record is, the ``number``-th of its suite."""
    single = [value for field in fields if isinstance(value := record.get(field), str)]
    every = [text for field in fields for text in _strings(record.get(field))]
    return Item(
        name=_item_name(record, number),
        texts=tuple(dict.fromkeys(every)),
        together=" ".join(single) if len(single) > 1 else "",
    )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
