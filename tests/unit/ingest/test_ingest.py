"""The user's files: each once, under its own name, and every document with an id of its own."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.common.document import document_id
from tasks.common.files import checksums, expand_files
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.ingest.config import IngestConfig
from tasks.ingest.stage import STAGE


def _write(path: Path, *records: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_two_folders_with_a_file_of_one_name_give_both(tmp_path):
    one = _write(tmp_path / "a/train.jsonl", {"text": "a"})
    other = _write(tmp_path / "b/train.jsonl", {"text": "b"})
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert expand_files(paths) == {"train.jsonl": one, "train~2.jsonl": other}
    assert list(expand_files(paths)) == ["train.jsonl", "train~2.jsonl"]
    assert checksums(paths) != checksums(paths[::-1])


def test_a_file_that_many_paths_lead_to_is_there_once(tmp_path):
    file = _write(tmp_path / "a/b/train.jsonl", {"text": "a"})
    (tmp_path / "link").symlink_to(tmp_path / "a")
    paths = [f"{tmp_path}/a/**", str(tmp_path / "a"), str(tmp_path / "link"), str(file)]
    assert list(expand_files(paths).values()) == [file]


def test_hidden_files_of_a_folder_are_left_out(tmp_path):
    file = _write(tmp_path / "train.jsonl", {"text": "a"})
    _write(tmp_path / ".DS_Store")
    _write(tmp_path / ".cache/old.jsonl", {"text": "b"})
    assert expand_files([str(tmp_path)]) == {"train.jsonl": file}


def test_a_path_that_leads_to_nothing_is_named(tmp_path):
    with pytest.raises(ValueError, match="nothing-here"):
        expand_files([str(tmp_path / "nothing-here*")])


def _ingested(machine: Machine, store: Store, *paths: Path) -> list[dict]:
    config = IngestConfig(paths=[str(path) for path in paths], kind="code")
    manifest, _ = materialise(STAGE, config, {}, machine)
    artifact = store.open(manifest.ref)
    names = [name for name in artifact.names(".parquet") if "dropped" not in name]
    return [row for name in names for row in pq.read_table(artifact.fetch(name)).to_pylist()]


def test_files_that_both_count_from_zero_do_not_collide(machine, store, tmp_path):
    records = [{"id": str(n), "text": f"text {n}"} for n in range(3)]
    files = [_write(tmp_path / name, *records) for name in ("a.jsonl", "b.jsonl")]
    ids = [row["id"] for row in _ingested(machine, store, *files)]
    assert len(set(ids)) == 6
    assert all(len(bytes.fromhex(own)) == 16 for own in ids)


def test_an_id_of_ours_stays(machine, store, tmp_path):
    own = document_id("https://a.example", "")
    (row,) = _ingested(machine, store, _write(tmp_path / "a.jsonl", {"id": own, "text": "t"}))
    assert row["id"] == own


def test_a_kind_without_rules_becomes_the_configured_one(machine, store, tmp_path):
    records = [{"text": "t", "kind": kind} for kind in ("article", "prose", "code")]
    rows = _ingested(machine, store, _write(tmp_path / "a.jsonl", *records))
    assert [row["kind"] for row in rows] == ["code", "prose", "code"]


def test_columns_of_every_type_come_through_and_what_does_not_fit_is_left_out(
    machine, store, tmp_path
):
    fitting = {
        "links": ["https://b.example", "https://c.example"],
        "author": "A. B.",
        "date": "2024-02-03",
        "quality_score": 0.5,
    }
    numbers = {
        "cluster_size": 3,
        "toxicity_score": 1,
        "signals": {"rps_doc_word_count": 50, "half\ud800": 0.5, "unknown": None},
        "language_shares": [["en", 0.75], ["de", 0.25]],
    }
    fitting |= numbers
    wrong = {"links": "https://b.example", "author": ["A", "B"], "date": 2024, "title": {}}
    wrong |= {"cluster_size": True, "quality_score": "1", "toxicity_score": 10**400}
    wrong |= {"signals": {"a": "b"}, "language_shares": ["en"], "domain_scores": 0.5}
    odd = {"links": ["a", 1], "title": "half \ud800 of one\0", "cluster_size": 2**31}
    odd |= {"quality_score": False, "domain_scores": {"a": True}, "signals": [["a", 1, 2]]}
    records = [{"text": "t", **fields} for fields in (fitting, wrong, odd)]
    paths = [_write(tmp_path / "a.jsonl", *records), tmp_path / "b.parquet"]
    shares = pa.array([[("en", 0.75), ("de", 0.25)]], pa.map_(pa.string(), pa.float64()))
    plain = {name: value for name, value in records[0].items() if name != "language_shares"}
    plain["signals"] = {"rps_doc_word_count": 50, "half?": 0.5, "unknown": None}
    table = pa.Table.from_pylist([plain]).append_column("language_shares", shares)
    pq.write_table(table, paths[1])
    rows = _ingested(machine, store, *paths)
    fitting["signals"] = [("rps_doc_word_count", 50), ("half?", 0.5)]
    fitting["language_shares"] = [("en", 0.75), ("de", 0.25)]
    assert [{name: row[name] for name in fitting} for row in (rows[0], rows[3])] == [fitting] * 2
    for row, odds in ((rows[1], wrong), (rows[2], odd)):
        assert {row[name] for name in odds if name != "title"} == {None}
    assert rows[1]["title"] is None
    assert rows[2]["title"] == "half ? of one"
