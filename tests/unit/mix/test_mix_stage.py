"""The stage: nothing lost, nothing on both sides of the fence, the same for any shard order."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from tasks.common.manifest import Manifest
from tasks.common.mix_table import MixWeight, Phase, Step
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store, Workspace
from tasks.mix.config import MixConfig, QualityCutoff
from tasks.mix.select import Fence, stepwise
from tasks.mix.stage import STAGE
from tests.stages import given

WEB = [{"id": f"w{n}", "text": f"web page {n} " * 20, "source": "web"} for n in range(150)]
BOOKS = [{"id": f"b{n}", "text": f"book {n} " * 90, "source": "my books/1"} for n in range(40)]


def rows_in(store: Store, manifest: Manifest, folder: str) -> list[str]:
    names = [
        e.name for e in manifest.files if e.name.startswith(folder) and "dropped" not in e.name
    ]
    artifact = store.open(manifest.ref)
    return [
        row
        for name in names
        if name.endswith(".parquet")
        for row in pq.read_table(artifact.fetch(name))["id"].to_pylist()
    ]


def test_every_document_is_on_one_side_of_the_fence(machine: Machine, store: Store):
    documents = given(machine, [WEB[:50], WEB[50:] + BOOKS[:5], BOOKS[5:]])
    config = MixConfig(
        weights=[MixWeight(group="my books/1", weight=2.0)],
        token_budget=20_000,
        validation_share=0.1,
        shard_bytes=5_000,
    )
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    train, held_out = (rows_in(store, manifest, split) for split in ("train/", "validation/"))
    assert sorted(train + held_out) == sorted(row["id"] for row in WEB + BOOKS)
    web = rows_in(store, manifest, "train/web/")
    assert web != sorted(web, key=lambda name: int(name[1:]))  # shuffled
    assert sum(e.name.startswith("train/web/part") for e in manifest.files) > 3
    table = json.loads(store.open(manifest.ref).fetch("mixture.json").read_text())
    assert table == manifest.metrics["mixture"]
    books, pages = table["groups"]
    assert books["folder"] == "my%20books%2F1"
    assert pages["documents"] == len(web)
    assert books["weight"] == pytest.approx(
        2 / (2 + pages["bytes"] / (pages["bytes"] + books["bytes"])), rel=1e-3
    )
    assert books["target_tokens"] + pages["target_tokens"] == pytest.approx(20_000, abs=2)


def test_order_and_number_of_shards_do_not_matter(machine: Machine, store: Store):
    def content(shards: list[list[dict]]) -> list[tuple[str, str]]:
        documents = given(machine, shards)
        manifest, _ = materialise(STAGE, MixConfig(), {"documents": [documents]}, machine)
        return [(entry.name, entry.sha256) for entry in manifest.files]

    assert content([WEB, BOOKS]) == content([BOOKS[::-1], WEB[70:], WEB[:70]])


def test_a_cap_sets_a_random_rest_aside(machine: Machine, store: Store):
    documents = given(machine, [WEB, BOOKS])
    config = MixConfig(max_bytes_per_group=10_000, shard_bytes=4_000)
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    assert manifest.funnel.dropped["group_cap"] > 0
    assert all(group["bytes"] <= 10_000 for group in manifest.metrics["mixture"]["groups"])


def test_the_fence_stands_still_when_documents_come(machine: Machine, store: Store):
    held_out = []
    for rows in (WEB[:100], WEB):
        documents = given(machine, [rows])
        config = MixConfig(validation_share=0.2, seed=len(rows))
        manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
        held_out.append(set(rows_in(store, manifest, "validation/")))
    assert held_out[0] <= held_out[1]


def test_an_empty_corpus_is_refused(machine: Machine):
    with pytest.raises(ValueError, match="no documents came this far"):
        materialise(STAGE, MixConfig(), {"documents": [given(machine, [[]])]}, machine)


@drawn(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20, unique=True),
    st.floats(0.01, 0.99),
    st.integers(0, 20),
)
def test_every_group_has_something_to_train_on(ranks, share, cut):
    fence, ranks = Fence(share), np.array(ranks, np.uint64)
    fence.add(ranks[:cut])
    fence.add(ranks[cut:])
    held_out = fence.is_held_out(ranks)
    assert not held_out.all()
    assert held_out.any() == (len(ranks) > 1)
    settled = np.concatenate([fence.is_held_out(ranks[:cut]), fence.is_held_out(ranks[cut:])])
    assert (settled == held_out).all()


def scored(number: int, group: str, **fields) -> dict:
    text = f"{group} {number} " * (5 + number)
    return {"id": f"{group}{number}", "text": text, "source": group, **fields}


def made(machine: Machine, shards: list[list[dict]], **config) -> Manifest:
    documents = given(machine, shards)
    config = {"validation_share": 0.0, "max_epochs": 100.0, **config}
    return materialise(STAGE, MixConfig(**config), {"documents": [documents]}, machine)[0]


def test_cutoffs_keep_the_best_of_each_group(machine: Machine, store: Store):
    rows = [scored(n, group, quality_score=n / 40) for group in ("a", "b", "c") for n in range(40)]
    manifest = made(
        machine,
        [rows[:50], rows[50:]],
        cutoffs=[
            QualityCutoff(group="a", keep_share=0.25),
            QualityCutoff(group="b", min_score=0.5),
            QualityCutoff(group="*", min_score=0.25, keep_share=0.1),
        ],
    )
    assert sorted(rows_in(store, manifest, "train/a/")) == sorted(f"a{n}" for n in range(30, 40))
    assert sorted(rows_in(store, manifest, "train/b/")) == sorted(f"b{n}" for n in range(20, 40))
    assert sorted(rows_in(store, manifest, "train/c/")) == sorted(f"c{n}" for n in range(36, 40))
    assert manifest.funnel.dropped == {"quality_cutoff": 30 + 20 + 36}


def test_what_has_no_score_cannot_be_cut_by_it(machine: Machine, store: Store):
    rows = [scored(n, "a", quality_score=None if n % 2 else n / 40) for n in range(40)]
    kept = made(machine, [rows], cutoffs=[QualityCutoff(group="a", keep_share=0.5)])
    assert sorted(rows_in(store, kept, "train/a/")) == sorted(f"a{n}" for n in range(0, 40, 2))
    with pytest.raises(ValueError, match="none of its documents has a quality_score"):
        made(machine, [WEB], cutoffs=[QualityCutoff(group="*", keep_share=0.5)])
    with pytest.raises(ValueError, match=r"cutoffs for \['shop'\]"):
        made(machine, [WEB], cutoffs=[QualityCutoff(group="shop", keep_share=0.5)])


def test_what_has_no_score_is_kept_whole_beside_a_cutoff_of_all(machine: Machine, store: Store):
    prose = [scored(n, "a", quality_score=n / 40) for n in range(40)]
    code = [scored(n, "code") for n in range(20)]
    of_all = QualityCutoff(group="*", min_score=0.5)
    with pytest.raises(ValueError, match=r"'code'.* a cut-off of its own without a score"):
        made(machine, [prose, code], cutoffs=[of_all])
    manifest = made(machine, [prose, code], cutoffs=[of_all, QualityCutoff(group="code")])
    assert len(rows_in(store, manifest, "train/code/")) == len(rows_in(store, manifest, "train/a/"))
    assert manifest.funnel.dropped == {"quality_cutoff": 20}


FINEWEB2 = [
    Step(at_least=at_least, times=times)
    for at_least, times in ((2, 2), (3, 3), (5, 5), (100, 8), (1000, 1))
]


def test_rehydration_counts_copies_as_fineweb2_does():
    sizes = np.array([1, 2, 3, 4, 5, 99, 100, 999, 1000, 10**6])
    assert stepwise(FINEWEB2, sizes).tolist() == [1, 2, 3, 3, 5, 5, 8, 8, 1, 1]


def test_rehydrated_documents_are_drawn_more_often(machine: Machine, store: Store):
    rows = [scored(n, "a", cluster_size=(1, 2, 7)[n % 3]) for n in range(60)]
    manifest = made(machine, [rows], rehydrate=FINEWEB2, token_budget=5_000)
    (row,) = manifest.metrics["mixture"]["groups"]
    epochs = {tuple(p["times"]): p["epochs"] for p in row["portions"]}
    assert epochs[2.0,] == pytest.approx(2 * epochs[1.0,], rel=1e-4)
    assert epochs[5.0,] == pytest.approx(5 * epochs[1.0,], rel=1e-4)
    fives = rows_in(store, manifest, "train/a/5/")
    assert sorted(fives) == sorted(f"a{n}" for n in range(2, 60, 3))


def test_a_phase_at_its_epoch_limit_is_said_though_the_mixture_is_large(
    machine: Machine, caplog: pytest.LogCaptureFixture
):
    rows = [scored(n, "a", quality_score=n / 40) for n in range(40)]
    phases = [Phase(name="anneal", share=0.5, min_quality=0.9)]
    made(machine, [rows], token_budget=2_000, max_epochs=4.0, phases=phases)
    (said,) = [r.getMessage() for r in caplog.records if "epoch limit" in r.getMessage()]
    assert "phase anneal" in said


def test_phases_choose_by_quality_and_length(machine: Machine, store: Store):
    rows = [scored(n, group, quality_score=n / 40) for group in ("a", "b") for n in range(40)]
    manifest = made(
        machine,
        [rows],
        token_budget=1_000,
        phases=[
            Phase(name="anneal", share=0.2, keep_share=0.25, groups=["a"]),
            Phase(
                name="long",
                share=0.1,
                min_bytes=60,
                length_steps=[Step(at_least=120, times=3)],
                weights=[MixWeight(group="a", weight=0.5), MixWeight(group="b", weight=0.5)],
            ),
        ],
    )
    table = manifest.metrics["mixture"]
    portions = {p["name"]: p for row in table["groups"] for p in row["portions"]}
    length = {row["id"]: len(row["text"]) for row in rows}
    seen = set()
    for own in portions.values():
        _, anneal, long = own["times"]
        for name in rows_in(store, manifest, f"train/{own['folder']}/"):
            seen.add(name)
            assert anneal == (name[0] == "a" and int(name[1:]) >= 30)
            assert long == (3 if length[name] >= 120 else length[name] >= 60)
    assert seen == length.keys()
    main, anneal, long = table["phases"]
    assert [p["share"] for p in table["phases"]] == pytest.approx([0.7, 0.2, 0.1])
    assert set(main["weights"]) == set(portions)
    assert {portions[name]["times"][1] for name in anneal["weights"]} == {1.0}
    of_a = sum(weight for name, weight in long["weights"].items() if name.startswith("a"))
    assert of_a == pytest.approx(0.5)


def test_mixing_in_pieces_and_after_kills_makes_the_same_bytes(machine: Machine, store: Store):
    """Each attempt dies after one more committed piece; the last one finds all the others'."""
    config = MixConfig(shard_bytes=4_000, validation_share=0.1, max_bytes_per_group=60_000)
    shards = [WEB[:60], WEB[60:] + BOOKS[:20], BOOKS[20:]]
    whole, _ = materialise(STAGE, config, {"documents": [given(machine, shards)]}, machine)
    other = Machine(store=f"{machine.store}-other", num_workers=1)
    documents = {"documents": [given(other, shards)]}
    num_attempts = 0
    while True:
        num_attempts += 1
        commits = iter(range(3))
        real = Workspace.commit

        def commit(self, key, *args, commits=commits, real=real):
            real(self, key, *args)
            if next(commits, None) is None:
                raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Workspace, "commit", commit)
            try:
                found, _ = materialise(STAGE, config, documents, other)
                break
            except KeyboardInterrupt:
                continue
    assert num_attempts > 5
    assert [(e.name, e.sha256) for e in found.files] == [(e.name, e.sha256) for e in whole.files]


def test_workers_do_not_change_the_bytes(machine: Machine):
    shards = [WEB[:60], WEB[60:] + BOOKS[:20], BOOKS[20:]]
    entries = []
    for num_workers in (1, 2):
        own = Machine(store=f"{machine.store}-{num_workers}", num_workers=num_workers)
        config = MixConfig(shard_bytes=4_000, max_epochs=50)
        found, _ = materialise(STAGE, config, {"documents": [given(own, shards)]}, own)
        entries.append([(e.name, e.sha256) for e in found.files])
    assert entries[0] == entries[1]
