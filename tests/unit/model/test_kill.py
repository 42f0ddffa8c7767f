"""``kill -9`` at any moment, as often as one likes, and the bits are those of a calm run."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from model.checkpoint import latest_checkpoint
from model.job import MixturePhase, PretrainData
from model.options import FinetuneConfig, GuardConfig
from model.trainer import train

ROOT = Path(__file__).parents[3]
START = [sys.executable, "-m"]
STEPS = 160
# So easily alarmed that even the calm run is rolled back.
WATCHFUL = GuardConfig(
    on_spike="rollback",
    window_steps=16,
    spike_sigmas=4,
    rollback_batches=3,
    max_skips_in_a_row=STEPS,
)


class ForkServer:
    """Runs jobs as processes without waiting for their imports."""

    def __init__(self) -> None:
        self._running: int | None = None
        self._server = subprocess.Popen(
            [*START, "tests.unit.model.fork_server"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def start(self, job_path: Path) -> int:
        self._server.stdin.write(f"{job_path}\n")
        self._server.stdin.flush()
        self._running = int(self._server.stdout.readline())
        return self._running

    def wait(self, pid: int) -> int:
        code = int(self._server.stdout.readline())
        self._running = None
        return code

    def close(self) -> None:
        if self._running:  # a test has failed
            with suppress(ProcessLookupError):
                os.kill(self._running, signal.SIGKILL)
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(timeout=60)


class WholeProcesses:
    """Runs jobs as users do."""

    def __init__(self) -> None:
        self._running: subprocess.Popen | None = None

    def start(self, job_path: Path) -> int:
        command = [*START, "model.launch", str(job_path)]
        self._running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        return self._running.pid

    def wait(self, pid: int) -> int:
        return self._running.wait(timeout=300)

    def close(self) -> None:
        if self._running:
            self._running.kill()
            self._running.wait()


@pytest.fixture
def runner(request):
    made = request.param()
    yield made
    made.close()


@pytest.fixture
def killed_job(make_job, data, base_model):
    """The mode that has the most to lose: phases, epochs, dropout, averages, a guard's window."""

    def make(out_dir: Path):
        groups = {"web": [str(data / "web.bin")], "code": [str(data / "code.bin")]}
        mixture = PretrainData(
            groups=groups,
            weights={"web": 0.7, "code": 0.3},
            phases=[MixturePhase(first_step=STEPS // 2, weights={"code": 1.0})],
        )
        return make_job(
            "pretrain",
            out_dir=str(out_dir),
            steps=STEPS,
            model=None,
            init_from=str(base_model),
            data=mixture,
            finetune=FinetuneConfig(rank=2, dropout=0.2),
            ema_decay=0.95,
            guard=WATCHFUL,
            checkpoint_every_steps=2,
            eval_every_steps=STEPS,
        )

    return make


def wait_for_moment(out_dir: Path, rng: random.Random, is_running) -> None:
    """Until a few steps after work has begun, and then some moment; or the middle of a save."""
    log = out_dir / "metrics.jsonl"
    before = log.stat().st_ino if log.exists() else None
    while is_running() and (not log.exists() or log.stat().st_ino == before):
        time.sleep(0.001)
    begun, wanted = num_lines(log), rng.randrange(15)
    while is_running() and num_lines(log) < begun + wanted:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.01))
    if rng.random() < 0.5:
        while is_running() and not any((out_dir / "checkpoints").glob(".step-*.part")):
            time.sleep(0.0005)


def num_lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("runner", "num_kills"),
    [
        pytest.param(ForkServer, 20, id="forked-20"),
        pytest.param(WholeProcesses, 20, id="whole-20", marks=pytest.mark.external),
    ],
    indirect=["runner"],
)
def test_killed_at_random_moments_it_ends_with_the_same_bits(
    runner, num_kills, killed_job, write_job, tmp_path
):
    calm, killed = killed_job(tmp_path / "calm"), killed_job(tmp_path / "killed")
    train(calm)
    assert '"rolled_back"' in (tmp_path / "calm" / "metrics.jsonl").read_text()
    path, out_dir, rng = write_job(killed), tmp_path / "killed", random.Random(20)
    kills = mid_saves = with_checkpoint = 0
    while True:
        is_enough = kills >= num_kills and mid_saves
        pid = runner.start(path)
        if not is_enough:
            wait_for_moment(out_dir, rng, lambda pid=pid: alive(pid))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        code = runner.wait(pid)
        if code == 0:
            assert ending(killed) == ending(calm)
            if is_enough:
                break
            shutil.rmtree(out_dir)  # over before it was killed often enough: once more
            continue
        assert code == -signal.SIGKILL
        kills += 1
        mid_saves += any((out_dir / "checkpoints").glob(".step-*.part"))
        with_checkpoint += latest_checkpoint(out_dir / "checkpoints") is not None
    assert with_checkpoint, "nothing was done between the kills"


def ending(job) -> tuple[bytes, bytes]:
    """The weights and the optimizer's state that a run leaves."""
    out_dir = Path(job.out_dir)
    state = latest_checkpoint(out_dir / "checkpoints") / "trainer.safetensors"
    return (out_dir / "final" / "model.safetensors").read_bytes(), state.read_bytes()
