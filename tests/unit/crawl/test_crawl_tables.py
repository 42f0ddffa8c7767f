"""Tables of texts: the same records from every format, damage costs what is damaged, no more."""

import bz2
import csv
import gzip
import json
import lzma
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tasks.common.stage import Machine
from tasks.crawl import files, packed, tables, wikipedia
from tests.unit.crawl.source_files import source, taken

ROWS = [
    {
        "id": f"n{number}",
        "text": f'Grüße, "{number}";\nzweite Zeile, 文字' + " x" * number,
        "url": f"https://a.example/{number}",
        "title": f"Über\u2028{number}",
        "author": "A. B.",
        "date": "2024-02-03",
        "lang": "de",
        "license": "CC-BY-4.0",
    }
    for number in range(50)
]
JSONL = "".join(
    json.dumps(row, ensure_ascii=number % 2 > 0) + "\n" for number, row in enumerate(ROWS)
)


def write_csv(path: Path, **options: str) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ROWS[0].keys(), **options)
        writer.writeheader()
        writer.writerows(ROWS)


def write(path: Path) -> None:
    """ROWS in the format that the name asks for."""
    packers = {".gz": gzip, ".bz2": bz2, ".xz": lzma, ".zst": zstandard}
    if path.name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=7)
    elif ".csv" in path.name or ".tsv" in path.name:
        write_csv(path, delimiter="\t" if ".tsv" in path.name else ";")
    else:
        path.write_bytes(JSONL.encode())
    if path.suffix in packers:
        path.write_bytes(packers[path.suffix].compress(path.read_bytes()))


@pytest.mark.parametrize(
    "name",
    ["a.jsonl", "a.jsonl.gz", "a.ndjson.zst", "a.jsonl.bz2", "a.jsonl.xz", "a.csv", "a.csv.gz",
     "a.tsv", "a.parquet"],
)  # fmt: skip
def test_every_format_gives_the_same_records(name, tmp_path, machine):
    write(tmp_path / name)
    manifest, rows, records = taken(machine, source(tmp_path / name))
    assert manifest.funnel.num_kept == len(ROWS) == len(rows)
    for row, record in zip(ROWS, records, strict=True):
        assert record["body"].decode() == row["text"]
        assert record["WARC-Target-URI"] == row["url"]
        assert record["X-Item-Id"] == row["id"]
        assert record["X-Title"] == f"Über {row['id'][1:]}"  # a line break would end the header
        assert (record["X-Language"], record["X-Licence"]) == ("de", "CC-BY-4.0")
        assert (record["X-Date"], record["X-Author"]) == ("2024-02-03", "A. B.")


def test_bad_records_are_set_aside_where_they_are(tmp_path, machine):
    lines = [
        b'{"text": "good"}',
        b"{bad",
        b"",
        b'"a text alone"',
        b'{"no": "text"}',
        b'{"text": ""}',
        b'{"text": 5}',
        b"[" * 100_000,
        b'{"text": "half \\ud800 of one"}',
        b'{"text": "latin \xfc"}',
        b'{"text": "too long ' + b"x" * 2000 + b'"}',
        b'{"text": "last"}',
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    _, rows, records = taken(machine, source(tmp_path, max_page_bytes=1024))
    assert {row["url"].removeprefix("file://notes/a.jsonl#"): row["reason"] for row in rows} == {
        "1": None,
        "2": "not_json",
        "4": "not_an_object",
        "5": "no_text",
        "6": "no_text",
        "7": "no_text",
        "8": "not_json",
        "9": None,
        "10": None,
        "11": "too_large",
        "12": None,
    }
    assert [record["body"] for record in records] == [
        b"good", b"half ? of one", b"latin \xfc", b"last"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.csv.gz", "a.parquet"])
def test_a_cut_file_keeps_what_was_whole_and_says_so(name, tmp_path, machine):
    text = "".join(f'{{"text": "{number} {hash(str(number))}"}}\n' for number in range(20_000))
    path = tmp_path / name
    if name == "a.parquet":
        write(path)
        path.write_bytes(path.read_bytes()[:-3])
        (tmp_path / "b.jsonl").write_text('{"text": "beside it"}')
    elif name == "a.csv.gz":
        path.write_bytes(gzip.compress(b"text\n" + text.replace(",", ";").encode())[:-100])
    else:
        pack = gzip.compress if name.endswith("gz") else zstandard.compress
        path.write_bytes(pack(text.encode())[:-100])
    manifest, _, _ = taken(machine, source(tmp_path))
    assert manifest.funnel.dropped["damaged_file"] == 1
    assert manifest.funnel.num_kept >= (1 if name == "a.parquet" else 10_000)


def test_a_quotation_that_never_ends_costs_no_more_than_a_page(tmp_path, machine):
    good = "".join(f"{number} a b\n" for number in range(1000))
    (tmp_path / "a.csv").write_text(f'text\n{good}"never closed {good}\n{good}')
    manifest, rows, _ = taken(machine, source(tmp_path, max_page_bytes=4096))
    reasons = Counter(row["reason"] for row in rows)
    assert reasons["not_csv"] >= 1
    assert 2000 < manifest.funnel.num_kept < 3000


def test_columns_can_be_named_and_lie_within_others(tmp_path, machine):
    row = {"text": "not this", "story": "this", "meta": {"where": "https://b.example/1"}, "id": 7}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "b.parquet")
    config = source(tmp_path, columns={"text": "story", "url": "meta.where"})
    _, _, records = taken(machine, config)
    found = [(r["body"], r["WARC-Target-URI"], r["X-Item-Id"]) for r in records]
    assert found == [(b"this", "https://b.example/1", "7")] * 2
    assert len({record["WARC-Record-ID"] for record in records}) == 2


def test_a_table_without_texts_is_said_to_be_one(tmp_path, machine):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "b.parquet")
    (tmp_path / "c.txt").write_text("text")
    manifest, _, _ = taken(machine, source(tmp_path))
    assert manifest.funnel.dropped == {"no_text_column": 2}


def _small_blocks(monkeypatch):
    for module in (files, tables, wikipedia):
        monkeypatch.setattr(module, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(packed, "PIECE_BYTES", 300)
    monkeypatch.setattr(files, "MAX_ROUND_BLOCKS", 3)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet"])
def test_a_large_file_becomes_many_archives_and_every_record_is_there_once(
    name, tmp_path, machine, monkeypatch
):
    write(tmp_path / name)
    whole = taken(machine, source(tmp_path / name))[2]
    _small_blocks(monkeypatch)
    parts = taken(Machine(store=str(tmp_path / "other"), num_workers=1), source(tmp_path / name))[2]
    assert len({record["in"] for record in parts}) > 3
    without = [[{k: v for k, v in r.items() if k != "in"} for r in some] for some in (whole, parts)]
    assert without[0] == without[1]


def test_an_interrupted_source_redoes_only_what_was_not_committed(tmp_path, machine, monkeypatch):
    write(tmp_path / "a.jsonl.gz")
    _small_blocks(monkeypatch)
    whole = taken(Machine(store=str(tmp_path / "other"), num_workers=1), source(tmp_path))[0]
    written = []
    real = files._write_block

    def failing(folder, index, block, config):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(index)
        return real(folder, index, block, config)

    monkeypatch.setattr(files, "_write_block", failing)
    with pytest.raises(KeyboardInterrupt):
        taken(machine, source(tmp_path / "a.jsonl.gz"))
    monkeypatch.setattr(files, "_write_block", lambda *call: written.append(call[1]) or real(*call))
    again = taken(machine, source(tmp_path / "a.jsonl.gz"))[0]
    assert written == list(range(len(written)))  # each archive was made once
    assert [f.sha256 for f in again.files] == [f.sha256 for f in whole.files]
