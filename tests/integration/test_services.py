"""`bloomery up` and `down`: what a user finds afterwards, and what is left behind."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.integration.services_box import Box, is_free
from tests.integration.small import small_params, write_package

EVERYTHING = {
    "pipeline/demo",
    "pipeline/small",
    "pipeline/base",
    "curate/demo",
    "curate/nightly",
    "mixture-search/demo",
    "train/demo",
    "evaluate/demo",
}


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """Services that were brought up once, for all tests of this file."""
    box = Box(tmp_path_factory.mktemp("services"))
    try:
        box.up()
        yield box
        box.down()
    finally:
        box.kill()


def _all(api: httpx.Client, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.post(f"/{what}/filter", json={}).raise_for_status().json()
    return found


def _deployments(api: httpx.Client) -> dict[str, dict[str, Any]]:
    flows = {flow["id"]: flow["name"] for flow in _all(api, "flows")}
    return {f"{flows[d['flow_id']]}/{d['name']}": d for d in _all(api, "deployments")}


@pytest.mark.services
@pytest.mark.xdist_group("services")
def test_up_leaves_a_server_that_is_ready_to_use(box: Box) -> None:
    api = box.api
    assert {pool["name"]: pool["type"] for pool in _all(api, "work_pools")} == {
        "cpu": "process",
        "gpu": "process",
    }
    deployments = _deployments(api)
    assert set(deployments) == EVERYTHING
    (nightly,) = deployments["curate/nightly"]["schedules"]
    assert nightly["active"] is False
    for name, deployment in deployments.items():
        assert deployment["status"] == "READY", f"{name} has no worker"
        assert deployment["parameters"]["params"]["sources"], f"{name} has an empty form"
        assert Path(deployment["parameters"]["machine"]["store"]) == box.folder / "store"
    assert api.get("/v2/concurrency_limits/gpu").raise_for_status().json()["limit"] == 1
    assert [a["name"] for a in _all(api, "automations") if a["enabled"]] == ["crash-dead-runs"]


@pytest.mark.services
@pytest.mark.xdist_group("services")
def test_a_second_up_changes_nothing(box: Box) -> None:
    def everything() -> tuple[Any, ...]:
        record = (box.folder / ".bloomery/services.json").read_text()
        what = ("work_pools", "deployments", "automations")
        made = {one["id"] for kind in what for one in _all(box.api, kind)}
        return record, {p.pid for p in box.processes()}, made

    before = everything()
    said = box.up()
    assert "already running" in said
    assert everything() == before


@pytest.mark.services
@pytest.mark.xdist_group("services")
def test_a_run_that_is_started_in_the_form_is_done_by_the_worker(box: Box) -> None:
    run = box.wait(box.start("curate/demo", box.tiny_parameters()))
    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["name"] == "curate tiny"
    again = box.wait(box.start("curate/demo", box.tiny_parameters()))
    assert set(box.task_states(again["id"])) == {"Cached"}


@pytest.mark.services
@pytest.mark.xdist_group("services")
def test_cancelling_a_training_ends_its_trainer_with_a_checkpoint(box: Box) -> None:
    write_package(box.folder)
    params = small_params(box.folder, "train.steps=20000").model_dump(mode="json")
    parameters = {"params": params, "machine": {"store": str(box.folder / "store")}}
    run = box.start("pipeline/demo", parameters)
    scratch = box.folder / "store/.scratch/pretrain"
    _wait_until(lambda: any(scratch.glob("*/.train/metrics.jsonl")), "no training", 240)
    _wait_until(lambda: '"step"' in _read(scratch), "no steps", 60)
    box.cancel(run)
    cancelled = time.monotonic()
    _wait_until(lambda: not box.trainers(), "the trainer goes on", 60)
    seconds = time.monotonic() - cancelled
    assert seconds < 10, f"the trainer went on for {seconds:.1f} s"
    assert any(scratch.glob("*/.train/checkpoints/step-*/checksums.json"))
    assert box.wait(run)["state_name"] == "Cancelled"


def _read(scratch: Path) -> str:
    return "".join(path.read_text() for path in scratch.glob("*/.train/metrics.jsonl"))


def _wait_until(condition: Callable[[], bool], failure: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.1)


@pytest.mark.services
@pytest.mark.xdist_group("services")
def test_down_leaves_no_process_and_a_free_port(box: Box) -> None:
    assert box.processes()
    said = box.down()
    assert "stopped server" in said and "stopped worker-gpu" in said
    assert not box.processes()
    assert is_free(box.port)
    assert "nothing to stop" in box.down()


@pytest.mark.services
@pytest.mark.xdist_group("services")
def test_nothing_has_tried_to_reach_the_network(box: Box) -> None:
    assert not box.network_log.exists(), box.network_log.read_text()


def test_a_port_in_use_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        box = Box(tmp_path, port=other.getsockname()[1])
        done = box.bloomery("up", "--port", str(box.port))
    assert done.returncode == 2
    assert f"port {box.port}" in done.stderr and "Traceback" not in done.stderr
    assert not box.processes()


def test_what_up_did_not_start_is_never_stopped(tmp_path: Path) -> None:
    """A process number of an old record may belong to somebody else by now."""
    box = Box(tmp_path)
    (tmp_path / ".bloomery").mkdir()
    other = {"name": "server", "pid": os.getpid(), "created": time.time() - 9999, "log": "x"}
    record = {"api_url": f"{box.url}/api", "services": [other]}
    (tmp_path / ".bloomery/services.json").write_text(json.dumps(record))
    refused = box.bloomery("up", "--port", str(box.port))
    assert refused.returncode == 2
    assert "server died: run `bloomery down`" in refused.stderr
    assert "gone already" in box.down()
    assert psutil.pid_exists(os.getpid())
    assert not (tmp_path / ".bloomery/services.json").exists()
