"""The images and the compose file, checked without a Docker engine."""

import importlib.resources
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from flows.prefect_env import _settings

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {n: s for n, s in SERVICES.items() if s["image"].startswith("bloomery-")}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda p: p.name)
def test_hadolint_has_no_complaint(dockerfile: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", dockerfile], capture_output=True, text=True)
    assert not done.stdout and not done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda p: p.name)
def test_an_image_is_pinned_small_and_not_root(dockerfile: Path) -> None:
    text = dockerfile.read_text()
    assert all(re.fullmatch(r"[^:]+:\d+\.\d+\.\d+-\S+", i) for i in _bases(text)), "pin it"
    assert len(_bases(text)) == 2, "compilers stay in the first stage"
    assert text.count("--constraint constraints.txt") == text.count("pip install")
    assert re.findall(r"^USER (\d+)", text, re.M)[-1] != "0"
    assert 'ENTRYPOINT ["python"' in text, "a shell would swallow signals"


def _bases(text: str) -> list[str]:
    return re.findall(r"^FROM (\S+)", text, re.M)


def test_an_image_takes_the_pinned_torch_from_the_index_it_is_given() -> None:
    for name in ("cpu.Dockerfile", "gpu.Dockerfile"):
        text = (DOCKER / name).read_text()
        assert text.index("ARG TORCH_INDEX=\n") < text.index('--extra-index-url "$TORCH_INDEX"')
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()


def test_images_hold_what_runs_and_no_more() -> None:
    kept = set()
    for dockerfile in DOCKERFILES:
        ignore = dockerfile.with_name(dockerfile.name + ".dockerignore").read_text()
        lines = [line for line in ignore.splitlines() if line and not line.startswith("#")]
        assert lines[0] == "*"
        kept |= {line[1:] for line in lines if line.startswith("!")}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())
    include = packages["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.rstrip("*") for name in include} <= kept
    assert {"pyproject.toml", "constraints.txt", "prefect.toml", "deployments"} <= kept
    assert all((ROOT / name).exists() for name in kept)


def test_an_image_holds_the_reader_that_its_first_stage_builds(tmp_path: Path) -> None:
    copies = set()
    for dockerfile in DOCKERFILES:
        _, first, last = dockerfile.read_text().split("\nFROM ")
        copies.add(tuple(re.findall(r"^COPY (.+)$", first, re.M)))
        assert "python setup.py build_ext --inplace\n" in first
        for room in ("extract", "common"):
            assert f"\nCOPY --from=build /app/tasks/{room}/*.so tasks/{room}/\n" in last
        ignored = dockerfile.with_name(dockerfile.name + ".dockerignore").read_text().splitlines()
        assert "!setup.py" in ignored
        assert "**/*.so" in ignored, "one from the machine that builds may not run in the image"
    (lines,) = copies
    for line in lines:
        *sources, target = line.split()
        for source in sources:
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, tmp_path / target)
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(build, cwd=tmp_path, check=True)
    assert list(tmp_path.glob("tasks/extract/_native*.so"))
    assert list(tmp_path.glob("tasks/common/_language*.so"))


def test_an_image_holds_the_openmp_that_lightgbm_loads() -> None:
    """Its wheel brings none; gcc, which torch.compile needs, depends on it."""
    for dockerfile in DOCKERFILES:
        *_, last = dockerfile.read_text().split("\nFROM ")
        assert re.search(r"apt-get install .*(libgomp1|gcc)\b", last), dockerfile.name


def test_the_compose_file_fits_the_specification() -> None:
    schemas = importlib.resources.files("check_jsonschema.builtin_schemas.vendor")
    schema = json.loads((schemas / "compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(COMPOSE)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_and_its_health_is_known(name: str) -> None:
    service = SERVICES[name]
    tag = service["image"].rpartition(":")[2]
    assert re.match(r"\d+\.\d+", tag), f"{service['image']}: pin it"
    assert "healthcheck" in service or "on-failure" in service["restart"]
    for other, wait in service.get("depends_on", {}).items():
        one_shot = "healthcheck" not in SERVICES[other]
        condition = "service_completed_successfully" if one_shot else "service_healthy"
        assert wait == {"condition": condition}


def test_every_volume_is_declared_and_used_and_every_port_is_on_loopback() -> None:
    mounts = {v.partition(":")[0] for s in SERVICES.values() for v in s.get("volumes", [])}
    assert mounts == set(COMPOSE["volumes"])
    ports = [port for s in SERVICES.values() for port in s.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_a_setting_is_said_once_in_prefect_toml() -> None:
    for service in OURS.values():
        assert not set(service["environment"]) & set(_settings())


def test_workers_serve_the_pools_that_the_deployments_use() -> None:
    file = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())
    wanted = {d["work_pool"]["name"] for d in file["deployments"]}
    commands = [s["command"] for n, s in SERVICES.items() if n.startswith("worker")]
    assert {c[c.index("--pool") + 1] for c in commands} == wanted
    for command in commands:
        assert "--with-healthcheck" in command
        if "gpu" in command:
            assert command[command.index("--limit") + 1] == "1"


def test_the_gpu_worker_reserves_gpus_and_reaps_its_children() -> None:
    worker = SERVICES["worker-gpu"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia" and "gpu" in device["capabilities"]
    assert all(s.get("init") for n, s in OURS.items() if n != "bootstrap")


def test_every_secret_has_an_example() -> None:
    wanted = set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.yaml").read_text()))
    given = set(re.findall(r"^#?(\w+)=", (DOCKER / "env.example").read_text(), re.M))
    assert wanted <= given


def test_docker_is_no_package() -> None:
    """It would shadow the ``docker`` package that Prefect imports."""
    assert not list(DOCKER.glob("*.py")) and not (ROOT / "deployments/__init__.py").exists()
