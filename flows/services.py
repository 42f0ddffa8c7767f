"""The services on this machine: Prefect's server and the workers, started and stopped together.

In: a free port, the state folder. Out: a server with everything registered, one worker a pool, and
``services.json`` that says what was started, so that nothing else is ever stopped. What the server
is filled with is ``deployments/bootstrap.py``; settings come from ``prefect_env``.
"""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from flows.prefect_env import ROOT, SERVICES_FILE, answers, configure

LOOPBACK = ("127.0.0.1", "localhost", "::1")
WORKER_LIMITS = {"cpu": 2, "gpu": 1}  # runs at the same time, by work pool
START_TIMEOUT_SECONDS = 240.0
STOP_TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.5
BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.BAD_GATEWAY, httpx.codes.SERVICE_UNAVAILABLE)
BUSY_TIMEOUT_SECONDS = 60.0
LOG_TAIL_LINES = 20


@dataclass(frozen=True)
class Service:
    """A process that ``up`` started. Its creation time tells it from a later one of that number."""

    name: str
    pid: int
    created: float
    log: str

    def process(self) -> psutil.Process | None:
        """The process, while it lives."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 1.0
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True)
class Services:
    """What runs in one state folder."""

    api_url: str
    services: tuple[Service, ...] = ()

    @property
    def ui_url(self) -> str:
        """The address for a browser."""
        return self.api_url.removesuffix("/api")

    def dead(self) -> list[str]:
        """The names of those that are gone."""
        return [service.name for service in self.services if not service.process()]


def up(host: str = "127.0.0.1", port: int = 4200, workers: bool = True) -> None:
    """Start the server and the workers of this folder and register every deployment.

    Raises:
        ValueError: the port is taken, some services died, or another server is configured.
    """
    state = configure()
    api_url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}/api"
    with _only_one(state):
        if running := _load(state):
            _check_whole(running)
            print(f"already running: {running.ui_url}; nothing changed")
            return
        _check_free(host, port, api_url)
        if host not in LOOPBACK:
            print(
                f"anyone who reaches {host}:{port} can run code here: docker/README.md has a login"
            )
        os.environ["PREFECT_API_URL"] = api_url
        os.environ["BLOOMERY_STORE"] = _absolute(os.environ.get("BLOOMERY_STORE", "store"))
        try:
            _start(state, host, port, api_url, workers)
        except BaseException:
            _stop(state, grace_seconds=0)
            raise
    print(f"ready: {api_url.removesuffix('/api')}")
    print("start a run under Deployments there; stop everything with `bloomery down`")


def down(grace_seconds: float = 25.0) -> None:
    """Stop what ``up`` started; running runs are cancelled and get time to write a checkpoint."""
    state = configure()
    with _only_one(state):
        if not _load(state):
            print(f"nothing to stop: no services were started in {state}")
            return
        _stop(state, grace_seconds)


def status() -> bool:
    """Print what runs in this folder; returns whether all of it is well."""
    state = configure()
    running = _load(state)
    if not running:
        print(f"not running in {state}: start it with `bloomery up`")
        return False
    healthy = answers(running.api_url)
    print(f"{running.ui_url}  {'answers' if healthy else 'DOES NOT ANSWER'}")
    for service in running.services:
        life = f"process {service.pid}" if service.process() else "GONE"
        print(f"  {service.name:<11} {life:<15} {service.log}")
    return healthy and not running.dead()


class PatientTransport(httpx.HTTPTransport):
    """Asks again when the server is busy: SQLite is locked now and then, which it answers 503."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send, and send again for a while."""
        deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
        while True:
            response = super().handle_request(request)
            if response.status_code not in BUSY or time.monotonic() > deadline:
                return response
            response.close()
            time.sleep(POLL_SECONDS)


def connect(api_url: str) -> httpx.Client:
    """A client of Prefect's REST API; several times faster to have than importing Prefect."""
    login = os.environ.get("PREFECT_API_AUTH_STRING")
    auth = httpx.BasicAuth(*login.split(":", 1)) if login else None
    return httpx.Client(base_url=api_url, auth=auth, timeout=60, transport=PatientTransport())


def _start(state: Path, host: str, port: int, api_url: str, workers: bool) -> None:
    server = ["prefect", "server", "start", "--host", host, "--port", str(port)]
    with _progress(f"starting Prefect's server on {api_url.removesuffix('/api')}"):
        _wait(partial(answers, api_url), _spawn(state, api_url, "server", server))
    with _progress("registering deployments"):
        _bootstrap(state)
    with connect(api_url) as api:
        for pool, limit in WORKER_LIMITS.items() if workers else ():
            name = f"{pool}@{socket.gethostname()}"
            worker = ["prefect", "worker", "start", "--type", "process", "--pool", pool]
            worker += ["--name", name, "--limit", str(limit)]
            with _progress(f"starting worker {pool}"):
                since = datetime.now(UTC)
                service = _spawn(state, api_url, f"worker-{pool}", worker)
                _wait(partial(_polls, api, pool, since), service)
        for pool in _paused_pools(api):
            print(f"work pool {pool} is paused: its runs wait until it is resumed in the UI")


def _spawn(state: Path, api_url: str, name: str, command: Sequence[str]) -> Service:
    """Start a process that outlives this one, and note it down before anything can go wrong."""
    log = state / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.prefect_env", sys.executable, "-m", *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    service = Service(name, process.pid, psutil.Process(process.pid).create_time(), str(log))
    before = _load(state) or Services(api_url)
    _save(state, Services(api_url, (*before.services, service)))
    return service


def _bootstrap(state: Path) -> None:
    log = state / "logs" / "bootstrap.log"
    with log.open("w") as output:
        command = [sys.executable, "-m", "deployments.bootstrap"]
        done = subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, check=False)
    if done.returncode:
        raise RuntimeError(f"registering deployments failed:\n{_tail(log)}")


def _polls(api: httpx.Client, pool: str, since: datetime) -> bool:
    """Whether a worker has asked ``pool`` for work since then."""
    workers = api.post(f"/work_pools/{pool}/workers/filter", json={}).raise_for_status().json()
    beats = [w["last_heartbeat_time"] for w in workers if w["last_heartbeat_time"]]
    return any(datetime.fromisoformat(beat) >= since for beat in beats)


def _stop(state: Path, grace_seconds: float) -> None:
    """Workers first: a run whose worker dies under it stays ``Running`` for ever."""
    running = _load(state)
    if not running:
        return
    workers = [s for s in running.services if s.name != "server"]
    with connect(running.api_url) as api:
        healthy = answers(running.api_url)
        paused = _pause_pools(api) if healthy else []
        if healthy:
            _cancel_runs(api, grace_seconds)
        for service in workers:
            _end(service)
        _end_orphans(state)
        if healthy:
            _bury_runs(api)
            _set_paused(api, paused, False)
            if waiting := len(_runs(api, "SCHEDULED")):
                print(f"{waiting} waiting runs start at the next `bloomery up`")
    for service in running.services:
        if service not in workers:
            _end(service)
    (state / SERVICES_FILE).unlink()


def _cancel_runs(api: httpx.Client, grace_seconds: float) -> None:
    runs = _live_runs(api)
    for run in runs:
        print(f"cancelling {run['name']}: what it has made is kept")
        state = {"type": "CANCELLING", "message": "bloomery down"}
        api.post(f"/flow_runs/{run['id']}/set_state", json={"state": state}).raise_for_status()
    deadline = time.monotonic() + grace_seconds
    while _live_runs(api) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _bury_runs(api: httpx.Client) -> None:
    """No worker is left: a run that is not over would look alive for ever."""
    for run in _live_runs(api):
        print(f"{run['name']} did not end in time: marked Crashed")
        state = {"type": "CRASHED", "message": "bloomery down: it did not end in time"}
        body = {"state": state, "force": True}
        api.post(f"/flow_runs/{run['id']}/set_state", json=body).raise_for_status()


def _live_runs(api: httpx.Client) -> list[dict[str, Any]]:
    """Runs that hold a process of a worker of ours; a suspended one holds none."""
    runs = _runs(api, "PENDING", "RUNNING", "PAUSED", "CANCELLING")
    return [run for run in runs if run["state_name"] != "Suspended"]


def _runs(api: httpx.Client, *state_types: str) -> list[dict[str, Any]]:
    """Runs in our pools, except those a schedule has merely foreseen."""
    query = {
        "work_pools": {"name": {"any_": list(WORKER_LIMITS)}},
        "flow_runs": {
            "state": {"type": {"any_": state_types}},
            "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
        },
    }
    found: list[dict[str, Any]]
    found = api.post("/flow_runs/filter", json=query).raise_for_status().json()
    return found


def _pause_pools(api: httpx.Client) -> list[str]:
    """Keep workers from taking the next run while the last one ends; returns those to resume."""
    open_pools = sorted(set(WORKER_LIMITS) - set(_paused_pools(api)))
    _set_paused(api, open_pools, True)
    return open_pools


def _set_paused(api: httpx.Client, pools: Sequence[str], paused: bool) -> None:
    for pool in pools:
        api.patch(f"/work_pools/{pool}", json={"is_paused": paused})


def _paused_pools(api: httpx.Client) -> list[str]:
    pools = api.post("/work_pools/filter", json={}).raise_for_status().json()
    return [pool["name"] for pool in pools if pool["is_paused"]]


def _end(service: Service) -> None:
    process = service.process()
    if not process:
        print(f"{service.name} was gone already")
        return
    gently = _end_family(process)
    print(f"stopped {service.name}" + ("" if gently else " the hard way"))


def _end_orphans(state: Path) -> None:
    """End runs that outlived their worker: Prefect's engine, started from this state folder."""
    for process in psutil.process_iter():
        try:
            is_run = "prefect.engine" in process.cmdline()
            if is_run and process.environ().get("BLOOMERY_HOME") == str(state):
                _end_family(process)
                print(f"stopped a run whose worker had died (process {process.pid})")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def _end_family(process: psutil.Process) -> bool:
    """Ask a process to end, then make sure of it and of everything it started."""
    family = [process, *process.children(recursive=True)]
    process.terminate()
    _, left = psutil.wait_procs([process], timeout=STOP_TIMEOUT_SECONDS)
    for relative in psutil.wait_procs(family, timeout=POLL_SECONDS)[1]:
        relative.kill()  # psutil compares creation times: a reused number is safe
    return not left


def _wait(done: Callable[[], bool], service: Service) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while not done():
        if not service.process():
            raise RuntimeError(f"{service.name} ended:\n{_tail(Path(service.log))}")
        if time.monotonic() > deadline:
            seconds = f"{START_TIMEOUT_SECONDS:.0f} s"
            raise RuntimeError(f"{service.name} is not ready after {seconds}: see {service.log}")
        time.sleep(POLL_SECONDS)


def _check_whole(running: Services) -> None:
    if dead := running.dead():
        raise ValueError(f"{', '.join(dead)} died: run `bloomery down`, then `bloomery up`")
    if not answers(running.api_url):
        raise ValueError(f"{running.api_url} does not answer: `bloomery down`, then `bloomery up`")


def _check_free(host: str, port: int, api_url: str) -> None:
    if os.environ.get("PREFECT_API_URL", api_url) != api_url:
        other = os.environ["PREFECT_API_URL"]
        raise ValueError(f"PREFECT_API_URL is {other}: unset it to run a server here")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ValueError(f"port {port} on {host}: {error.strerror}; give another") from error


@contextmanager
def _only_one(state: Path) -> Iterator[None]:
    """Keep two commands from starting and stopping at the same time."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "services.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another `bloomery up` or `down` is at work in {state}") from None
        yield


@contextmanager
def _progress(doing: str) -> Iterator[None]:
    started = time.monotonic()
    print(f"{doing} …", end=" ", flush=True)
    try:
        yield
    except BaseException:
        print("failed")
        raise
    print(f"{time.monotonic() - started:.0f} s")


def _load(state: Path) -> Services | None:
    try:
        record = json.loads((state / SERVICES_FILE).read_text())
    except FileNotFoundError:
        return None
    return Services(record["api_url"], tuple(Service(**s) for s in record["services"]))


def _save(state: Path, services: Services) -> None:
    draft = state / f"{SERVICES_FILE}.draft"
    draft.write_text(json.dumps(asdict(services), indent=2))
    draft.replace(state / SERVICES_FILE)


def _absolute(store: str) -> str:
    return store if "://" in store else str(Path(store).resolve())


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
