"""Score title, author, date and language against people's answers: ours and trafilatura's.

    python -m tests.benchmarks.metadata --data ../shared/data/web [--show author]

Gold: trafilatura's evaluation set (title, author and date as people read them) and that of Mozilla
Readability (its own output, language included; its titles often keep the site's name). A field
counts where the gold has it. *exact* compares the strings; *same* compares letters and digits only,
of authors the set of their names' words. Ours is timed without parsing, trafilatura's with it.
"""

import argparse
import gzip
import json
import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trafilatura

from tasks.extract.archive import read_archive
from tasks.extract.body import record_body
from tasks.extract.charset import decode
from tasks.extract.head import Head
from tasks.extract.metadata import Metadata, describe
from tasks.extract.records import Record
from tests.heads import head_of

FIELDS = ("title", "author", "date", "language")
MAX_BYTES = 100_000_000
Answer = dict[str, str | None]


@dataclass
class Score:
    """How many answers of one tool on one field agree with the gold."""

    num_gold: int = 0
    num_given: int = 0
    num_exact: int = 0
    num_same: int = 0
    misses: list[tuple[str, str, str | None]] = field(default_factory=list)

    def add(self, page: str, name: str, gold: str | None, given: str | None) -> None:
        if not gold:
            return
        self.num_gold += 1
        self.num_given += bool(given)
        self.num_exact += gold == given
        if given and comparable(name, gold) == comparable(name, given):
            self.num_same += 1
        else:
            self.misses.append((page, gold, given))


def comparable(name: str, value: str) -> Any:
    """What is left of a value when spelling does not count."""
    value = unicodedata.normalize("NFKC", value).casefold()
    if name == "date":
        return value[:10]
    if name == "language":
        return value.replace("_", "-").partition("-")[0]
    words = re.findall(r"\w+", value)
    if name == "author":
        return frozenset(words) - {"by", "von", "par", "and", "und", "et"}
    return "".join(words)


def read_gold(folder: Path) -> dict[str, dict[str, Answer]]:
    """The answers by data set and page id."""
    trafilaturas: dict[str, Answer] = {}
    for row in _rows(folder / "segments-trafilatura.jsonl.gz"):
        author = row.get("meta_author")
        trafilaturas[row["id"]] = {
            "title": row.get("meta_title"),
            "author": "; ".join(author) if isinstance(author, list) else author,
            "date": row.get("meta_date"),
        }
    readabilitys: dict[str, Answer] = {}
    for row in _rows(folder / "fulltext-readability.jsonl.gz"):
        meta = row["meta"]
        readabilitys[row["id"]] = {
            "title": meta["title"],
            "author": " ".join((meta["byline"] or "").split()) or None,
            "date": (meta["publishedTime"] or "")[:10] or None,
            "language": meta["lang"],
        }
    return {"segments-trafilatura": trafilaturas, "fulltext-readability": readabilitys}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def read_pages(path: Path) -> Iterator[tuple[str, Record, str]]:
    """Id, record and markup of each page of an archive."""
    for record in read_archive(path):
        if isinstance(record, Record) and record.type == "response":
            body = record_body(record, MAX_BYTES)
            html = decode(body.data, body.charset, is_html=True, url=record.url)
            yield record.headers.get("x-item-id", ""), record, html


def ours(head: Head, url: str) -> Metadata:
    return describe(head, url)


def theirs(html: str, url: str) -> Answer:
    """trafilatura's metadata; its language is what it reads from the markup."""
    found = trafilatura.extract_metadata(html, default_url=url)
    if found is None:
        return dict.fromkeys(FIELDS)
    return {name: getattr(found, name, None) for name in FIELDS}


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    start = time.process_time()
    return function(*arguments), time.process_time() - start


def main() -> None:
    """Read the pages, ask both, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with pages/ and gold/")
    parser.add_argument("--show", choices=FIELDS, help="also print our misses of this field")
    parser.add_argument("--without-trafilatura", action="store_true", help="only ours: quick")
    arguments = parser.parse_args()
    for name, gold in read_gold(arguments.data / "gold").items():
        scores = {"ours": {f: Score() for f in FIELDS}, "trafilatura": {f: Score() for f in FIELDS}}
        seconds = {"ours": 0.0, "trafilatura": 0.0}
        num_pages = 0
        for page, record, html in read_pages(arguments.data / "pages" / f"{name}.warc.gz"):
            if page not in gold:
                continue
            num_pages += 1
            answers: dict[str, Answer] = {}
            said, spent = timed(ours, head_of(html), record.url)
            seconds["ours"] += spent
            answers["ours"] = {
                "title": said.title,
                "author": said.author,
                "date": said.date,
                "language": said.declared_language,
            }
            if not arguments.without_trafilatura:
                answers["trafilatura"], spent = timed(theirs, html, record.url)
                seconds["trafilatura"] += spent
            for tool, answer in answers.items():
                for one in FIELDS:
                    scores[tool][one].add(page, one, gold[page].get(one), answer[one])
        print_scores(name, num_pages, scores, seconds)
        if arguments.show:
            for page, right, given in scores["ours"][arguments.show].misses:
                print(f"  {page}\n    gold {right!r}\n    ours {given!r}")


def print_scores(
    name: str,
    num_pages: int,
    scores: dict[str, dict[str, Score]],
    seconds: dict[str, float],
) -> None:
    print(f"\n{name}: {num_pages} pages")
    print(f"{'':12} {'field':10} {'gold':>5} {'given':>6} {'exact':>6} {'same':>6} {'share':>6}")
    for tool, fields in scores.items():
        for one, score in fields.items():
            if score.num_gold:
                share = score.num_same / score.num_gold
                print(
                    f"{tool:12} {one:10} {score.num_gold:5} {score.num_given:6}"
                    f" {score.num_exact:6} {score.num_same:6} {share:6.3f}"
                )
        print(f"{tool:12} {1e3 * seconds[tool] / max(1, num_pages):.2f} ms a page")


if __name__ == "__main__":
    main()
