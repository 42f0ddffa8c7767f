"""The stage: copies go, originals stay, whatever the order, the workers, or a kill."""

import random
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from flows.params import DedupParams
from tasks.common.manifest import Manifest
from tasks.common.stage import Machine
from tasks.common.store import Store
from tests import stages
from tests.stages import given


def text_of(seed: int, num_words: int = 120) -> str:
    draw = random.Random(seed)
    return " ".join(f"w{draw.randrange(5000)}" for _ in range(num_words))


def rows(num_documents: int = 40) -> list[dict]:
    """Originals, an exact copy of each fourth, a near copy of each fifth."""
    found = []
    for n in range(num_documents):
        text = text_of(n)
        found.append({"id": f"{n:03d}-original", "text": text, "fetched_at": "2026-01-01"})
        if n % 4 == 0:
            found.append({"id": f"{n:03d}-exact", "text": text.upper(), "fetched_at": "2026-01-02"})
        if n % 5 == 0:
            near = text + " and three more words"
            found.append({"id": f"{n:03d}-near", "text": near, "fetched_at": "2026-01-03"})
    return found


def shards_of(documents: list[dict], num_shards: int) -> list[list[dict]]:
    return [documents[at::num_shards] for at in range(num_shards)]


def deduplicate(
    machine: Machine, *inputs: list[list[dict]], config: DedupParams | None = None
) -> Manifest:
    refs = [given(machine, shards) for shards in inputs]
    return stages.deduplicate(machine, refs, config=config)


def read(machine: Machine, manifest: Manifest, folder: str = "") -> list[dict]:
    artifact = Store(machine.store).open(manifest.ref)
    names = artifact.names(".parquet", folder)
    return [row for name in names for row in pq.read_table(artifact.fetch(name)).to_pylist()]


def kept_ids(machine: Machine, manifest: Manifest) -> set[str]:
    return {row["id"] for row in read(machine, manifest)}


def test_copies_go_and_name_the_original(machine: Machine):
    manifest = deduplicate(machine, shards_of(rows(), 3))
    assert kept_ids(machine, manifest) == {f"{n:03d}-original" for n in range(40)}
    assert manifest.funnel.dropped == {"exact_duplicate": 10, "near_duplicate": 8}
    for row in read(machine, manifest, "dropped"):
        assert row["detail"] == f"{row['id'][:3]}-original"


def test_the_longest_copy_can_stay(machine: Machine):
    manifest = deduplicate(machine, [rows()], config=DedupParams(keep="longest"))
    kept = kept_ids(machine, manifest)
    assert all((f"{n:03d}-near" in kept) == (n % 5 == 0) for n in range(40))


def test_each_kind_of_copy_can_be_left_in(machine: Machine):
    no_near = deduplicate(machine, [rows()], config=DedupParams(minhash=False))
    assert no_near.funnel.dropped == {"exact_duplicate": 10}
    neither = deduplicate(machine, [rows()], config=DedupParams(minhash=False, exact=False))
    assert neither.funnel.dropped == {}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("keep", ["first", "longest"])
def test_the_order_of_documents_decides_nothing(machine: Machine, seed: int, keep: str):
    config = DedupParams(keep=keep)
    plain = deduplicate(machine, shards_of(rows(), 2), config=config)
    shuffled = rows()
    random.Random(seed).shuffle(shuffled)
    other = deduplicate(machine, shards_of(shuffled, 3), config=config)
    assert kept_ids(machine, plain) == kept_ids(machine, other)


def test_short_texts_are_alike_only_when_equal(machine: Machine):
    shorts = [{"id": f"s{n}", "text": f"just {n}"} for n in range(50)]
    manifest = deduplicate(machine, [[*shorts, {"id": "again", "text": "Just  7"}]])
    assert manifest.funnel.dropped == {"exact_duplicate": 1}
    assert manifest.metrics["largest_cluster_documents"] == 2


def test_one_id_in_two_inputs_is_one_document(machine: Machine):
    mine = [[{"id": "same", "text": text_of(1), "source": "b"}]]
    theirs = [[{"id": "same", "text": text_of(1), "source": "a"}, {"id": "x", "text": text_of(3)}]]
    revised = [[{"id": "same", "text": text_of(2), "source": "c"}]]
    kept = []
    for inputs in ([mine, theirs, revised], [revised, theirs, mine]):
        manifest = deduplicate(machine, *inputs)
        assert manifest.funnel.num_kept == 2
        kept.append(
            sorted((row["id"], row["text"], row["source"]) for row in read(machine, manifest))
        )
    assert kept[0] == kept[1]


def version(page: str, day: int | None, seed: int, **fields: object) -> dict:
    """What a page said on a day of January, or on a day that nobody knows."""
    fetched_at = day and f"2026-01-{day:02d}T00:00:00Z"
    url = f"https://site.invalid/{page}"
    known = {"id": f"{page}.{day}.{seed}", "url": url, "text": text_of(seed)}
    return {**known, "fetched_at": fetched_at, **fields}


def test_of_a_page_only_the_version_that_was_fetched_last_stays(machine: Machine):
    edited = [version("edited", None, 0), version("edited", 2, 1), version("edited", 3, 2)]
    slightly = text_of(4) + " and three more words"
    others = [
        version("elsewhere", 1, 3),
        version("elsewhere", 2, 5, source="another"),  # another source's page is another page
        version("slightly", 1, 4),
        version("slightly", 2, 4, text=slightly),
    ]
    for config in (DedupParams(), DedupParams(keep="longest"), DedupParams(minhash=False)):
        manifest = deduplicate(machine, [edited, others[:3]], [others[3:]], config=config)
        kept = {"edited.3.2", "elsewhere.1.3", "elsewhere.2.5", "slightly.2.4"}
        assert kept_ids(machine, manifest) == kept
        assert manifest.funnel.dropped == {"older_version": 3}
    details = {row["id"]: row["detail"] for row in read(machine, manifest, "dropped")}
    assert details == {
        **dict.fromkeys(["edited.None.0", "edited.2.1"], "edited.3.2"),
        "slightly.1.4": "slightly.2.4",
    }
    manifest = deduplicate(machine, [edited], config=DedupParams(newest_per_url=False))
    assert manifest.funnel.num_kept == 3


def test_nothing_is_a_copy_of_what_a_page_no_longer_says(machine: Machine):
    before, now = version("a", 1, 1), version("a", 2, 2)
    copy_of_before, copy_of_now = version("b", 3, 1), version("c", 1, 2)
    manifest = deduplicate(machine, [[before, now, copy_of_before, copy_of_now]])
    assert kept_ids(machine, manifest) == {"b.3.1", "c.1.2"}
    details = {
        row["id"]: (row["reason"], row["detail"]) for row in read(machine, manifest, "dropped")
    }
    assert details == {
        "a.1.1": ("older_version", "c.1.2"),  # what stands for the page now
        "a.2.2": ("exact_duplicate", "c.1.2"),
    }


def test_without_a_date_or_a_url_nothing_is_older_than_anything(machine: Machine):
    passages = [version("one-page", None, seed) for seed in range(5)]
    nameless = [version("", day, 10 + day, url="") for day in (1, 2, 3)]
    assert deduplicate(machine, [passages, nameless]).funnel.dropped == {}


def test_a_second_that_has_a_fraction_comes_after_its_beginning(machine: Machine):
    times = ["2026-01-01T08:00:00Z", "2026-01-01T08:00:00.5Z"]
    pages = [version("a", None, n, id=str(n), fetched_at=time) for n, time in enumerate(times)]
    assert kept_ids(machine, deduplicate(machine, [pages])) == {"1"}


versions = st.builds(
    version,
    page=st.sampled_from("abc"),
    day=st.sampled_from([None, 1, 2, 3]),
    seed=st.integers(0, 5),
    source=st.sampled_from(["here", "there"]),
)


@settings(max_examples=20, deadline=None)
@drawn(
    documents=st.lists(versions, max_size=14),
    keep=st.sampled_from(["first", "longest"]),
    minhash=st.booleans(),
    data=st.data(),
)
def test_shards_and_order_decide_nothing_and_no_version_stays_that_has_a_newer_one(
    documents: list[dict], keep: str, minhash: bool, data: st.DataObject
):
    for number, document in enumerate(documents):
        document["id"] = f"{number:03d}"
    config = DedupParams(keep=keep, minhash=minhash)
    shuffled = data.draw(st.permutations(documents))
    num_shards = data.draw(st.integers(1, 4))
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(store=folder, num_workers=1)
        kept = kept_ids(machine, deduplicate(machine, [documents], config=config))
        manifest = deduplicate(machine, shards_of(shuffled, num_shards), config=config)
        assert kept_ids(machine, manifest) == kept
        dropped = {row["id"]: row for row in read(machine, manifest, "dropped")}
    pages: dict[tuple[str, str], list[dict]] = {}
    for document in documents:
        pages.setdefault((document["source"], document["url"]), []).append(document)
    for page in pages.values():
        last = max(document["fetched_at"] or "" for document in page)
        assert {d["id"] for d in page if (d["fetched_at"] or "") < last} <= dropped.keys()
        reasons = [dropped[d["id"]]["reason"] for d in page if d["id"] in dropped]
        assert reasons.count("older_version") == (len(page) - 1 if last else 0)
    assert all(row["detail"] in kept for row in dropped.values())
    current = [d for d in documents if dropped.get(d["id"], {}).get("reason") != "older_version"]
    assert {d["text"] for d in current} == {d["text"] for d in documents if d["id"] in kept}


def test_empty_shards_and_empty_corpora_pass(machine: Machine):
    assert deduplicate(machine, [[], rows(4), []]).funnel.num_kept == 4
    assert deduplicate(machine, [[]]).funnel.num_in == 0


def digests(manifest: Manifest) -> dict[str, str]:
    return {entry.name: entry.sha256 for entry in manifest.files}


def test_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path):
    found = []
    for num_workers in (1, 2):
        machine = Machine(store=str(tmp_path / str(num_workers)), num_workers=num_workers)
        found.append(digests(deduplicate(machine, shards_of(rows(), 4))))
    assert found[0] == found[1]
