"""The whole road under Prefect, without a server: made once, cached after, rerun where it must."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.integration.small import small_params, write_package

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pipeline")]
BLOOMERY = [sys.executable, "-c", "from flows.cli import main; main()"]
REDONE = ("filter", "signatures")
AFTER_FILTER = {
    "duplicates",
    "dedup",
    "classifiers",
    "classify",
    "mix",
    "tokenizer",
    "tokens",
    "instruct",
    "pretrain",
    "sft",
}
AFTER_FILTER |= {"pretrain", "sft", "preferences", "dpo"}
AFTER_FILTER |= {"evaluate base", "evaluate sft", "evaluate aligned", "compare", "report"}


class Box:
    """A folder with a corpus and a store, and the command line run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        write_package(folder)

    def bloomery(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*BLOOMERY, *arguments],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        with (self.folder / "run.log").open("w") as log:
            return subprocess.Popen(
                [*BLOOMERY, *arguments],
                cwd=self.folder,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def params(self, *changes: str) -> str:
        path = self.folder / "params.yaml"
        params = small_params(self.folder, *changes)
        path.write_text(yaml.safe_dump(params.model_dump(mode="json")))
        return str(path)

    def plan(self, *changes: str) -> dict[str, bool]:
        printed = self.bloomery("plan", "pipeline", "--params", self.params(*changes), "--json")
        return {row["stage"]: row["cached"] for row in json.loads(printed.stdout)}

    def artifacts(self, stage: str = "") -> list[dict]:
        return json.loads(self.bloomery("ls", *filter(None, [stage]), "--json").stdout)

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "BLOOMERY"))}
        return kept | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    box = Box(tmp_path_factory.mktemp("road"))
    box.first = box.bloomery("run", "pipeline", "--params", box.params())
    return box


def test_the_report_shows_what_was_made(box):
    report = Path(box.first.stdout.strip().splitlines()[-1])
    text = report.read_text()
    for part in (
        "The funnel",
        "Copies",
        "The mixture",
        "Evaluation",
        "Answers before and after",
        "<svg",
    ):
        assert part in text
    assert "<script" not in text


def test_a_second_run_finds_everything_and_makes_nothing(box):
    made = {row["artifact"]: row["started_at"] for row in box.artifacts()}
    log = box.bloomery("run", "pipeline", "--params", box.params()).stderr
    assert {row["artifact"]: row["started_at"] for row in box.artifacts()} == made
    assert log.count("Cached(") == len(box.plan())


def test_the_plan_knows_that_everything_is_there(box):
    assert all(box.plan().values())


def test_a_mixture_search_adds_to_what_is_there_only_itself(box):
    plan = json.loads(
        box.bloomery("plan", "mixture-search", "--params", box.params(), "--json").stdout
    )
    assert [row["stage"] for row in plan if not row["cached"]] == ["regmix"]
    done = box.bloomery("run", "mixture-search", "--params", box.params())
    (found,) = box.artifacts("regmix")
    assert done.stdout.strip().splitlines()[-1] == found["artifact"]
    assert found["name"] == "mixture/small-test"
    shown = json.loads(box.bloomery("show", found["artifact"], "--json").stdout)
    assert set(shown["metrics"]["weights"]) == {"code", "notes"}
    assert sum(shown["metrics"]["weights"].values()) == pytest.approx(1, abs=1e-3)


def test_a_changed_filter_reruns_exactly_the_stages_after_it(box):
    plan = box.plan("filter.gopher_quality.min_words=6")
    to_run = {stage for stage, cached in plan.items() if not cached}
    by_source = {f"{stage} {source}" for stage in REDONE for source in ("code", "notes")}
    assert to_run == AFTER_FILTER | by_source
    before = {row["artifact"] for row in box.artifacts()}
    box.bloomery("run", "curate", "--params", box.params("filter.gopher_quality.min_words=6"))
    made = [row for row in box.artifacts() if row["artifact"] not in before]
    stages = [row["artifact"].partition("/")[0] for row in made]
    after = ["duplicates", "dedup", "classifiers", "classify", "mix"]
    assert sorted(stages) == sorted([*REDONE, *REDONE, *after])


def test_another_copy_to_keep_signs_nothing_again(box):
    plan = box.plan("dedup.keep=longest")
    assert {stage for stage, cached in plan.items() if not cached} == AFTER_FILTER


def test_lineage_leads_from_the_model_to_the_pages_and_back(box):
    up = json.loads(box.bloomery("lineage", "model/small-test", "--json").stdout)
    stages = {node["artifact"].partition("/")[0] for node in up}
    assert {"dpo", "sft", "pretrain", "tokens", "mix", "crawl"} <= stages
    (crawl,) = [n["artifact"] for n in up if n["label"] == "notes" and "crawl/" in n["artifact"]][
        :1
    ]
    down = json.loads(box.bloomery("lineage", crawl, "--down", "--json").stdout)
    assert up[0]["artifact"] in {node["artifact"] for node in down}


def test_every_artifact_verifies(box):
    for row in box.artifacts():
        box.bloomery("show", row["artifact"], "--verify")


def test_the_model_speaks(box):
    said = box.bloomery(
        "generate", "model/small-test", "--prompt", "What is it?", "--max-new-tokens", "5"
    )
    assert said.returncode == 0


def test_train_without_a_corpus_says_what_to_do(box):
    params = box.params("filter.gopher_quality.min_words=7")
    refused = box.bloomery("run", "train", "--params", params, check=False)
    assert refused.returncode == 2
    assert "curate" in refused.stderr.splitlines()[-1]


def _trainers(box: Box) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if "model.launch" in command and str(box.folder) in command:
            found.append(process)
    return found


def _servers(box: Box) -> list[psutil.Process]:
    """Prefect's temporary servers of runs in the box."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT_HOME", "").startswith(str(box.folder)):
                found += [process] if "uvicorn" in process.cmdline() else []
        except psutil.Error:
            continue
    return found


def _wait_for(condition, what: str, seconds: float = 120):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("victim", ["flow", "trainer"])
def test_a_pretraining_killed_in_the_middle_ends_with_the_same_weights(box, victim):
    """Compared with an undisturbed run of the same job in another store."""
    changes = ("train.steps=60", f"train.seed={len(victim)}")
    params = box.params(*changes)
    run = ["run", "train", "--params", params]
    box.bloomery("run", "curate", "--params", params)
    process = box.start(*run)
    _wait_for(lambda: _steps_done(box) > 15, "no steps")
    assert _servers(box), "the run has its temporary server"
    target = process if victim == "flow" else _trainers(box)[0]
    os.kill(target.pid, signal.SIGKILL)
    process.wait(120)
    assert process.returncode != 0
    _wait_for(lambda: not _trainers(box), "a trainer was left behind", seconds=15)
    _wait_for(lambda: not _servers(box), "a server was left behind", seconds=15)
    box.bloomery(*run)
    elsewhere = ["--store", str(box.folder / f"undisturbed-{victim}")]
    box.bloomery("run", "curate", "--params", params, *elsewhere)
    box.bloomery(*run, *elsewhere)
    weights = [
        {f["name"]: f["sha256"] for f in manifest["files"]}["model.safetensors"]
        for options in ([], elsewhere)
        for manifest in [_newest_pretraining(box, options)]
    ]
    assert weights[0] == weights[1]


def _steps_done(box: Box) -> int:
    logs = (box.folder / "store").glob(".scratch/pretrain/*/.train/metrics.jsonl")
    return sum(path.read_text().count('"event": "step"') for path in logs)


def _newest_pretraining(box: Box, options: list[str]) -> dict:
    rows = json.loads(box.bloomery("ls", "pretrain", "--json", *options).stdout)
    return json.loads(box.bloomery("show", rows[-1]["artifact"], "--json", *options).stdout)
