"""Real ranks under torchrun, really killed."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model import elastic, launch
from model.options import OptimConfig
from model.process import EventTail, TrainingStopped, run_job
from model.trainer import train
from tests.ranks import run_ranks
from tests.unit.model.test_process import is_running, last_step, trainers_of, wait_for

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for ranks in /proc")


def rank_of(pid: int) -> str | None:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    found = [v.removeprefix(b"RANK=") for v in variables if v.startswith(b"RANK=")]
    return found[0].decode() if found else None


def start(job_path: Path, *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "model.launch", str(job_path), *options],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def end(process: subprocess.Popen) -> None:
    """Whatever has happened, nobody is left."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def final_bytes(job) -> bytes:
    return (Path(job.out_dir) / "final" / "model.safetensors").read_bytes()


@pytest.mark.timeout(240)
def test_ranks_begin_again_when_one_is_killed_and_end_with_the_same_bits(
    make_job, write_job, tmp_path
):
    settings = {"steps": 60, "eval_every_steps": 30, "checkpoint_every_steps": 5}
    calm = make_job("pretrain", out_dir=str(tmp_path / "calm"), **settings)
    job = make_job("pretrain", out_dir=str(tmp_path / "killed"), **settings)
    path = write_job(job)
    seen = []

    def kill_one(event):
        seen.append(event)
        if event["event"] == "step" and event["step"] == 22 and not killed:
            (one,) = [pid for pid in trainers_of(path) if rank_of(pid) == "1"]
            killed.append(one)
            os.kill(one, signal.SIGKILL)

    killed = []
    run_job(path, on_event=kill_one, num_processes=2, max_restarts=1)
    assert killed
    assert not is_running(killed[0])
    assert trainers_of(path) == []
    (resumed,) = [e["step"] for e in seen if e["event"] == "resumed"]
    assert 0 < resumed <= 25
    again = [
        e["step"]
        for e in seen[[e["event"] for e in seen].index("resumed") :]
        if e["event"] == "step"
    ]
    assert again == list(range(resumed + 1, 61))
    assert seen[-1]["event"] == "done"
    run_ranks(2, train, calm, folder=tmp_path)
    assert final_bytes(job) == final_bytes(calm)


@pytest.mark.timeout(240)
def test_stopped_on_two_ranks_a_run_goes_on_with_one(make_job, write_job, tmp_path, replace):
    steady = OptimConfig(lr=3e-3, warmup_steps=2, decay="constant")  # whatever the last step is
    settings = {"steps": 100_000, "eval_every_steps": 100_000, "optim": steady}
    job = make_job("sft", out_dir=str(tmp_path / "stopped"), **settings)
    path = write_job(job)
    process = start(path, "--num-processes", "2", "--max-restarts", "2")
    try:
        wait_for(lambda: last_step(job) >= 3, seconds=100)
        process.terminate()
        assert process.wait(timeout=60) == launch.EXIT_STOPPED
        wait_for(lambda: not trainers_of(path))
    finally:
        end(process)
    (saved,) = (tmp_path / "stopped" / "checkpoints").glob("step-*")
    stopped_at = int(saved.name.removeprefix("step-"))
    assert stopped_at == last_step(job)
    calm = make_job("sft", out_dir=str(tmp_path / "calm"), **settings)
    for each in (job, calm):
        train(replace(each, steps=stopped_at + 3))
    ours, theirs = (
        load_file(Path(each.out_dir) / "final" / "model.safetensors") for each in (job, calm)
    )
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=5e-5)


@pytest.mark.timeout(120)
def test_no_trainer_is_left_running_not_even_one_that_hears_nothing(make_job, write_job):
    """One rank stands still, so that the other waits for it inside of a step."""
    job = make_job("pretrain", steps=100_000, eval_every_steps=100_000)
    path, stopped = write_job(job), []

    def ask_to_stop() -> bool:
        if last_step(job) >= 3 and not stopped:
            stopped.extend(pid for pid in trainers_of(path) if rank_of(pid) == "1")
            os.kill(stopped[0], signal.SIGSTOP)
        return bool(stopped)

    with pytest.raises(TrainingStopped):
        run_job(path, should_stop=ask_to_stop, num_processes=2, grace_seconds=2)
    assert trainers_of(path) == []


@pytest.mark.timeout(120)
def test_ranks_end_when_torchrun_is_killed(make_job, write_job, monkeypatch):
    """The one that stands still hears nothing, the other hangs: nobody is left to end them."""
    job = make_job("pretrain", steps=100_000, eval_every_steps=100_000)
    path = write_job(job)
    code = f"from model import launch; launch.ORPHAN_SECONDS = 1; launch.main([{str(path)!r}])"
    monkeypatch.setenv("BLOOMERY_VERDICT_PATH", str(path.with_name("verdict")))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rank = [sys.executable, "-c", code]
    agent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess; subprocess.run({rank!r})"], cwd=ROOT
    )
    wait_for(lambda: last_step(job) >= 3)
    (pid,) = (pid for pid in trainers_of(path) if pid != agent.pid)
    os.kill(pid, signal.SIGSTOP)  # it hears nothing
    agent.kill()
    agent.wait()
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: not is_running(pid))


def test_ranks_share_the_cores(tmp_path, monkeypatch):
    told = {}
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("model.threads.own_cores", lambda: 9)
    monkeypatch.setattr("torch.distributed.run.run", lambda _: told.update(os.environ))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    elastic.run_ranks(tmp_path / "job.json", elastic.RanksWanted(num_processes=4))
    assert told["OMP_NUM_THREADS"] == "2"


def test_a_bad_job_is_one_line_however_many_ranks_find_out(make_job, write_job):
    path = write_job(make_job("pretrain", tokenizer="/nowhere/tokenizer.json"))
    with pytest.raises(RuntimeError, match="exit code 2") as failed:
        run_job(path, num_processes=2)
    assert str(failed.value).count("error: ") == 1


def test_a_rank_that_ends_of_its_own_accord_is_not_started_again(tmp_path, monkeypatch):
    monkeypatch.setenv("BLOOMERY_VERDICT_PATH", str(tmp_path / "verdict"))
    assert elastic.is_rank()
    assert elastic.leave_verdict(0) == 0
    assert elastic.earlier_verdict() == 0
    assert elastic.leave_verdict(2) == 0  # to torchrun all is well
    assert elastic.earlier_verdict() == 2


def test_the_tail_follows_a_log_that_begins_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tail = EventTail(path)
    path.write_text("")
    assert list(tail.new()) == []
    path.write_text('{"event": "step", "step": 1}\n{"event": "step", "step": 2}\n')
    assert [e["step"] for e in tail.new()] == [1, 2]
    new = tmp_path / "new"
    new.write_text('{"event": "step", "step": 1}\n{"event": "resumed", "step": 1}\n')
    new.replace(path)
    assert list(tail.new()) == [{"event": "resumed", "step": 1}]
    with path.open("a") as file:
        file.write(json.dumps({"event": "step", "step": 2}) + "\n")
    assert list(tail.new()) == [{"event": "step", "step": 2}]


def test_several_machines_need_a_place_to_meet(capsys, monkeypatch):
    with pytest.raises(SystemExit) as stopped:
        launch.parse(["job.json", "--nnodes", "2"])
    assert stopped.value.code == launch.EXIT_BAD_JOB
    assert "--rdzv-endpoint HOST:PORT" in capsys.readouterr().err
    _, wanted = launch.parse(["job.json", "--nnodes", "2", "--rdzv-endpoint", "here:1"])
    assert not wanted.is_one
