"""Finding documents by address: the quick way finds what the slow one does."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from tasks.common.manifest import ArtifactRef
from tasks.common.shard import ShardWriter, part_name
from tasks.common.stage import Machine, Outcome, Stage, StageContext, materialise
from tasks.common.store import Store
from tasks.common.story import edits, explain
from tasks.common.trace import (
    Wanted,
    count_kept,
    documents_behind,
    find,
    footprints,
    in_order,
    kept_rows,
    made_of,
)
from tasks.common.url_list import UrlList
from tests.stages import document, given

HOSTS = ("a.example", "www.a.example", "sub.a.example", "b.example", "bücher.example", "127.0.0.1")
SPELLINGS = (
    "https://{}/",
    "http://{}",
    "HTTP://{}:8080/x/y?z=1#part",
    "https://me:secret@{}/x",
    "https:\\\\{}\\x",
    "{}/x/y",
    "http://{}./x%79",
)
OTHERS = ("file://notes/a.txt", "file:pages.warc.gz", "urn:isbn:1", "", "::", "a b", "file://notes")
URLS = [s.format(host) for s in SPELLINGS for host in HOSTS] + [*OTHERS]
ENTRIES = [
    *HOSTS,
    "a.example/x",
    "b.example/x/y?z=1",
    "file://notes",
    "example",
    "xn--bcher-kva.example",
]


@drawn(
    st.lists(st.sampled_from(ENTRIES), min_size=1, unique=True),
    st.lists(st.sampled_from(URLS), max_size=30),
)
def test_rows_are_those_whose_address_the_list_names(entries: list[str], urls: list[str]):
    listed = UrlList(entries)
    table = pa.table(
        {
            "id": pa.array(map(str, range(len(urls))), pa.string()),
            "url": pa.array(urls, pa.string()),
        }
    )
    slow = [row for row, url in enumerate(urls) if listed.match(url)]
    assert Wanted(urls=listed).rows(table) == slow


def test_ids_and_addresses_are_found_together():
    table = pa.table(
        {"id": ["1", "2", "3"], "url": ["https://a.example/", "b", "https://c.example"]}
    )
    assert Wanted(urls=UrlList(["c.example"]), ids=frozenset("1")).rows(table) == [0, 2]


def test_lines_are_compared_as_a_bag():
    assert edits("a\nb\nc", "a\nb\nc") == {}
    assert edits("a\nb\nb\nc", "a\nb\nB") == {
        "lines_removed": 2,
        "lines_added": 1,
        "characters": -2,
    }


@pytest.fixture
def two_sources(machine: Machine) -> Store:
    """Two artifacts; the second has a document of the first, and other ones."""
    row = document(id="0" * 32, url="https://a.example/1", text="one\ntwo")
    given(machine, [[row, document(id="1" * 32, url="https://b.example/", text="x")]])
    given(
        machine,
        [
            [{**row, "text": "one"}],
            [document(id="2" * 32, url="http://a.example/1/below", text="y")],
        ],
    )
    return Store(machine.store)


def test_a_host_is_found_in_every_artifact_and_file(two_sources: Store):
    found = list(find(two_sources, two_sources.manifests(), Wanted(urls=UrlList(["a.example"]))))
    assert sorted(s.row["url"] for s in found) == [
        "http://a.example/1/below",
        *["https://a.example/1"] * 2,
    ]
    assert all(s.kept and "text" not in s.row for s in found)
    touched = footprints(two_sources, Wanted(urls=UrlList(["a.example"])))
    assert sorted(f.num_kept for f in touched) == [1, 2]
    assert footprints(two_sources, Wanted(urls=UrlList(["c.example"]))) == []


def test_an_address_is_explained_without_those_below_it(two_sources: Store):
    answer = explain(two_sources, list(two_sources.manifests()), "http://www.a.example/1/")
    assert [story.id for story in answer.stories] == ["0" * 32]
    above = explain(two_sources, list(two_sources.manifests()), "a.example")
    assert above.stories == []
    assert (above.num_below, len(above.below)) == (2, 2)
    with pytest.raises(ValueError, match="neither an address nor the id"):
        explain(two_sources, [], "::")


class NoConfig(BaseModel):
    model_config = ConfigDict(frozen=True)


def follower(machine: Machine, name: str, *inputs: ArtifactRef) -> ArtifactRef:
    """An artifact of the stage ``name`` without shards, made from others."""

    def write(context: StageContext, _config: NoConfig) -> Outcome:
        (context.path / "weights.bin").write_text(name)
        return Outcome()

    stage = Stage(name=name, version=1, config=NoConfig, inputs=("made_from",), run=write)
    return materialise(stage, NoConfig(), {"made_from": inputs}, machine)[0].ref


def mixture(machine: Machine) -> ArtifactRef:
    """One document to train on, one held out, one set aside."""

    def write(context: StageContext, _config: NoConfig) -> Outcome:
        for folder in ("train/g", "validation/g"):
            with ShardWriter(context.path / folder, 0) as writer:
                url = f"https://{folder.partition('/')[0]}.example/"
                writer.keep(document(id=folder, url=url, text="t"))
                if folder == "train/g":
                    writer.drop(document(id="d", url="https://d.example/", text="t"), "group_cap")
        return Outcome()

    stage = Stage(name="mix", version=1, config=NoConfig, inputs=(), run=write)
    return materialise(stage, NoConfig(), {}, machine)[0].ref


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "train.example",
            dict.fromkeys(("mix", "tokenizer", "tokens", "pretrain", "report"), "holds"),
        ),
        (
            "validation.example",
            {"tokenizer": None}
            | dict.fromkeys(("mix", "tokens", "pretrain", "report"), "held_out"),
        ),
        ("d.example", {"mix": "dropped", "tokens": "untouched", "pretrain": "untouched"}),
    ],
)
def test_what_holds_no_documents_is_as_touched_as_what_it_was_made_from(
    machine: Machine, store: Store, url: str, expected: dict[str, str | None]
):
    mixed = mixture(machine)
    vocabulary = follower(machine, "tokenizer", mixed)
    shards = follower(machine, "tokens", mixed, vocabulary)
    follower(machine, "report", mixed, follower(machine, "pretrain", shards))
    found = {
        f.artifact.partition("/")[0]: f for f in footprints(store, Wanted(urls=UrlList([url])))
    }
    for stage, touch in expected.items():
        assert (found[stage].touch if stage in found else None) == touch, stage
    if url == "d.example":
        assert found["pretrain"].spared_by == [str(mixed)]
        assert found["report"].touch == "dropped"  # it shows samples of what was set aside


def test_what_pinned_classifiers_learned_from_is_not_what_a_corpus_was_made_of(
    machine: Machine, store: Store
):
    old, new = (given(machine, [[document(id=n, url=n, text=n)]]) for n in "12")
    judges = follower(machine, "classifiers", old)
    pinned, own = (follower(machine, "classify", each, judges) for each in (new, old))
    manifests = list(store.manifests())
    assert {m.ref for m in made_of(manifests, pinned)} == {pinned, judges, new}
    assert {m.ref for m in made_of(manifests, own)} == {own, judges, old}
    assert {m.ref for m in made_of(manifests, judges)} == {judges, old}


@pytest.mark.parametrize("stage", ["signatures", "duplicates"])
def test_tables_of_keys_are_no_documents(machine: Machine, store: Store, stage: str):
    def write(context: StageContext, _config: NoConfig) -> Outcome:
        pq.write_table(pa.table({"id": ["1"]}), context.path / part_name(0))
        return Outcome()

    ref = given(machine, [[document(id="1", url="u", text="t")]])
    keys = Stage(name=stage, version=1, config=NoConfig, inputs=("documents",), run=write)
    made, _ = materialise(keys, NoConfig(), {"documents": [ref]}, machine)
    behind = documents_behind(list(store.manifests()), made.ref)
    assert [manifest.ref for manifest in behind] == [ref]


def test_counts_and_rows_agree_and_leave_out_what_was_dropped(machine: Machine, store: Store):
    rows = [
        document(id=str(n), url=f"https://{'ab'[n % 2]}.example/{n}", text="t") for n in range(9)
    ]
    ref = given(machine, [rows[:5], rows[5:]])
    manifest = store.manifest(ref)
    assert count_kept(store, manifest, "hosts") == {("", "a.example"): 5, ("", "b.example"): 4}
    assert count_kept(store, manifest, "sources") == {("", "given", "", ""): 9}
    urls = [row["url"] for _, batch in kept_rows(store, manifest, ["url"]) for row in batch]
    assert urls == [row["url"] for row in rows]
    assert documents_behind([manifest], ref) == [manifest]
    assert made_of([manifest], ref) == in_order([manifest]) == [manifest]


def test_what_is_taken_down_leaves_no_word(tmp_path):
    row = document(
        id="1", url="u", text="secret", title="secret", links=["secret"], signals={"a": 1.0}
    )
    other = document(id="2", url="v", text="kept here", title="too")
    with ShardWriter(tmp_path, 0) as writer:
        writer.keep(row)
        writer.keep(other)
    table = pq.read_table(tmp_path / part_name(0))
    with ShardWriter(tmp_path / "new", 0) as writer:
        writer.split(table, ["takedown", "too_short"], ["a list", None])
    dropped = pq.read_table(tmp_path / "new" / "dropped" / part_name(0)).to_pylist()
    assert "secret" not in str(dropped)
    assert [(r["id"], r["url"], r["reason"], r["detail"], r["text"]) for r in dropped] == [
        ("1", "u", "takedown", "a list", ""),
        ("2", "v", "too_short", None, "kept here"),
    ]
    assert dropped[1]["title"] == "too"
