"""What a user sees: Prefect's UI after `bloomery up`, in a real browser.

Run with ``pytest --browser --screenshots DIR tests/browser``; look at the pictures.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from flows.presets import DEMO
from tasks.common.stage import Machine
from tests.integration.services_box import Box

CHROMIUM = "/usr/bin/chromium"
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
PATIENCE_MS = 60_000
SETTLE_MS = 1_500  # pictures are for people: let animations end

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


class Visitor:
    """Opens pages of the UI and leaves pictures of them."""

    def __init__(self, page: Page, box: Box, pictures: Path) -> None:
        self.page, self.box, self.pictures = page, box, pictures

    def open(self, path: str) -> Page:
        self.page.goto(self.box.url + path)
        return self.page

    def picture(self, name: str, *, whole: bool = False) -> None:
        self.page.wait_for_timeout(SETTLE_MS)
        self.page.screenshot(path=self.pictures / f"{name}.png", full_page=whole)

    def sees(self, *texts: str) -> None:
        for text in texts:
            expect(self.page.get_by_text(text).first).to_be_visible(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Services in a folder of their own."""
    box = Box(tmp_path_factory.mktemp("browser"))
    try:
        box.up()
        yield box
        box.down()
    finally:
        box.kill()


@pytest.fixture(scope="module")
def finished_run(box: Box) -> str:
    """The id of a small run that went well."""
    run = box.wait(box.start("curate/demo", box.tiny_parameters()))
    assert run["state_type"] == "COMPLETED", run["state"]
    box.task_states(run["id"])
    return str(run["id"])


@pytest.fixture(scope="module")
def visitor(
    box: Box, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Visitor]:
    given = request.config.getoption("--screenshots")
    pictures = Path(given) if given else tmp_path_factory.mktemp("screenshots")
    pictures.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        yield Visitor(page, box, pictures)
        browser.close()


def _deployment(box: Box, name: str) -> str:
    return str(box.api.get(f"/deployments/name/{name}").raise_for_status().json()["id"])


def test_the_first_page_shows_both_pools(visitor: Visitor, finished_run: str) -> None:
    visitor.open("/")
    visitor.sees("Flow Runs", "Active Work Pools", "cpu", "gpu")
    visitor.picture("dashboard")


def test_every_deployment_is_ready_and_the_schedule_is_off(visitor: Visitor) -> None:
    page = visitor.open("/v2/deployments")
    visitor.sees("nightly", "small", "base", "At 03:00 AM", "Paused")
    expect(page.get_by_text("Ready", exact=True)).to_have_count(8, timeout=PATIENCE_MS)
    visitor.picture("deployments")


def test_the_form_holds_the_whole_preset(visitor: Visitor, box: Box) -> None:
    page = visitor.open(f"/v2/deployments/deployment/{_deployment(box, 'pipeline/demo')}/run")
    visitor.sees("What to make; every value here decides the result.", "Sources of pages and files")
    values = page.locator("input, textarea").evaluate_all("all => all.map(one => one.value)")
    wanted = [DEMO.sources[0].name, DEMO.sources[1].name, DEMO.mix.token_budget, DEMO.train.steps]
    assert {str(value) for value in wanted} <= set(values)
    assert str(box.folder / "store") in values
    visitor.picture("form")
    visitor.picture("form-whole", whole=True)


def test_the_form_can_be_submitted_as_it_is(visitor: Visitor, box: Box) -> None:
    """An untouched form must ask for exactly the preset: no blank may turn into a value."""
    box.api.patch("/work_pools/gpu", json={"is_paused": True}).raise_for_status()
    deployment = _deployment(box, "train/demo")
    page = visitor.open(f"/v2/deployments/deployment/{deployment}/run")
    visitor.sees("Store")
    page.get_by_role("button", name="Submit").click()
    page.wait_for_url(f"**/deployment/{deployment}*", timeout=PATIENCE_MS)
    query = {"deployments": {"id": {"any_": [deployment]}}}
    (run,) = box.api.post("/flow_runs/filter", json=query).raise_for_status().json()
    assert run["parameters"]["params"] == DEMO.model_dump(mode="json")
    wanted = Machine(store=str(box.folder / "store"))
    assert Machine.model_validate(run["parameters"]["machine"]) == wanted
    box.api.delete(f"/flow_runs/{run['id']}").raise_for_status()
    box.api.patch("/work_pools/gpu", json={"is_paused": False}).raise_for_status()


def test_a_run_shows_its_stages_and_its_log(visitor: Visitor, box: Box, finished_run: str) -> None:
    visitor.open(f"/v2/runs/flow-run/{finished_run}?tab=Logs")
    visitor.sees("curate tiny", "Completed", "9 Task runs", "filter python-code: made")
    visitor.picture("run")


def test_a_report_says_what_a_stage_kept(visitor: Visitor, box: Box, finished_run: str) -> None:
    query = {"artifacts": {"key": {"like_": "filter"}}}
    (report,) = box.api.post("/artifacts/filter", json=query).raise_for_status().json()
    visitor.open(f"/v2/artifacts/artifact/{report['id']}")
    visitor.sees("kept", "Made from")
    visitor.picture("report")
