"""The stage: what teaches classifiers, what they leave, and that the same teaches the same."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.classifiers.config import ClassifiersConfig, QualityConfig
from tasks.classifiers.stage import STAGE
from tasks.classify.config import ClassifyConfig
from tasks.common.classifier import load_classifiers
from tasks.common.manifest import Manifest
from tasks.common.records import read_records
from tasks.common.stage import Machine
from tasks.common.store import Store
from tasks.common.windows import WINDOW_WORDS
from tests.unit.classifiers.label_server import Reply, answering
from tests.unit.classify.corpus import HARBOUR, KITCHEN, classify, documents, read, text_of, train


def config(**values) -> ClassifiersConfig:
    return ClassifiersConfig.model_validate(values)


def scores(machine: Machine, manifest: Manifest, purpose: str, texts: list[str]) -> list[float]:
    classifier = load_classifiers(Store(machine.store).open(manifest.ref))[purpose]
    return classifier.scores(texts)[:, -1].tolist()


def write_lines(path: Path, records: list) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


@pytest.mark.parametrize("learner", ["windows", "fasttext"])
def test_the_same_documents_teach_the_same_whatever_their_order(tmp_path: Path, learner: str):
    rows = documents()
    learning = {"learner": learner, "dimensions": 8, "buckets": 10_000}
    wanted = config(quality={"reference_sources": ["cooks"]}, learning=learning)
    found = []
    for num_workers, shards in ((1, (rows,)), (2, (rows[100:], rows[:100]))):
        machine = Machine(store=str(tmp_path / str(num_workers)), num_workers=num_workers)
        manifest, _ = train(machine, wanted, *shards)
        assert manifest.metrics["domain"]["accuracy"] == 1.0
        found.append({entry.name: entry.sha256 for entry in manifest.files})
    assert found[0] == found[1]
    suffix = {"windows": "npz", "fasttext": "bin"}[learner]
    assert {f"quality.{suffix}", f"domain.{suffix}", "quality.png", "domain.png"} <= set(found[0])


def test_references_named_by_address_or_linked_from_a_source_are_good(
    tmp_path: Path, machine: Machine
):
    lists = tmp_path / "linked.txt"
    odd = [f"https://www.web.invalid/{n}/\n" for n in range(1, 60, 2)]  # those of the harbour
    lists.write_text("".join(odd[:15]))
    wiki = {"id": "wiki", "text": text_of(HARBOUR, 1), "source": "wiki", "links": odd[15:]}
    rows = [row for row in documents() if row["source"] == "web"] + [wiki]
    by_list = {"referenced_url_files": [str(lists)]}
    by_link = {"referencing_sources": ["wiki"]}
    for quality in (by_list, by_link, by_list | by_link):
        manifest, _ = train(machine, config(quality=quality), rows)
        kitchen, harbour = scores(
            machine, manifest, "quality", [text_of(KITCHEN, 5), text_of(HARBOUR, 5)]
        )
        assert harbour > kitchen


def test_instructions_are_read_whole_and_what_is_no_record_is_counted(
    tmp_path: Path, machine: Machine
):
    asked, answered = text_of(HARBOUR, 99, 9), [text_of(HARBOUR, n) for n in range(40)]
    good = [{"instruction": asked, "response": answer} for answer in answered]
    (tmp_path / "note.txt").write_text(text_of(HARBOUR, 99))
    files = [
        write_lines(tmp_path / "good.jsonl", [*good, {"no": "text"}, 7]),
        str(tmp_path / "note.txt"),
    ]
    manifest, _ = train(
        machine, config(quality={"reference_files": files}), documents(20)[::4], documents(20)[2::4]
    )
    assert manifest.metrics["unusable_records"] == 2
    kitchen, harbour = scores(
        machine, manifest, "quality", [text_of(KITCHEN, 5), text_of(HARBOUR, 5)]
    )
    assert harbour > kitchen


def test_an_amount_grows_with_the_text_and_a_mean_does_not(machine: Machine):
    short = text_of(KITCHEN, 5, WINDOW_WORDS)
    long = " ".join([short] * 10)
    found = {}
    for reading in ("amount", "mean"):
        quality = {"reference_sources": ["cooks"], "reading": reading}
        manifest, _ = train(machine, config(quality=quality), documents())
        found[reading] = scores(machine, manifest, "quality", [short, long, "", "!"])
    assert found["amount"][1] > found["amount"][0] + 0.3
    assert found["mean"][1] == pytest.approx(found["mean"][0], abs=0.1)
    assert all(score != score for score in found["amount"][2:]), "no words, no score"


def test_subjects_and_toxicity_from_files(tmp_path: Path, machine: Machine):
    seeds = [{"text": text_of(KITCHEN, n), "label": "food"} for n in range(40)]
    seeds += [{"text": text_of(HARBOUR, n), "label": "ships & boats"} for n in range(40)]
    labelled = [{"text": text_of(["fool", "idiot"], n), "label": 1} for n in range(40)]
    labelled += [{"text": text_of(KITCHEN, n), "label": 0.2} for n in range(40)]
    labelled += [{"text": "unlabelled"}, {"text": text_of(["fool"], 1), "label": "HATE"}]
    manifest, _ = train(
        machine,
        config(
            domain={"seed_files": [write_lines(tmp_path / "seeds.jsonl", seeds)]},
            toxicity={"files": [write_lines(tmp_path / "rude.jsonl", labelled)]},
        ),
        [{"id": "1", "text": "nothing"}],
    )
    assert manifest.metrics["unusable_records"] == 1
    kind = text_of(KITCHEN, 77, 500)
    harsh = text_of(["fool"], 5)
    mild, rude, hidden = scores(machine, manifest, "toxicity", [kind, harsh, f"{kind} {harsh}"])
    assert rude > 0.5 > mild
    assert hidden > 0.5, "one bad passage is enough"
    kitchen, harbour = scores(
        machine, manifest, "domain", [text_of(KITCHEN, 5), text_of(HARBOUR, 5)]
    )
    assert harbour > 0.5 > kitchen


def test_moved_files_are_the_same_files(tmp_path: Path):
    found = []
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        name = write_lines(tmp_path / folder / "seeds.jsonl", [{"text": "a", "label": "b"}])
        found.append(STAGE.identify(config(domain={"seed_files": [name]}), {"documents": []}))
    assert found[0] == found[1]
    write_lines(tmp_path / "there" / "seeds.jsonl", [{"text": "a", "label": "c"}])
    wanted = config(domain={"seed_files": [str(tmp_path / "there" / "seeds.jsonl")]})
    assert STAGE.identify(wanted, {"documents": []}) != found[0]


def points(prompt: str, _before: int) -> Reply:
    """Points by the share of one vocabulary; now and then none."""
    if prompt.startswith("the "):
        return Reply(content="What?")
    share = sum(word in HARBOUR for word in prompt.split()) / len(prompt.split())
    return Reply(content=f"Because. Score: {min(5, round(10 * share))}")


def test_points_of_a_language_model_are_learned(machine: Machine):
    """Documents have from 0 to 5 points, by their share of one of two vocabularies."""
    rows = [
        {"id": f"d{n}", "text": text_of(HARBOUR * (n % 6) + KITCHEN * (5 - n % 6), n, 200)}
        for n in range(400)
    ]
    with answering(points) as (url, asked):
        labels = {"base_url": url, "model": "judge", "num_documents": 300, "prompt": "{text}"}
        wanted = config(quality={"method": "labels", "labels": labels})
        manifest, taught_by = train(machine, wanted, rows)
    assert len(asked) == 300
    measures = manifest.metrics["quality"]
    assert measures["spearman"] > 0.8
    assert measures["mse"] < 1
    assert manifest.metrics["labels"]["asked"] == 300
    artifact = Store(machine.store).open(manifest.ref)
    labelled = read_records(artifact.fetch("labels.jsonl"))
    unreadable = [record for record in labelled if record["points"] is None]
    assert 0 < manifest.metrics["labels"]["unreadable"] == len(unreadable) < 100
    assert "127.0.0.1" not in manifest.model_dump_json()
    kept = classify(machine, ClassifyConfig(min_quality_score=0.3), manifest, taught_by)
    by_id = {row["id"]: row["quality_score"] for row in read(machine, kept)}
    assert by_id["d5"] > 0.3
    assert "d0" not in by_id


LABELS = {"method": "labels", "labels": {"model": "m"}}
WINDOWS, FASTTEXT = {"learner": "windows"}, {"learner": "fasttext"}


@pytest.mark.parametrize(
    ("chosen", "part", "field", "value", "matters"),
    [
        ({"learning": WINDOWS}, "learning", "dimensions", 8, False),
        ({"learning": WINDOWS}, "learning", "buckets", 9_000, False),
        ({"learning": WINDOWS}, "learning", "epochs", 3, False),
        ({"learning": WINDOWS}, "learning", "learning_rate", 0.1, False),
        ({"learning": WINDOWS}, "learning", "max_windows", 3, True),
        ({"learning": WINDOWS}, "learning", "inverse_penalty", 1.0, True),
        ({"learning": FASTTEXT}, "learning", "dimensions", 8, True),
        ({"learning": FASTTEXT}, "learning", "epochs", 3, True),
        ({"learning": FASTTEXT}, "learning", "max_windows", 3, False),
        ({"learning": FASTTEXT}, "learning", "inverse_penalty", 1.0, False),
        ({"learning": FASTTEXT, "quality": LABELS}, "learning", "max_windows", 3, True),
        ({"quality": LABELS}, "quality", "half_words", 9.0, False),
        ({"quality": LABELS}, "quality", "reading", "mean", False),
        ({"quality": LABELS}, "quality", "other_files", [__file__], False),
        ({}, "quality", "half_words", 9.0, True),
        ({}, "quality", "reading", "mean", True),
    ],
)
def test_what_is_not_heeded_makes_no_other_artifact(chosen, part, field, value, matters):
    changed = {**chosen, part: {**chosen.get(part, {}), field: value}}
    one, other = (STAGE.identity(config(**own)) for own in (chosen, changed))
    assert (one != other) == matters


def test_labels_need_a_model_and_a_prompt_a_place():
    with pytest.raises(ValidationError, match=r"labels\.model"):
        QualityConfig(method="labels")
    with pytest.raises(ValidationError, match="method=labels learns from points alone"):
        QualityConfig(method="labels", labels={"model": "m"}, referencing_sources=["wiki"])
    with pytest.raises(ValidationError, match=r"\{text\}"):
        config(quality={"labels": {"prompt": "Rate this."}})


def test_without_labels_nothing_is_trained(machine: Machine):
    rows = [{**row, "domain": None} for row in documents(5)]
    manifest, taught_by = train(machine, ClassifiersConfig(), rows)
    assert {entry.name for entry in manifest.files} == {"classifiers.json", "held-out.json"}
    scored = classify(machine, ClassifyConfig(), manifest, taught_by)
    assert scored.funnel.num_kept == len(rows)
    assert {row["domain"] for row in read(machine, scored)} == {None}
