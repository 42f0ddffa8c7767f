"""A page followed through a store made by real stages, and taken down from it."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from flows import road
from flows.cli import main
from flows.params import Params
from flows.takedown import Rebuild, Request, look
from flows.takedown_record import Proof, earlier_takedowns, leave_record, takedowns
from flows.tracing import _take_down
from tasks.common.manifest import ArtifactRef
from tasks.common.stage import Machine, materialise
from tasks.common.store import Store
from tasks.common.trace import Wanted, footprints
from tasks.common.url_list import UrlList
from tests.integration.small import small_params, write_package

BLOOMERY = [sys.executable, "-c", "from flows.cli import main; main()"]
WORDS = (
    "river",
    "stone",
    "window",
    "garden",
    "letter",
    "winter",
    "market",
    "bridge",
    "paper",
    "light",
)
WORDS += (
    "morning",
    "village",
    "table",
    "music",
    "harbour",
    "forest",
    "candle",
    "mirror",
    "copper",
    "wheat",
)


def prose(seed: int, num_sentences: int = 12) -> str:
    draw = random.Random(seed)
    sentences = (
        f"The {draw.choice(WORDS)} that we have seen with the {draw.choice(WORDS)} of "
        f"{seed}-{number} is to be near a {draw.choice(WORDS)} and a {draw.choice(WORDS)}."
        for number in range(num_sentences)
    )
    return "\n".join(sentences) + "\n"


def write_web(folder: Path) -> None:
    """Twelve pages of a table of texts, two of them copies of another, one short, one with mail."""
    rows = [{"url": f"https://www.pages.example/{n}", "text": prose(n)} for n in range(8)]
    rows.append({"url": "https://mirror.example/copy", "text": "\n" + prose(3)})
    rows.append({"url": "https://mirror.example/near", "text": prose(3) + "And some more words.\n"})
    rows.append({"url": "https://short.example/", "text": "Too short."})
    rows.append(
        {"url": "https://mail.example/a?b=1", "text": prose(77) + "Write to jo@mail.org now.\n"}
    )
    folder.mkdir()
    lines = [json.dumps({**row, "license": "CC0-1.0"}) for row in rows]
    (folder / "pages.jsonl").write_text("\n".join([*lines, '{"url": "https://none.example/"}']))


class Box:
    """A store with one corpus of three sources."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store(str(folder / "store"))
        self.machine = Machine(store=str(folder / "store"), num_workers=1)
        write_package(folder)
        write_web(folder / "web")
        self.params = self._params()
        (folder / "params.yaml").write_text(yaml.safe_dump(self.params.model_dump(mode="json")))
        self.corpus = road.curate(self.params, self._make)
        self.store.give_name("corpus/small-test", self.corpus.mixture)

    def _params(self) -> Params:
        web = {"name": "web", "type": "files", "paths": [str(self.folder / "web")]}
        values = small_params(self.folder, "dedup.min_similarity=0").model_dump(mode="json")
        values["sources"].append(web)
        return Params.model_validate(values)

    def _make(self, task, config, inputs, label: str = "") -> ArtifactRef:
        return materialise(task.stage, config, inputs, self.machine, label=label)[0].ref

    def curate(self, params: Params) -> road.Corpus:
        return road.curate(params, self._make)

    def search(self, params: Params, corpus: road.Corpus) -> ArtifactRef:
        return road.search(params, road.encode(params, corpus, self._make), self._make)

    def rebuild(self, *lines: str, **changes: object) -> Rebuild:
        """A takedown of a list from the corpus with some of its parameters changed."""
        values = self.params.model_dump(mode="json") | changes
        request = Request.read(Path(self.list_of(*lines)))
        return Rebuild(Params.model_validate(values), request, self.machine)

    def run(self, *arguments: str) -> Result:
        """A command in this process, which must end well."""
        result = self.fail(*arguments)
        assert result.exit_code == 0, result.output
        return result

    def fail(self, *arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--store", str(self.folder / "store")])

    def json(self, *arguments: str):
        return json.loads(self.run(*arguments, "--json").stdout)

    def alone(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command in a process of its own, as those need that run flows."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "BLOOMERY"))}
        root = str(Path(__file__).parents[2])
        done = subprocess.run(
            [*BLOOMERY, *arguments],
            cwd=self.folder,
            env=kept | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def mixture(self) -> dict[str, str]:
        """Address → set of the corpus that has the name."""
        artifact = self.store.open(self.store.resolve("corpus/small-test"))
        return {
            url: entry.name.partition("/")[0]
            for entry in artifact.manifest.files
            if entry.name.endswith(".parquet") and "dropped" not in entry.name
            for url in pq.read_table(artifact.fetch(entry.name))["url"].to_pylist()
        }

    def list_of(self, *lines: str) -> str:
        path = self.folder / "list.txt"
        path.write_text("\n".join(lines))
        return str(path)


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    return Box(tmp_path_factory.mktemp("tracing"))


def steps_of(story: dict) -> list[tuple[str, str, str | None]]:
    return [(s["artifact"].partition("/")[0], s["outcome"], s["reason"]) for s in story["steps"]]


def test_a_page_that_stayed_is_followed_into_its_set(box):
    (story,) = box.json("explain", "http://pages.example/5/")["stories"]
    assert story["url"] == "https://www.pages.example/5"
    stages = [stage for stage, outcome, _ in steps_of(story) if outcome in ("kept", "fetched")]
    assert stages[:3] == ["crawl", "extract", "filter"]
    assert stages[-1] == "mix"
    assert story["steps"][-1]["place"] == f"{box.mixture()[story['url']]}/web"
    assert box.json("explain", story["id"])["stories"][0]["steps"] == story["steps"][1:]


def test_a_copy_names_what_was_kept_in_its_place(box):
    (story,) = box.json("explain", "https://mirror.example/near")["stories"]
    assert steps_of(story)[-1] == ("dedup", "dropped", "near_duplicate")
    instead = story["instead"]
    assert instead["url"] in ("https://www.pages.example/3", "https://mirror.example/copy")
    assert instead["url"] in box.mixture()
    assert instead["steps"][-1]["artifact"] == str(box.corpus.mixture)
    told = box.run("explain", "https://mirror.example/near").output
    assert "in its place was kept" in told and instead["url"] in told


def test_what_was_changed_on_the_way_is_told(box):
    (story,) = box.json("explain", "mail.example/a?b=1")["stories"]
    (changed,) = [step for step in story["steps"] if step["edits"]]
    assert changed["artifact"].startswith("filter/")
    assert (changed["edits"]["lines_removed"], changed["edits"]["lines_added"]) == (1, 1)


def test_a_page_that_was_dropped_or_refused_says_why(box):
    (story,) = box.json("explain", "https://short.example/")["stories"]
    assert steps_of(story)[-1][1:] == ("dropped", "too_short")
    refused = box.run("explain", "file://web/pages.jsonl#13").output
    assert "never read: no_text" in refused


def test_an_address_that_nobody_saw_is_said_to_be_so(box):
    assert box.run("explain", "https://nowhere.example/").output.startswith("never seen")
    assert box.run("lineage", "--url", "nowhere.example").output.startswith("never seen")
    assert "3 addresses below it" not in box.run("explain", "pages.example").output
    assert "8 addresses below it" in box.run("explain", "pages.example").output
    assert box.fail("explain", "::").exit_code == 2
    assert box.fail("lineage").exit_code == 2


def test_lineage_tells_who_has_seen_a_host_and_who_was_spared(box):
    kept = {f["artifact"]: f for f in box.json("lineage", "--url", "pages.example")}
    assert kept[str(box.corpus.mixture)]["touch"] == "holds"
    assert kept[str(box.corpus.mixture)]["names"] == ["corpus/small-test"]
    assert kept[str(box.corpus.mixture)]["num_kept"] == 8
    short = {
        f["artifact"].partition("/")[0]: f for f in box.json("lineage", "--url", "short.example")
    }
    assert short["crawl"]["touch"] == "holds"
    assert short["mix"]["touch"] == "untouched"
    dropper = next(f for f in short.values() if f["dropped"] == {"too_short": 1})
    assert short["mix"]["spared_by"] == [dropper["artifact"]]


def test_what_is_behind_a_corpus_is_listed_and_counted(box):
    lines = box.run("lineage", "corpus/small-test", "--urls", "--json").stdout.splitlines()
    listed = {row["url"]: row for row in map(json.loads, lines)}
    assert {url: row["set"].partition("/")[0] for url, row in listed.items()} == box.mixture()
    assert listed["https://www.pages.example/5"]["licence"] == "CC0-1.0"
    counted = box.json("lineage", "corpus/small-test", "--sources")
    assert sum(row["documents"] for row in counted) == len(listed)
    hosts = box.json("lineage", "corpus/small-test", "--hosts")
    of_pages = [row["documents"] for row in hosts if row["host"] == "pages.example"]
    assert sum(of_pages) == sum("pages.example" in url for url in listed)


def test_a_page_of_another_source_is_not_said_to_be_unknown(box):
    told = box.run("explain", "https://www.pages.example/5", "--source", "code").output
    assert told == "not of source code; of: web\n"
    unknown = box.run("explain", "https://nowhere.example/", "--source", "code").output
    assert unknown.startswith("never seen")


def test_options_of_lineage_that_would_do_nothing_are_refused(box):
    for useless in (
        ("--url", "pages.example", "--urls"),
        ("--url", "pages.example", "--hosts"),
        ("--url", "pages.example", "--down"),
        ("corpus/small-test", "--sources", "--down"),
    ):
        refused = box.fail("lineage", *useless)
        assert refused.exit_code == 2 and "leave --" in refused.output, useless


def test_keys_are_traced_to_the_documents_that_they_are_of(box):
    (verdicts,) = box.store.manifests("duplicates")
    rows = box.json("lineage", str(verdicts.ref), "--sources")
    assert {row["artifact"].partition("/")[0] for row in rows} == {"filter"}
    assert {row["source"] for row in rows} == {"web", "code", "notes"}


def test_a_takedown_without_parameters_only_looks(box):
    before = box.store.names()
    found = box.json("takedown", box.list_of("# of November", "pages.example/3", "::", "?"))
    assert found["num_documents"] == 1 and found["unreadable"] == ["::", "?"]
    stages = {row["artifact"].partition("/")[0] for row in found["touched"]}
    assert "signatures" in stages and "duplicates" not in stages  # which has ids and no more
    assert {d["url"] for d in found["copies"]} == {
        "https://mirror.example/copy",
        "https://mirror.example/near",
    }
    assert box.store.names() == before
    assert (
        "2 lines of the list"
        in box.run("takedown", box.list_of("pages.example/3", "::", "?")).output
    )
    refused = box.fail("takedown", box.list_of("pages.example/3", "::"), "--rebuild")
    assert refused.exit_code == 2 and "'::'" in refused.output
    assert box.fail("takedown", box.list_of("# nothing")).exit_code == 2
    none = box.run("takedown", box.list_of("nowhere.example"))
    assert "nothing in" in none.output


def test_a_takedown_says_what_a_rebuild_costs(box):
    params = str(box.folder / "params.yaml")
    found = box.json("takedown", box.list_of("pages.example/3"), "--params", params)
    remade = {row["stage"]: row for row in found["remade"]}
    assert {"dedup", "classify", "mix"} <= set(remade)
    assert {"crawl web", "extract web", "filter web", "filter code"} <= set(found["cached"])
    cost = box.store.manifest(ArtifactRef.parse(remade["mix"]["old"])).provenance
    assert remade["mix"]["cpu_seconds"] == cost.cpu_seconds
    left = box.json("takedown", box.list_of("pages.example/3"), "--params", params, "--keep-copies")
    new_of = {row["stage"]: (row["old"], row["new"]) for row in left["remade"]}
    assert new_of["mix"][0] == remade["mix"]["old"] and new_of["mix"][1] != remade["mix"]["new"]
    wrong = box.fail(
        "takedown",
        box.list_of("pages.example/3"),
        "--params",
        params,
        "--set",
        "filter.gopher_quality.min_words=9",
    )
    assert wrong.exit_code == 2 and "no corpus that these parameters make" in wrong.output


def test_what_copies_are_chosen_by_must_be_there(box):
    values = box.params.model_dump(mode="json")
    for dedup, wanted in (
        ({"keep": "source", "preferred_sources": ["web", "wbe"]}, "'wbe', which no source"),
        ({"keep": "quality"}, "name a signal"),
        ({"keep": "quality", "quality": "rps_doc_word_count"}, "set filter.signals=true"),
    ):
        with pytest.raises(ValueError, match=wanted):
            Params.model_validate(values | {"dedup": values["dedup"] | dedup})
    dedup = values["dedup"] | {"keep": "quality", "quality": "rps_doc_word_count"}
    measured = values["filter"] | {"signals": True}
    assert Params.model_validate(values | {"dedup": dedup, "filter": measured})


def test_a_list_that_grew_still_has_what_was_taken_down(tmp_path):
    store = Store(str(tmp_path / "store"))
    path = tmp_path / "list.txt"
    path.write_text("# of November\n a.example \nb.example/x\n")
    values = {"name": "small", "sources": [{"name": "s", "type": "files", "paths": ["x"]}]}
    params = Params.model_validate(values | {"dedup": {"takedown": [str(path)]}})
    record = look(Request.read(path), store, "small")
    proof = Proof(num_artifacts=1, problems=[])
    leave_record(store, record.model_copy(update={"proof": proof}))
    assert earlier_takedowns(store, params) == []
    path.write_text("c.example\nb.example/x\na.example\n")
    assert earlier_takedowns(store, params) == []
    path.write_text("c.example\nb.example/x\n")
    assert len(earlier_takedowns(store, params)) == 1


@pytest.mark.slow
def test_a_mixture_that_was_searched_for_is_searched_for_again_and_nothing_is_trained(tmp_path):
    box = Box(tmp_path)
    road.encode(box.params, box.corpus, box._make)  # as far as a training that was broken off
    again = box.rebuild("pages.example/3")
    assert again.flows() == ["curate"]
    assert not {"tokenizer", "tokens"} & {each.stage for each in again.remade}
    found = box.search(box.params, box.corpus)
    box.store.give_name("mixture/small-test", found)
    again = box.rebuild("pages.example/3")
    assert again.flows() == ["curate", "mixture-search"]
    assert {"tokenizer", "tokens", "regmix"} <= {each.stage for each in again.remade}
    corpus = box.curate(again.params)
    assert not again.is_made()
    new = box.search(again.params, corpus)
    assert again.is_made() and again.move_names()["mixture/small-test"] == str(new) != str(found)
    touched = footprints(box.store, Wanted(urls=UrlList(["pages.example/3"])))
    held = again.sort_out(touched)
    assert held.named == [] and str(found) in held.replaced
    assert not list(box.store.manifests("pretrain"))


@pytest.mark.slow
def test_what_pinned_classifiers_learned_from_can_be_purged(tmp_path):
    box = Box(tmp_path)
    (judges,) = (m.ref for m in box.store.manifests("classifiers"))
    (old,) = (m.ref for m in box.store.manifests("dedup"))
    again = box.rebuild("pages.example/3", classifiers={"pinned": str(judges)})
    corpus = box.curate(again.params)
    box.store.give_name("corpus/small-test", corpus.mixture)
    held = again.sort_out(footprints(box.store, Wanted(urls=UrlList(["pages.example/3"]))))
    assert held.learned == [str(judges)] and held.named == [] and str(old) in held.replaced
    (story,) = box.json("explain", "https://www.pages.example/3")["stories"]
    assert str(old) not in {step["artifact"] for step in story["steps"]}


def test_a_list_that_has_grown_since_its_takedown_is_named_as_a_cause(box):
    grown = box.list_of("pages.example/3", "pages.example/4")
    dedup = box.params.model_dump(mode="json")["dedup"] | {"takedown": [grown]}
    with pytest.raises(ValueError, match="put its new lines into a list of their own"):
        box.rebuild("pages.example/3", "pages.example/4", dedup=dedup)


def test_names_stay_where_they_were_if_the_proof_fails(box, monkeypatch):
    again = box.rebuild("pages.example/3")
    before, other = box.store.names(), next(box.store.manifests("filter")).ref

    def run_flow(*_: object) -> str:
        box.store.give_name("corpus/small-test", other)
        return ""

    monkeypatch.setattr("flows.launch.run_here", run_flow)
    monkeypatch.setattr(again, "is_made", lambda: True)
    problem = Proof(num_artifacts=1, problems=["mix/1 part: pages.example/3"])
    monkeypatch.setattr(again, "proof", lambda wanted: problem)
    request = Request.read(Path(box.list_of("pages.example/3")))
    record = look(request, box.store, "small-test")
    with pytest.raises(RuntimeError, match="still there after the rebuild"):
        _take_down(record, request, again, box.machine, True, True, True, lambda *_: None)
    assert box.store.names() == before


@pytest.mark.slow
def test_a_rebuild_takes_the_page_and_its_copies_out_and_nothing_else(tmp_path):
    box = Box(tmp_path)
    searched = box.search(box.params, box.corpus)
    box.store.give_name("mixture/small-test", searched)
    before, made = (
        box.mixture(),
        {str(m.ref): m.provenance.started_at for m in box.store.manifests()},
    )
    gone = {
        url
        for url in before
        if url in ("https://www.pages.example/3", "https://mirror.example/copy")
    }
    assert gone
    box.store.give_name("corpus/shown", box.corpus.mixture)
    arguments = ["takedown", box.list_of("www.pages.example/3"), "--params", "params.yaml"]
    record = json.loads(box.alone(*arguments, "--rebuild", "--json").stdout)
    assert set(before) - set(box.mixture()) == gone and set(box.mixture()) <= set(before)
    assert record["proof"]["num_artifacts"] >= 3 and record["proof"]["problems"] == []
    assert {d["url"] for d in (*record["documents"], *record["copies"])} == {
        "https://www.pages.example/3",
        "https://mirror.example/copy",
        "https://mirror.example/near",
    }
    new = str(box.store.resolve("corpus/small-test"))
    assert new != str(box.corpus.mixture) and record["names"]["corpus/shown"] == new
    now = {str(m.ref): m.provenance.started_at for m in box.store.manifests()}
    assert made.items() <= now.items(), "nothing is deleted, and what was cached is not made again"
    stages = {ref.partition("/")[0] for ref in now.keys() - made.keys()}
    assert {"dedup", "classify", "mix", "regmix"} <= stages
    assert not stages & {"crawl", "extract", "filter", "pretrain"}
    assert record["names"]["mixture/small-test"] != str(searched)
    _held_by_no_new_artifact(box, now.keys() - made.keys())
    (told,) = box.json("explain", "www.pages.example/3")["stories"]
    assert steps_of(told)[-1] == ("dedup", "dropped", "takedown")
    (page,) = box.folder.glob("store/takedowns/*.md")
    assert record["list_sha256"] in page.read_text() and new in page.read_text()
    _purged(box, arguments, record)


def _held_by_no_new_artifact(box: Box, refs) -> None:
    sentence = prose(3).split("\n")[0]
    for ref in refs:
        artifact = box.store.open(ArtifactRef.parse(ref))
        for entry in artifact.manifest.files:
            if entry.name.endswith(".parquet"):
                said = str(pq.read_table(artifact.fetch(entry.name)).to_pylist())
                assert sentence not in said, f"{ref} {entry.name}"


def _purged(box: Box, arguments: list[str], record: dict) -> None:
    """A purge deletes what was replaced, and what still holds the page only when that is said."""
    assert {str(box.corpus.mixture)} < set(record["replaced"]) and record["needed_by_names"] == []
    sources = {ref.partition("/")[0] for ref in record["sources"]}
    assert {"crawl", "extract", "filter"} <= sources
    unasked = box.alone(*arguments, "--purge", check=False)  # nobody is there to say yes
    assert unasked.returncode != 0 and box.store.has(box.corpus.mixture)
    purged = json.loads(box.alone(*arguments, "--purge", "--yes", "--json").stdout)
    assert purged["purged"] == record["replaced"] and purged["sources"] == record["sources"]
    assert not box.store.has(box.corpus.mixture)
    box.alone(*arguments, "--purge", "--include-sources", "--yes")
    held = [
        f for f in box.json("lineage", "--url", "www.pages.example/3") if f["touch"] != "untouched"
    ]
    assert held == []
    assert box.store.has(box.store.resolve("corpus/small-test"))
    assert len(takedowns(box.store)) == 3
    forgot = box.alone("run", "curate", "--params", "params.yaml")
    assert "its pages stay away only as long as dedup.takedown has it" in forgot.stderr
