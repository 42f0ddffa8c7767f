"""The stage: scores become columns, and thresholds set aside or tag what they say."""

from pathlib import Path

import numpy as np
import pytest

from tasks.classifiers.config import ClassifiersConfig
from tasks.classify.config import ClassifyConfig
from tasks.common.classifier import Classifiers, load_classifiers
from tasks.common.manifest import ArtifactRef, Manifest
from tasks.common.stage import Machine
from tasks.common.store import Store
from tests.stages import given
from tests.unit.classify.corpus import KITCHEN, classify, documents, read, text_of, train

JUDGES = ClassifiersConfig.model_validate({"quality": {"reference_sources": ["cooks"]}})


@pytest.fixture
def taught(machine: Machine) -> tuple[Manifest, ArtifactRef]:
    return train(machine, JUDGES, documents()[::2], documents()[1::2])


def test_subjects_spread_from_the_labelled_to_the_others(machine: Machine, taught):
    for row in read(machine, classify(machine, ClassifyConfig(), *taught)):
        if row["source"] == "web":
            assert row["domain"] == ["home cooking", "sea"][int(row["id"][1:]) % 2]
        if row["source"] in {"web", "cooks", "sailors"}:
            scores = dict(row["domain_scores"])
            assert set(scores) == {"home cooking", "sea"}
            assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
            assert row["domain_score"] == scores[row["domain"]] == max(scores.values())
        assert row["toxicity_score"] is None


def test_quality_is_likeness_to_the_reference_and_the_worst_go(machine: Machine, taught):
    manifest = classify(machine, ClassifyConfig(drop_lowest_share=0.25), *taught)
    rows = {row["id"]: row for row in read(machine, manifest)}
    assert all(rows[f"c{n}"]["quality_score"] is None for n in range(60))
    assert all(f"k{n}" in rows for n in range(60)), "a reference document was dropped"
    dropped = read(machine, manifest, "dropped")
    assert {row["reason"] for row in dropped} == {"low_quality"}
    assert 20 <= len(dropped) <= 30
    kept = [row["quality_score"] for row in rows.values() if row["source"] in {"web", "sailors"}]
    assert max(row["quality_score"] for row in dropped) <= min(kept)


def test_each_group_loses_its_own_worst(machine: Machine, taught):
    config = ClassifyConfig(drop_lowest_share=0.5, worst_share_of="source")
    dropped = read(machine, classify(machine, config, *taught), "dropped")
    for source in ("web", "sailors"):
        assert 28 <= sum(row["source"] == source for row in dropped) <= 30


def test_by_chance_the_good_stay_more_often(machine: Machine, taught):
    """With GPT-3's alpha hardly anything of no quality stays, and not everything good does."""
    manifest = classify(machine, ClassifyConfig(pareto_alpha=9), *taught)
    web = [row for row in read(machine, manifest) if row["source"] == "web"]
    dropped = read(machine, manifest, "dropped")
    assert len(web) < 30
    assert {row["detail"].partition(", ")[2] for row in dropped} == {"by chance"}


def rude(tmp_path: Path, machine: Machine) -> tuple[Manifest, ArtifactRef]:
    lines = [f'{{"text": "{text_of(["fool"], n)}", "label": "toxic"}}\n' for n in range(40)]
    lines += [f'{{"text": "{text_of(KITCHEN, n)}", "label": "fine"}}\n' for n in range(40)]
    (tmp_path / "rude.jsonl").write_text("".join(lines))
    files = {"toxicity": {"files": [str(tmp_path / "rude.jsonl")]}}
    rows = [
        {"id": "bad", "text": text_of(["fool"], 99), "tags": ["old"]},
        {"id": "good", "text": text_of(KITCHEN, 99)},
        {"id": "code", "text": text_of(["fool"], 99), "kind": "code"},
    ]
    return train(machine, ClassifiersConfig.model_validate(files), rows)


def test_the_toxic_are_scored_tagged_or_dropped(tmp_path: Path, machine: Machine):
    taught = rude(tmp_path, machine)
    scored = {row["id"]: row for row in read(machine, classify(machine, ClassifyConfig(), *taught))}
    assert scored["bad"]["toxicity_score"] > 0.5 > scored["good"]["toxicity_score"]
    assert scored["code"]["toxicity_score"] is None
    assert scored["bad"]["tags"] == ["old"]
    manifest = classify(machine, ClassifyConfig(max_toxicity_score=0.5), *taught)
    tags = {row["id"]: row["tags"] for row in read(machine, manifest)}
    assert tags == {"bad": ["old", "toxic"], "good": None, "code": None}
    assert manifest.metrics["num_tagged_toxic"] == 1
    config = ClassifyConfig(max_toxicity_score=0.5, toxicity_action="drop")
    (dropped,) = read(machine, classify(machine, config, *taught), "dropped")
    assert (dropped["id"], dropped["reason"]) == ("bad", "toxic")


def test_a_pinned_classifier_scores_new_documents_as_it_did_old_ones(machine: Machine, taught):
    judges, old = taught
    scored = read(machine, classify(machine, ClassifyConfig(), judges, old))
    before = {row["id"]: row["quality_score"] for row in scored}
    new = given(machine, [[*documents()[:20], {"id": "new", "text": text_of(KITCHEN, 5000)}]])
    assert new != old
    after = read(machine, classify(machine, ClassifyConfig(), judges, new))
    assert all(before[row["id"]] == row["quality_score"] for row in after if row["id"] != "new")


def test_the_same_documents_for_any_number_of_workers(tmp_path: Path):
    found = []
    for num_workers in (1, 2):
        machine = Machine(store=str(tmp_path / str(num_workers)), num_workers=num_workers)
        taught = train(machine, JUDGES, documents()[:100], documents()[100:])
        manifest = classify(machine, ClassifyConfig(drop_lowest_share=0.1), *taught)
        found.append([(entry.name, entry.sha256) for entry in manifest.files])
    assert found[0] == found[1]


def test_several_classifiers_at_once_say_what_each_says_alone(machine: Machine, taught):
    classifiers = load_classifiers(Store(machine.store).open(taught[0].ref))
    assert len(classifiers) == 2
    texts = [row["text"] for row in documents(9)] + [""]
    together = Classifiers(classifiers).scores(texts)
    for purpose, classifier in classifiers.items():
        np.testing.assert_allclose(together[purpose], classifier.scores(texts), rtol=1e-5)
