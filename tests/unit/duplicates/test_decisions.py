"""What stays, under each policy, and what takes others with it."""

import random
from pathlib import Path

import numpy as np
import pytest

from flows.params import DedupParams
from tasks.common.manifest import Manifest
from tasks.common.stage import Machine
from tasks.duplicates import spill
from tests.stages import deduplicate, given, judge
from tests.unit.dedup.test_dedup_stage import kept_ids, read, text_of, version


def verdicts(machine: Machine, manifest: Manifest) -> dict[str, dict]:
    return {row["id"]: row for row in read(machine, manifest)}


def copies() -> list[dict]:
    """One text four times: each copy is the best in another respect."""
    text = text_of(1)
    return [
        {"id": "d", "text": text, "source": "a", "fetched_at": "2026-01-01", "quality_score": 0.2},
        {"id": "c", "text": text, "source": "b", "fetched_at": "2026-01-04", "quality_score": None},
        {"id": "b", "text": text + " end", "source": "c", "signals": [("wit", 1.0)]},
        {"id": "a", "text": text, "source": "d", "fetched_at": "2026-01-02", "quality_score": 0.9},
    ]


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"keep": "first"}, "d"),
        ({"keep": "newest"}, "c"),
        ({"keep": "longest"}, "b"),
        ({"keep": "quality"}, "a"),
        ({"keep": "quality", "quality": "wit"}, "b"),
        ({"keep": "quality", "quality": "no such signal"}, "a"),  # ties go to the smaller id
        ({"keep": "source", "preferred_sources": ["nowhere", "b", "a"]}, "c"),
        ({"keep": "source", "preferred_sources": ["nowhere"]}, "a"),
    ],
)
def test_each_policy_keeps_its_own_copy(machine: Machine, settings: dict, kept: str):
    manifest = deduplicate(machine, [given(machine, [copies()])], config=DedupParams(**settings))
    (row,) = read(machine, manifest)
    assert (row["id"], row["cluster_id"], row["cluster_size"]) == (kept, "a", 4)
    assert {row["detail"] for row in read(machine, manifest, "dropped")} == {kept}


def test_one_url_in_several_sources_is_one_document_if_wanted(machine: Machine):
    spelled = ["http://www.site.invalid/x/", "https://site.invalid/x", "https://site.invalid/x#y"]
    pages = [
        version("", day, day, url=url, source=f"s{day}")
        for day, url in zip((1, 3, 2), spelled, strict=True)
    ]
    pages += [version("", None, seed, url="https://site.invalid/undated") for seed in (7, 8)]
    ref = given(machine, [pages])
    assert deduplicate(machine, [ref]).funnel.dropped == {}
    manifest = deduplicate(machine, [ref], config=DedupParams(one_per_url=True))
    assert manifest.funnel.dropped == {"same_url": 3}
    assert kept_ids(machine, manifest) == {".3.3", ".None.7"}


def test_bands_alone_join_what_whole_signatures_tell_apart(machine: Machine):
    words = text_of(1, 200).split()
    half = " ".join(words[:100] + text_of(2, 100).split())  # about a third of the shingles
    ref = given(machine, [[{"id": "whole", "text": " ".join(words)}, {"id": "half", "text": half}]])
    loose = {"num_bands": 56, "rows_per_band": 2}
    joined = deduplicate(machine, [ref], config=DedupParams(**loose))
    assert joined.funnel.dropped == {"near_duplicate": 1}
    checked = deduplicate(machine, [ref], config=DedupParams(**loose, min_similarity=0.5))
    assert checked.funnel.dropped == {}
    low = deduplicate(machine, [ref], config=DedupParams(**loose, min_similarity=0.2))
    assert low.funnel.dropped == {"near_duplicate": 1}


def test_a_wanted_similarity_chooses_the_bands(machine: Machine):
    manifest = judge(machine, [given(machine, [copies()])], config=DedupParams(threshold=0.5))
    near = manifest.metrics["near_copies"]
    assert abs(near["half_found_at"] - 0.5) < 0.06
    assert near["found_at"]["0.50"] < near["found_at"]["0.70"] <= 1


def test_more_bands_than_were_signed_for_are_refused():
    with pytest.raises(ValueError, match="num_permutations=160"):
        DedupParams(num_bands=20)


def site_list(folder: Path, *lines: str) -> list[str]:
    path = folder / "takedown.txt"
    path.write_text("\n".join(("# what must go", *lines)))
    return [str(path)]


def test_a_takedown_takes_versions_and_copies_with_it(machine: Machine, tmp_path: Path):
    text, old_text = text_of(1), text_of(2)
    pages = [
        version("gone/a", 1, 2, id="old"),
        version("gone/a", 2, 1, id="new"),
        version("b", 3, 1, id="copy", text=text + " and more", source="b"),
        version("c", 3, 2, id="copy of the old one", text=old_text.upper()),
        version("d", 1, 9, id="earlier than a copy"),
        version("d", 2, 1, id="later copy"),
        version("e", 1, 3, id="other"),
    ]
    lists = site_list(tmp_path, "https://site.invalid/gone")
    ref = given(machine, [pages[:3], pages[3:]])
    manifest = deduplicate(machine, [ref], config=DedupParams(takedown=lists))
    assert kept_ids(machine, manifest) == {"other"}
    assert manifest.funnel.dropped == {"takedown": 6}
    details = {row["id"]: row["detail"] for row in read(machine, manifest, "dropped")}
    assert details == {
        "old": "site.invalid/gone",
        "new": "site.invalid/gone",
        "copy": "copy of new",
        "copy of the old one": "copy of old",
        "earlier than a copy": "copy of new",
        "later copy": "copy of new",
    }
    config = DedupParams(takedown=lists, takedown_copies=False)
    manifest = deduplicate(machine, [ref], config=config)
    assert kept_ids(machine, manifest) == {"later copy", "copy of the old one", "other"}
    assert manifest.funnel.dropped["takedown"] == 2


def test_what_was_set_aside_before_copies_are_looked_for_is_taken_down_too(
    machine: Machine, tmp_path: Path
):
    pages = [
        version("gone", 1, 1, id="named"),
        version("a", 1, 1, id="old exact copy"),
        version("a", 2, 5, id="its newest version"),
        version("b", 1, 6, id="old version of another text"),
        version("b", 2, 7, id="the newest of that"),
        version("c", 1, 7, id="another source's", url="http://site.invalid/b", source="other"),
        version("d", 1, 1, id="same page, exact copy", url="http://site.invalid/a", source="other"),
    ]
    lists = site_list(tmp_path, "https://site.invalid/gone")
    ref = given(machine, [pages[:4], pages[4:]])
    config = DedupParams(takedown=lists, one_per_url=True)
    manifest = deduplicate(machine, [ref], config=config)
    assert kept_ids(machine, manifest) == {"its newest version", "the newest of that"}
    dropped = {row["id"]: row for row in read(machine, manifest, "dropped")}
    assert {name: row["reason"] for name, row in dropped.items()} == {
        "named": "takedown",
        "old exact copy": "takedown",
        "same page, exact copy": "takedown",
        "old version of another text": "older_version",
        "another source's": "same_url",
    }
    for name in ("old exact copy", "same page, exact copy"):
        assert (dropped[name]["text"], dropped[name]["detail"]) == ("", "copy of named")
    left = DedupParams(takedown=lists, one_per_url=True, takedown_copies=False)
    assert deduplicate(machine, [ref], config=left).funnel.dropped["takedown"] == 1


def test_a_preference_without_sources_is_refused():
    with pytest.raises(ValueError, match="name sources in preferred_sources"):
        DedupParams(keep="source")


def test_a_takedown_list_is_known_by_its_content(machine: Machine, tmp_path: Path):
    ref = given(machine, [[version("a", 1, 1), version("b", 1, 2)]])
    config = DedupParams(takedown=site_list(tmp_path, "site.invalid/a"))
    assert deduplicate(machine, [ref], config=config).funnel.num_kept == 1
    site_list(tmp_path, "site.invalid/a", "site.invalid/b")
    assert deduplicate(machine, [ref], config=config).funnel.num_kept == 0
    site_list(tmp_path, "http://")
    with pytest.raises(ValueError, match="neither a host nor a URL"):
        deduplicate(machine, [ref], config=config)


def test_clusters_and_verdicts_do_not_depend_on_how_much_is_held_in_memory(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
):
    draw = random.Random(1)
    documents = [
        version(str(draw.randrange(40)), draw.randrange(1, 9), draw.randrange(30), id=f"{n:04d}")
        for n in range(300)
    ]
    ref = given(machine, [documents])
    plain = verdicts(machine, judge(machine, [ref]))
    parts = []
    real = spill._repeated
    monkeypatch.setattr(spill.rows_that_share, "__defaults__", (50,))
    monkeypatch.setattr(spill, "_repeated", lambda keys, rows: parts.append(1) or real(keys, rows))
    again = verdicts(machine, judge(machine, [ref], config=DedupParams(preferred_sources=["x"])))
    assert again == plain
    assert len(parts) > 50


def test_a_cluster_of_very_many_equal_documents(machine: Machine):
    text = text_of(1)
    walls = [{"id": f"{n:05d}", "text": text} for n in range(5_000)]
    manifest = judge(machine, [given(machine, [walls])])
    assert manifest.metrics["largest_cluster_documents"] == 5_000
    assert manifest.metrics["clusters_from_size"]["1000"] == 1
    assert manifest.metrics["dropped"] == {"exact_duplicate": 4_999}


def test_cluster_sizes_are_those_of_documents_alike(machine: Machine):
    texts = [text_of(seed) for seed in (1, 1, 1, 2, 2, 3)]
    ref = given(machine, [[{"id": f"{n}", "text": text} for n, text in enumerate(texts)]])
    found = verdicts(machine, judge(machine, [ref]))
    assert [found[f"{n}"]["cluster_size"] for n in range(6)] == [3, 3, 3, 2, 2, 1]
    assert [found[f"{n}"]["cluster_id"] for n in range(6)] == list("000335")
    assert np.all([row["kept_id"] in "035" for row in found.values()])
