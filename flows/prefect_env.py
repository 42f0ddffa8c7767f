"""Prefect's settings, given to it before it is imported.

In: ``prefect.toml`` of this repository, the state folder, the caller's environment. Out:
environment variables, which child processes inherit. What the caller exported always wins. This
module must not import Prefect, which reads its settings once, when it is imported.

As a program it runs another with these settings: ``python -m flows.prefect_env prefect version``.
"""

import json
import os
import signal
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

ROOT = Path(__file__).resolve().parents[1]
SERVICES_FILE = "services.json"  # what `bloomery up` started, in the state folder
HEALTH_TIMEOUT_SECONDS = 2.0


def configure(home: Path | None = None) -> Path:
    """Set Prefect up for this project; call it before Prefect is imported.

    Prefect's own files go to the state folder, so a user's profiles are neither read nor changed.
    A server started here by ``bloomery up`` is used if it answers; else flows run without one.

    Args:
        home: the state folder; by default ``$BLOOMERY_HOME``, or ``.bloomery`` in the current one.

    Returns:
        The state folder, absolute.
    """
    state = (home or Path(os.environ.get("BLOOMERY_HOME", ".bloomery"))).resolve()
    os.environ["BLOOMERY_HOME"] = str(state)
    for name, value in _settings().items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_HOME", str(state / "prefect"))
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)  # it makes no parents
    _keep_proxies_off_loopback()
    if "PREFECT_API_URL" not in os.environ and (url := running_server(state)):
        os.environ["PREFECT_API_URL"] = url
    return state


def running_server(state: Path) -> str | None:
    """The API address of the server that ``bloomery up`` started here, if it answers now."""
    try:
        url = str(json.loads((state / SERVICES_FILE).read_text())["api_url"])
    except FileNotFoundError:
        return None
    return url if answers(url) else None


def answers(api_url: str) -> bool:
    """Whether a Prefect server is healthy at ``api_url``."""
    direct = build_opener(ProxyHandler({}))  # a proxy knows nothing of our loopback
    try:
        with direct.open(f"{api_url}/health", timeout=HEALTH_TIMEOUT_SECONDS) as response:
            return bool(response.read() == b"true")
    except (URLError, OSError):
        return False


def _keep_proxies_off_loopback() -> None:
    for name in ("NO_PROXY", "no_proxy"):
        hosts = os.environ.get(name, "").split(",")
        os.environ[name] = ",".join(dict.fromkeys([*filter(None, hosts), "127.0.0.1", "localhost"]))


def _settings() -> dict[str, str]:
    toml = tomllib.loads((ROOT / "prefect.toml").read_text())
    settings = dict(_flatten("PREFECT", toml))
    settings["DO_NOT_TRACK"] = "1"  # the client's telemetry; it has no key in prefect.toml
    return settings


def _flatten(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        name = f"{prefix}_{key.upper()}"
        if isinstance(value, Mapping):
            yield from _flatten(name, value)
        else:
            yield name, str(value).lower() if isinstance(value, bool) else str(value)


def main() -> None:
    """Become the command in the arguments, with the settings in its environment."""
    configure()
    # a shell that starts us with `&` has SIGINT ignored; a worker could then not be stopped
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
