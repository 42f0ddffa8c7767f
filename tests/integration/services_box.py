"""A folder of its own in which tests start and stop everything, as a user would."""

import argparse
import heapq
import os
import signal
import socket
import string
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from flows.presets import DEMO
from flows.services import connect

ROOT = Path(__file__).resolve().parents[2]
RUN_TIMEOUT_SECONDS = 240

# Every Python process of the box loads this at its start: it may talk to this machine only.
NO_NETWORK = """
import os, socket

HERE = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::", socket.gethostname()}

def guard(function, host_of):
    def call(*args, **kwargs):
        host = host_of(args)
        if host is not None and host not in HERE:
            with open(os.environ["NETWORK_LOG"], "a") as log:
                log.write(f"{host} {os.getpid()} {function.__name__}\\n")
            raise OSError(f"no network in tests: {host}")
        return function(*args, **kwargs)
    return call

def host_of_address(args):
    return args[1][0] if isinstance(args[1], tuple) else None

def host_of_name(args):
    return args[0].decode() if isinstance(args[0], bytes) else args[0]

for name in ("connect", "connect_ex"):
    setattr(socket.socket, name, guard(getattr(socket.socket, name), host_of_address))
socket.getaddrinfo = guard(socket.getaddrinfo, host_of_name)
"""


@dataclass
class Box:
    """Services in one folder, on a free port, without a network."""

    folder: Path
    port: int = field(default_factory=lambda: free_port())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> httpx.Client:
        return connect(f"{self.url}/api")

    @property
    def network_log(self) -> Path:
        return self.folder / "network.log"

    def bloomery(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Type a command."""
        (self.folder / "site").mkdir(exist_ok=True)
        (self.folder / "site/sitecustomize.py").write_text(NO_NETWORK)
        environ = {
            k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "BLOOMERY_"))
        }
        environ["PYTHONPATH"] = f"{self.folder / 'site'}:{ROOT}"
        environ["NETWORK_LOG"] = str(self.network_log)
        environ["PYTHONUNBUFFERED"] = "1"
        command = [sys.executable, "-c", "from flows.cli import main; main()", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=500
        )

    def up(self) -> str:
        done = self.bloomery("up", "--port", str(self.port))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def down(self) -> str:
        done = self.bloomery("down")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def processes(self) -> list[psutil.Process]:
        """Every process that was started with this box's environment and still lives."""
        mine = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("NETWORK_LOG") == str(self.network_log):
                    mine.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return mine

    def kill(self) -> None:
        """The last resort, when `down` itself is broken."""
        for process in self.processes():
            process.send_signal(signal.SIGKILL)

    def start(self, deployment: str, parameters: dict[str, Any]) -> str:
        """Start a run, as the UI's form does; returns its id."""
        found = self.api.get(f"/deployments/name/{deployment}").raise_for_status().json()
        url = f"/deployments/{found['id']}/create_flow_run"
        run = self.api.post(url, json={"parameters": parameters}).raise_for_status().json()
        return str(run["id"])

    def cancel(self, run: str) -> None:
        """Cancel a run, as the UI's menu does."""
        state = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        self.api.post(f"/flow_runs/{run}/set_state", json=state).raise_for_status()

    def trainers(self) -> list[psutil.Process]:
        """The training processes of this box."""
        return [p for p in self.processes() if "model.launch" in " ".join(p.cmdline())]

    def wait(self, run: str) -> dict[str, Any]:
        """Wait for a run to end; returns what the server says of it."""
        deadline = time.monotonic() + RUN_TIMEOUT_SECONDS
        while True:
            found: dict[str, Any] = self.api.get(f"/flow_runs/{run}").raise_for_status().json()
            if found["end_time"] or time.monotonic() > deadline:
                return found
            time.sleep(0.5)

    def task_states(self, run: str) -> list[str]:
        """How each task of a run ended; the server records that a little later."""
        query = {"flow_runs": {"id": {"any_": [run]}}}
        deadline = time.monotonic() + RUN_TIMEOUT_SECONDS
        while True:
            tasks = self.api.post("/task_runs/filter", json=query).raise_for_status().json()
            is_recorded = tasks and all(task["end_time"] for task in tasks)
            if is_recorded or time.monotonic() > deadline:
                return [task["state_name"] for task in tasks]
            time.sleep(0.5)

    def tiny_parameters(self) -> dict[str, Any]:
        """The smallest corpus that can be curated: a few modules of the standard library."""
        (code,) = [source for source in DEMO.sources if source.kind == "code"]
        paths = [textwrap.__file__, argparse.__file__, heapq.__file__, string.__file__]
        params = DEMO.model_dump(mode="json")
        params["name"] = "tiny"
        params["sources"] = [code.model_dump(mode="json") | {"paths": paths}]
        params["mix"] |= {"weights": [], "token_budget": 1000}
        return {
            "params": params,
            "machine": {"store": str(self.folder / "store"), "num_workers": 1},
        }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0
