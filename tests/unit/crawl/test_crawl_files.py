"""Files and archives as sources: what enters, under which names, and what decides the artifact."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fastwarc.warc import ArchiveIterator

from tasks.common.manifest import Manifest
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.crawl.config import SourceConfig
from tasks.crawl.stage import STAGE


def files(*paths: Path, **fields: object) -> SourceConfig:
    return SourceConfig(name="notes", **{"type": "files", "paths": [*map(str, paths)], **fields})


def write(folder: Path, **contents: bytes) -> Path:
    """Files named like ``a__b_py`` for ``a/b.py``."""
    for name, content in contents.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def take(machine: Machine, config: SourceConfig) -> tuple[Manifest, dict[str, dict], dict]:
    """The manifest, the page table by URL, and the records by URL."""
    manifest, _ = materialise(STAGE, config, {}, machine)
    artifact = Store(machine.store).open(manifest.ref)
    rows = {r["url"]: r for r in pq.read_table(artifact.fetch("pages.parquet")).to_pylist()}
    records = {}
    for name in artifact.names(".warc.gz") if config.type == "files" else []:
        with artifact.fetch(name).open("rb") as file:
            for record in ArchiveIterator(file):
                url, content_type = record.headers.get("WARC-Target-URI"), record.headers
                records[url] = (content_type["Content-Type"], record.reader.read(), name)
    records.pop(None, None)
    return manifest, rows, records


def test_each_file_is_a_record_under_its_logical_name(tmp_path, machine):
    folder = write(tmp_path / "in", a_py=b"x = 1\n", sub__b_md="# Grüße\n".encode())
    _, rows, records = take(machine, files(folder))
    assert {url: record[:2] for url, record in records.items()} == {
        "file://notes/a.py": ("text/x-python", b"x = 1\n"),
        "file://notes/sub/b.md": ("text/markdown", "# Grüße\n".encode()),
    }
    assert {url: row["shard"] for url, row in rows.items()} == {
        url: record[2] for url, record in records.items()
    }


def test_what_is_no_text_is_set_aside_with_its_reason(tmp_path, machine):
    folder = write(
        tmp_path / "in",
        good_py=b"1\n",
        empty_py=b" \n",
        binary_py=b"a\0b",
        latin_py=b"\xfc\n",
        utf16_txt="\ufeffGrüße".encode("utf-16-le"),
        controls_txt=bytes(range(1, 256)) * 3,
        fake_pdf=b"no such thing",
        big_py=b"x" * 5000,
    )
    manifest, rows, _ = take(machine, files(folder, max_page_bytes=1024))
    assert {url.rpartition("/")[2]: row["reason"] for url, row in rows.items()} == {
        "good.py": None,
        "empty.py": "empty",
        "binary.py": "binary",
        "latin.py": None,
        "utf16.txt": None,
        "controls.txt": "binary",
        "fake.pdf": "not_pdf",
        "big.py": "too_large",
    }
    assert manifest.funnel.num_kept == 3


def test_patterns_include_and_exclude_choose_files(tmp_path):
    folder = write(tmp_path, a_py=b"1", a_md=b"1", sub__b_py=b"1", sub__test_py=b"1", _git__c=b"1")
    chosen = STAGE.identity(files(folder, patterns=["*.py"], exclude=[r"(^|/)test\."]))
    assert set(chosen["files"]) == {"a.py", "sub/b.py"}


def test_equal_names_of_two_paths_both_stay(tmp_path, machine):
    one = write(tmp_path / "one", a_py=b"1\n")
    two = write(tmp_path / "two", a_py=b"2\n")
    _, _, records = take(machine, files(one, two))
    assert {url: record[1] for url, record in records.items()} == {
        "file://notes/a.py": b"1\n",
        "file://notes/a~2.py": b"2\n",
    }


def test_the_place_of_files_is_not_part_of_the_artifact_but_their_content_is(tmp_path):
    def ref(folder: str, content: bytes, suffix: str = "") -> object:
        write(tmp_path / folder, sub__a_py=content)
        return STAGE.identify(files(Path(f"{tmp_path / folder}{suffix}")), {}).ref()

    assert ref("here", b"1") == ref("there", b"1") == ref("here", b"1", "/**/*.py")
    assert ref("here", b"1") != ref("elsewhere", b"2")


def test_the_number_of_workers_does_not_change_the_bytes(tmp_path):
    for number in range(230):
        write(tmp_path / "in", **{f"file{number}_py": f"x = {number}\n".encode()})
    made = []
    for workers in (1, 2):
        machine = Machine(store=str(tmp_path / str(workers)), num_workers=workers)
        manifest, _, records = take(machine, files(tmp_path / "in"))
        assert len(records) == 230
        made.append([(entry.name, entry.sha256) for entry in manifest.files])
    assert made[0] == made[1]
    assert len(made[0]) == 4  # three archives of at most a hundred files, and the table


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.*correct it"):
        STAGE.identify(files(tmp_path / "nowhere"), {})


def test_archives_come_in_unchanged_whatever_is_in_them(tmp_path, machine):
    contents = {
        "one/a.warc.gz": b"damaged",
        "two/a.warc.gz": b"another",
        "one/b.warc.wet.gz": b"text",
        "one/c.warc": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "one/readme.txt").write_bytes(b"not an archive")
    config = files(tmp_path / "one", tmp_path / "two", type="warc")
    manifest, rows, _ = take(machine, config)
    artifact = Store(machine.store).open(manifest.ref)
    found = {name: artifact.fetch(name).read_bytes() for name in artifact.names()}
    found.pop("pages.parquet")
    assert found == {
        "a.warc.gz": b"damaged",
        "a~2.warc.gz": b"another",
        "b.warc.wet.gz": b"text",
        "c.warc": b"",
    }
    assert manifest.funnel.num_kept == len(rows) == 4


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"type": "web", "snapshot": "1"}, "no seeds"),
        ({"type": "web", "seeds": ["http://a.test"]}, "no snapshot"),
        ({"type": "web", "snapshot": "1", "seeds": ["ftp://a.test"]}, "ftp://a.test"),
        ({"type": "files"}, "no paths"),
        ({"type": "code"}, "no paths"),
        ({"type": "files", "paths": ["x"], "columns": {"words": "x"}}, "columns"),
        ({"type": "python-docs", "include": ["("]}, "not a regular expression"),
        ({"type": "python-docs", "user_agent": "a\r\nX: b"}, "one line"),
    ],
)
def test_a_mistake_in_a_source_is_named(fields, complaint):
    with pytest.raises(ValueError, match=complaint):
        SourceConfig(name="source", **fields)
