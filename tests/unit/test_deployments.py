"""What is declared holds together: settings, deployments, automations, presets."""

import ast
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import prefect_env
from flows.presets import PRESETS

ROOT = Path(__file__).resolve().parents[2]
POOLS = ("cpu", "gpu")
TOML = tomllib.loads((ROOT / "prefect.toml").read_text())
DEPLOYMENTS = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())["deployments"]
AUTOMATIONS = yaml.safe_load((ROOT / "deployments/automations.yaml").read_text())["automations"]


def _name(deployment: dict[str, Any]) -> str:
    return f"{deployment['entrypoint'].partition(':')[2]}/{deployment['name']}"


def _leaves(table: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


@pytest.fixture
def clean_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No Prefect or Bloomery variable, and an empty current folder; both restored afterwards."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in [n for n in os.environ if n.startswith(("PREFECT_", "BLOOMERY_", "DO_NOT_"))]:
        del os.environ[name]
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def answering_server() -> Iterator[str]:
    """The API address of something that is as healthy as a Prefect server."""

    class Healthy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"true")

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def test_prefect_obeys_every_setting_from_any_folder(tmp_path: Path) -> None:
    show = """if True:
        import json
        from flows.prefect_env import configure
        configure()
        from prefect.settings import get_current_settings
        settings = get_current_settings()
        print(json.dumps(settings.model_dump(mode="json"), default=str))
    """
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "BLOOMERY_"))}
    command = [sys.executable, "-c", show]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    settings = json.loads(done.stdout)
    for path, wanted in _leaves(TOML):
        node = settings
        for key in path.split("."):
            node = node[key]
        assert node in (wanted, [wanted]), path
    assert settings["home"] == str(tmp_path / ".bloomery/prefect")
    assert settings["api"]["url"] is None


def test_settings_are_there_before_prefect_is() -> None:
    look = "import sys, flows.prefect_env as e; e.configure(); print('prefect' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_what_the_user_exported_wins(clean_env: Path) -> None:
    os.environ |= {"PREFECT_API_URL": "http://elsewhere/api", "PREFECT_HOME": "/mine"}
    os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = "77"
    prefect_env.configure()
    assert os.environ["PREFECT_API_URL"] == "http://elsewhere/api"
    assert os.environ["PREFECT_HOME"] == "/mine"
    assert os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "77"


def test_a_server_of_this_folder_is_used_while_it_answers(
    clean_env: Path, answering_server: str
) -> None:
    state = clean_env / ".bloomery"
    state.mkdir()
    record = state / prefect_env.SERVICES_FILE
    record.write_text(json.dumps({"api_url": "http://127.0.0.1:1/api", "services": []}))
    prefect_env.configure()
    assert "PREFECT_API_URL" not in os.environ
    record.write_text(json.dumps({"api_url": answering_server, "services": []}))
    prefect_env.configure()
    assert os.environ["PREFECT_API_URL"] == answering_server


def test_a_service_can_be_interrupted_although_its_shell_ignores_that() -> None:
    look = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    command = [sys.executable, "-m", "flows.prefect_env", sys.executable, "-c", look]
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=_name)
def test_a_deployment_can_be_filled_and_run(deployment: dict[str, Any]) -> None:
    path, _, function = deployment["entrypoint"].partition(":")
    functions = [n for n in ast.parse((ROOT / path).read_text()).body if hasattr(n, "args")]
    (flow,) = [f for f in functions if f.name == function]
    assert [a.arg for a in flow.args.args] == ["params", "machine"]
    assert deployment["name"] in (*PRESETS, "nightly")
    assert deployment["work_pool"]["name"] in POOLS
    assert 20 < len(deployment["description"]) < 160


def test_every_preset_has_a_pipeline() -> None:
    names = [_name(d) for d in DEPLOYMENTS]
    assert len(set(names)) == len(names)
    assert {f"pipeline/{preset}" for preset in PRESETS} <= set(names)


def test_nothing_runs_by_itself_before_somebody_switches_it_on() -> None:
    schedules = [s for d in DEPLOYMENTS for s in d.get("schedules", [])]
    assert schedules
    # a slug keeps the switch when a deployment is registered again
    assert all(s["active"] is False and s["slug"] for s in schedules)


def test_a_run_is_called_dead_only_after_several_missed_heartbeats() -> None:
    from prefect.events.schemas.automations import AutomationCore

    (crash,) = [a for a in AUTOMATIONS if a["name"] == "crash-dead-runs"]
    AutomationCore.model_validate(crash)
    assert crash["trigger"]["within"] >= 4 * TOML["flows"]["heartbeat_frequency"]
    assert crash["trigger"]["expect"] == ["prefect.flow-run.*"]  # a suspended run is silent too
