"""The stage: columns filled, drops counted by first rule and by every rule."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.common.report_markdown import stage_markdown
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.filter.config import FilterConfig
from tasks.filter.decontamination.config import DecontaminationRules
from tasks.filter.personal.config import KindRule, PersonalDataRules
from tasks.filter.signals import signals
from tasks.filter.stage import STAGE
from tests.stages import given
from tests.unit.filter.test_filter_rules import GOOD

CODE = "def add(a, b):\n    return a + b\n" * 5
ROWS = [
    {"id": "good", "text": GOOD},
    {"id": "code", "text": CODE, "kind": "code"},
    {"id": "short", "text": "To be."},
    {"id": "german", "text": "Alle Menschen sind frei und gleich an Würde geboren. " * 20},
]


def test_first_reasons_and_lonely_reasons(machine: Machine, store: Store):
    documents = given(machine, [ROWS, []])
    config = FilterConfig(recipes=["gopher-quality", "code"])
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    assert manifest.funnel.num_kept == 2
    assert sum(manifest.funnel.dropped.values()) == 2
    assert manifest.funnel.dropped["language"] >= 1
    assert manifest.metrics["would_drop"]["word_count"] == 1
    assert manifest.metrics["alone_drops"].get("word_count", 0) == 0, "it has no stop words either"
    report = stage_markdown(manifest, was_cached=False)
    assert "| rule | drops first | would drop | and no other would |" in report
    first = manifest.funnel.dropped.get("word_count", 0)
    assert f"| word_count | {first} | 1 | 0 |" in report
    artifact = store.open(manifest.ref)
    kept = pq.read_table(artifact.fetch("part-00000.parquet")).to_pylist()
    assert [(row["id"], row["language"]) for row in kept] == [("good", "en"), ("code", None)]
    assert len(pq.read_table(artifact.fetch("part-00001.parquet"))) == 0
    dropped = pq.read_table(artifact.fetch("dropped/part-00000.parquet")).to_pylist()
    assert all(row["detail"] for row in dropped), "each says what was measured and what is allowed"


def test_what_was_changed_in_kept_texts_is_counted(machine: Machine, store: Store):
    text = GOOD.replace("bread", "bread from jane@firma.de at 93.184.216.34") + "\nMenu"
    documents = given(
        machine, [[{"id": "kept", "text": text}, {"id": "gone", "text": "x@firma.de"}]]
    )
    config = FilterConfig(recipes=["gopher-quality", "c4", "fineweb"])
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    assert manifest.metrics["removed_lines"] == {"few_words": 1}
    assert manifest.metrics["personal_data"] == {"email": 1, "ip": 1}
    artifact = store.open(manifest.ref)
    (kept,) = pq.read_table(artifact.fetch("part-00000.parquet"))["text"].to_pylist()
    assert kept == GOOD.replace("bread", "bread from someone@example.org at 192.0.2.1")
    (gone,) = pq.read_table(artifact.fetch("dropped/part-00000.parquet"))["text"].to_pylist()
    assert gone == "x@firma.de", "what is set aside is kept as it was"


OPEN = FilterConfig(languages=[], recipes=[])
ITEM = "Which gas do plants take in from the air while the sun shines on their green leaves?"
FILLER = "Somebody wrote a long and quiet story about bread, butter and the sea. " * 12


def quiz(folder: Path, *questions: str) -> str:
    lines = [json.dumps({"id": f"q{n}", "question": q}) for n, q in enumerate(questions)]
    (folder / "quiz.jsonl").write_text("\n".join(lines))
    return str(folder / "quiz.jsonl")


def decontaminating(path: str, **rules: Any) -> FilterConfig:
    return OPEN.model_copy(update={"decontamination": DecontaminationRules(suites=[path], **rules)})


def scrubbing(**rules: Any) -> FilterConfig:
    return OPEN.model_copy(update={"personal_data": PersonalDataRules(**rules)})


def test_what_overlaps_with_a_suite_is_cut_out_and_reported(
    machine: Machine, store: Store, tmp_path: Path
):
    rows = [
        {"id": "clean", "text": FILLER},
        {"id": "long", "text": FILLER + ITEM + " " + FILLER},
        {"id": "short", "text": ITEM},
    ]
    documents = given(machine, [rows, [{"id": "other", "text": FILLER + ITEM.upper()}]])
    config = decontaminating(quiz(tmp_path, ITEM, "Who wrote it, and when was that, and why so?"))
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    assert manifest.funnel.dropped == {"contaminated": 1}
    (table,) = manifest.metrics["contamination"]
    assert table == {
        "suite": "quiz",
        "fields": "question",
        "items": 2,
        "items_found": 1,
        "documents": 3,
        "spans": 3,
    }
    artifact = store.open(manifest.ref)
    report = list(map(json.loads, artifact.fetch("contamination.jsonl").read_text().splitlines()))
    assert [(row["document"], row["action"]) for row in report] == [
        ("long", "cut"),
        ("short", "dropped"),
        ("other", "cut"),
    ]
    assert {(row["suite"], row["item"]) for row in report} == {("quiz", "q0")}
    assert report[2]["text"] == ITEM.upper().rstrip("?")
    kept = pq.read_table(artifact.fetch("part-00000.parquet")).to_pylist()
    (dropped,) = pq.read_table(artifact.fetch("dropped/part-00000.parquet")).to_pylist()
    assert (dropped["reason"], dropped["detail"]) == ("contaminated", "quiz")
    assert kept[0]["text"] == FILLER
    assert "green leaves" not in kept[1]["text"]
    assert "| quiz | question | 2 | 1 | 3 | 3 |" in stage_markdown(manifest, was_cached=False)


def test_a_phrase_of_many_documents_is_no_overlap_whatever_shards_they_are_in(
    machine: Machine, tmp_path: Path
):
    path = quiz(tmp_path, ITEM)
    rows = [{"id": str(n), "text": f"{n} {FILLER} {ITEM}"} for n in range(4)]
    copies = [{"id": f"copy {n}", "text": rows[0]["text"]} for n in range(4)]
    for shards in ([rows + copies], [[row] for row in rows + copies]):
        documents = given(machine, shards)
        for limit, num_found in ((4, 8), (3, 0), (0, 8)):
            config = decontaminating(path, max_documents=limit, action="document")
            manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
            assert manifest.metrics["contamination"][0]["documents"] == num_found


def test_lines_that_c4_removes_hide_no_overlap(machine: Machine, tmp_path: Path):
    words = ITEM.split()
    text = f"{FILLER}\n{' '.join(words[:8])}\nMenu\n{' '.join(words[8:])}\n{FILLER}"
    documents = given(machine, [[{"id": "split", "text": text}]])
    config = decontaminating(quiz(tmp_path, ITEM)).model_copy(update={"recipes": ["c4"]})
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    assert manifest.metrics["removed_lines"] == {"few_words": 1}
    assert manifest.metrics["contamination"][0]["documents"] == 1


def test_tags_join_those_that_are_there(machine: Machine, store: Store, tmp_path: Path):
    text = f"{FILLER} {ITEM} jane@firma.de"
    documents = given(machine, [[{"id": "one", "text": text, "tags": ["before"]}]])
    rules = PersonalDataRules(email=KindRule(action="tag"))
    config = decontaminating(quiz(tmp_path, ITEM), action="tag")
    config = config.model_copy(update={"personal_data": rules})
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    (row,) = pq.read_table(store.open(manifest.ref).fetch("part-00000.parquet")).to_pylist()
    assert row["text"] == text
    assert row["tags"] == ["before", "contaminated:quiz", "personal_data:email"]


def test_documents_full_of_personal_data_are_dropped_with_the_reason(
    machine: Machine, store: Store
):
    text = f"{FILLER}\nMenu\na@firma.de b@firma.de c@firma.de"
    documents = given(machine, [[{"id": "list", "url": "http://[x", "text": text}]])
    config = scrubbing(drop_above=2).model_copy(update={"recipes": ["c4"]})
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    dropped = store.open(manifest.ref).fetch("dropped/part-00000.parquet")
    assert pq.read_table(dropped)["text"].to_pylist() == [text], "as it was"
    assert manifest.funnel.dropped == {"personal_data": 1}
    assert manifest.metrics["would_drop"] == {"personal_data": 1}
    assert pq.read_table(dropped)["detail"].to_pylist() == ["personal_data 3 > 2"]
    counted = {name: manifest.metrics[name] for name in ("personal_data", "removed_lines")}
    assert counted == {"personal_data": {}, "removed_lines": {}}, "only what was changed counts"


def test_signals_are_of_the_text_that_is_kept(machine: Machine, store: Store):
    documents = given(machine, [[{"id": "one", "text": f"{GOOD}\nMenu"}]])
    config = OPEN.model_copy(update={"recipes": ["c4"], "signals": True})
    manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
    (row,) = pq.read_table(store.open(manifest.ref).fetch("part-00000.parquet")).to_pylist()
    assert row["text"] == GOOD
    assert dict(row["signals"]) == pytest.approx(signals([GOOD])[0])


def test_suites_enter_the_identity_by_what_is_in_them(tmp_path: Path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    before = ref(decontaminating(quiz(tmp_path, ITEM)))
    assert ref(decontaminating(quiz(moved, ITEM))) == before
    assert ref(decontaminating(quiz(moved, ITEM + "!"))) != before


def test_what_changes_no_output_makes_no_other_artifact(tmp_path: Path):
    def of(**settings: Any) -> str:
        return ref(FilterConfig.model_validate(settings))

    gopher = ["gopher-repetition", "gopher-quality"]
    fine = ["fineweb-all"]
    c4 = {"min_line_words": 7}
    assert of(recipes=["gopher-all"]) == of(recipes=["gopher-quality", "gopher-repetition", "code"])
    assert of(recipes=gopher) != of(recipes=gopher[::-1]), "drops have other first reasons"
    assert of(recipes=gopher) == of(recipes=gopher, c4=c4)
    assert of(recipes=fine) != of(recipes=fine, c4=c4)
    assert of(bad_words={"max_chars": 0.1}) == of()
    assert of(blocklists={"tag": []}) == of()
    (tmp_path / "en").write_text("ass")
    words = {"paths": [str(tmp_path / "en")]}
    assert len({of(), of(bad_words=words), of(bad_words=words | {"max_chars": 0.1})}) == 3
    strict = {"recipes": ["c4-strict"], "bad_words": words}
    assert of(**strict) != of(**strict, c4=c4)


def test_a_key_is_named_by_its_checksum_and_none_is_made_in_passing(tmp_path: Path):
    def with_key(name: str) -> FilterConfig:
        return scrubbing(email=KindRule(action="pseudonymise"), key_file=str(tmp_path / name))

    with pytest.raises(ValueError, match=r"head -c 32 /dev/urandom > .*a\.key"):
        ref(with_key("a.key"))
    assert not list(tmp_path.iterdir())
    for name, key in (("a.key", b"a"), ("b.key", b"b"), ("c.key", b"a")):
        (tmp_path / name).write_bytes(key * 32)
    assert ref(with_key("a.key")) == ref(with_key("c.key")) != ref(with_key("b.key"))
    identity = json.dumps(STAGE.identify(with_key("a.key"), {"documents": []}).config)
    assert (b"a" * 32).hex() not in identity
    assert "a.key" not in identity


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"blocklists": {"drop": ["adult"]}}, r"blocklists\.paths"),
        ({"bad_words": {"action": "drop"}}, r"bad_words\.paths"),
        ({"decontamination": {"action": "document"}}, r"decontamination\.suites"),
    ],
)
def test_rules_on_lists_that_nobody_gave_are_refused(settings: dict[str, Any], remedy: str):
    with pytest.raises(ValueError, match=remedy):
        FilterConfig.model_validate(settings)


def test_stand_ins_do_not_depend_on_the_number_of_workers(tmp_path: Path):
    key_file = str(tmp_path / "corpus.key")
    Path(key_file).write_bytes(bytes(range(32)))
    texts = []
    for num_workers in (1, 2):
        machine = Machine(store=str(tmp_path / str(num_workers)), num_workers=num_workers)
        documents = given(machine, [[{"id": str(n), "text": "Ask Jane@Firma.de."}] for n in "abc"])
        config = scrubbing(email=KindRule(action="pseudonymise"), key_file=key_file)
        manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
        artifact = Store(machine.store).open(manifest.ref)
        for name in artifact.names(".parquet"):
            texts += pq.read_table(artifact.fetch(name))["text"].to_pylist()
    assert len(texts) == 6
    assert len(set(texts)) == 1
    assert "firma" not in texts[0].lower()


def ref(config: FilterConfig) -> str:
    return str(STAGE.identify(config, {"documents": []}).ref())


def test_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path):
    found = []
    suites = DecontaminationRules(suites=[quiz(tmp_path, ITEM, GOOD[:200])])
    config = FilterConfig(recipes=["c4", "fineweb", "outliers"], decontamination=suites)
    for num_workers in (1, 2):
        machine = Machine(store=str(tmp_path / str(num_workers)), num_workers=num_workers)
        documents = given(machine, [ROWS, ROWS[:2], []])
        manifest, _ = materialise(STAGE, config, {"documents": [documents]}, machine)
        found.append({entry.name: entry.sha256 for entry in manifest.files})
    assert found[0] == found[1]
