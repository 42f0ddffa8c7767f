"""Fill an empty Prefect server with what Bloomery's runs need; a second time changes nothing.

In: the server at ``PREFECT_API_URL``, ``prefect.yaml`` and ``automations.yaml`` beside this file,
the presets. Out: work pools, the limit for GPUs, automations, deployments with filled forms.
Run from the repository root: ``python -m flows.prefect_env python -m deployments.bootstrap``.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from flows.presets import PRESETS
from flows.services import connect

log = logging.getLogger("bloomery.bootstrap")

HERE = Path(__file__).resolve().parent
POOLS = {
    "cpu": "Data work: crawl, extract, filter, deduplicate. Uses every core of its machine.",
    "gpu": "Training and evaluation, one run at a time; on a machine without a GPU, on its CPU.",
}
GPU_SLOTS = int(os.environ.get("BLOOMERY_GPU_SLOTS", "1"))
OTHERS_PRESET = "demo"
PAGE_SIZE = 200


def bootstrap(api: httpx.Client, store: str) -> None:
    """Create whatever is missing, and bring every deployment up to date with this repository."""
    for name, description in POOLS.items():
        _ensure_pool(api, name, description)
    _ensure_gpu_slots(api, GPU_SLOTS)
    for automation in yaml.safe_load((HERE / "automations.yaml").read_text())["automations"]:
        _ensure_automation(api, automation)
    switched_on = set(_active_schedules(api))
    _deploy()
    for deployment in _ours(api):
        _fill_form(api, deployment, store)
        _keep_switched_on(api, deployment, switched_on)


def _ensure_pool(api: httpx.Client, name: str, description: str) -> None:
    if api.get(f"/work_pools/{name}").status_code == httpx.codes.NOT_FOUND:
        pool = {"name": name, "type": "process", "description": description}
        api.post("/work_pools/", json=pool).raise_for_status()
        log.info("work pool %s created", name)


def _ensure_gpu_slots(api: httpx.Client, slots: int) -> None:
    if api.get("/v2/concurrency_limits/gpu").status_code == httpx.codes.NOT_FOUND:
        limit = {"name": "gpu", "limit": slots, "active": True}
        api.post("/v2/concurrency_limits/", json=limit).raise_for_status()
        log.info("concurrency limit gpu created: %d", slots)


def _ensure_automation(api: httpx.Client, automation: dict[str, Any]) -> None:
    """Create it, or replace one that this file has changed; one switched off stays so."""
    name = automation["name"]
    found = _post(api, "/automations/filter", {"automations": {"name": {"any_": [name]}}})
    if not found:
        api.post("/automations/", json=automation).raise_for_status()
        log.info("automation %s created", name)
        return
    update = automation | {"enabled": found[0]["enabled"]}
    api.put(f"/automations/{found[0]['id']}", json=update).raise_for_status()


def _deploy() -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    command += ["--prefect-file", str(HERE / "prefect.yaml")]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    log.debug("%s", done.stdout)
    if done.returncode:
        raise RuntimeError(f"prefect deploy failed:\n{done.stdout}\n{done.stderr}")


def _fill_form(api: httpx.Client, deployment: dict[str, Any], store: str) -> None:
    """Give the custom-run form the whole preset, where Prefect alone would show an empty one."""
    preset = PRESETS.get(deployment["name"], PRESETS[OTHERS_PRESET])
    # the number of workers is left out: it is the machine's that runs it, not this one's
    parameters = {"params": preset.model_dump(mode="json"), "machine": {"store": store}}
    url = f"/deployments/{deployment['id']}"
    api.patch(url, json={"parameters": parameters}).raise_for_status()


def _active_schedules(api: httpx.Client) -> Iterator[tuple[str, str]]:
    for deployment in _ours(api):
        for schedule in deployment["schedules"]:
            if schedule["active"]:
                yield deployment["id"], schedule["slug"]


def _keep_switched_on(
    api: httpx.Client, deployment: dict[str, Any], switched_on: set[tuple[str, str]]
) -> None:
    """Deploying again switches a schedule off that somebody has switched on in the UI."""
    for schedule in deployment["schedules"]:
        if (deployment["id"], schedule["slug"]) in switched_on:
            url = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
            api.patch(url, json={"active": True}).raise_for_status()


def _ours(api: httpx.Client) -> list[dict[str, Any]]:
    """The deployments of ``prefect.yaml``; a user may have made others."""
    declared = yaml.safe_load((HERE / "prefect.yaml").read_text())["deployments"]
    ours = {(one["entrypoint"], one["name"]) for one in declared}
    found = _post(api, "/deployments/filter", {"limit": PAGE_SIZE})
    return [one for one in found if (one["entrypoint"], one["name"]) in ours]


def _post(api: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    return api.post(path, json=body).raise_for_status().json()


def main() -> None:
    """Bootstrap the server of ``PREFECT_API_URL`` for the store of ``BLOOMERY_STORE``."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    store = os.environ.get("BLOOMERY_STORE", "store")
    if "://" not in store:
        store = str(Path(store).resolve())
    try:
        url = os.environ["PREFECT_API_URL"]
    except KeyError:
        raise ValueError("PREFECT_API_URL names no server: set it, or run `bloomery up`") from None
    with connect(url) as api:
        bootstrap(api, store)
    log.info("deployments registered; new runs keep their artifacts in %s", store)


if __name__ == "__main__":
    main()
