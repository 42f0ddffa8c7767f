"""Real processes, really killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model import launch
from model.process import EventTail, TrainingStopped, run_job
from model.trainer import train

ROOT = Path(__file__).parents[3]
LONG = {"steps": 100_000, "eval_every_steps": 100_000}


def wait_for(condition, seconds=120):
    """Long enough for a process to import torch on a machine that has other things to do."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("timed out")


@pytest.fixture
def popen():
    """Starts processes, of which none outlives the test."""
    made = []

    def make(*arguments: str, **environment) -> subprocess.Popen:
        command = [sys.executable, *arguments]
        made.append(
            subprocess.Popen(
                command, cwd=ROOT, env=os.environ | environment, stderr=subprocess.PIPE
            )
        )
        return made[-1]

    yield make
    for process in made:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def start(popen):
    """Starts a trainer as users do."""
    return lambda path, **environment: popen("-m", "model.launch", str(path), **environment)


def last_step(job) -> int:
    path = Path(job.out_dir) / "metrics.jsonl"
    if not path.exists():
        return 0
    return path.read_text().count('{"event": "step"')


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def trainers_of(job_path: Path) -> list[int]:
    """Processes that have this job file on their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if str(job_path).encode() in command and is_running(int(folder.name)):
            found.append(int(folder.name))
    return found


def checkpoints(job) -> list[Path]:
    return list(Path(job.out_dir).glob("checkpoints/step-*"))


def test_a_killed_run_ends_with_the_bits_of_an_undisturbed_one(
    make_job, write_job, tmp_path, start
):
    settings = {"steps": 300, "eval_every_steps": 50, "checkpoint_every_steps": 7}
    calm = make_job("pretrain", out_dir=str(tmp_path / "calm"), **settings)
    killed = make_job("pretrain", out_dir=str(tmp_path / "killed"), **settings)
    train(calm)
    path = write_job(killed)
    process = start(path)
    wait_for(lambda: last_step(killed) >= 20)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 20 <= last_step(killed) < 300
    seen = []
    run_job(path, on_event=seen.append)
    assert seen[0]["event"] == "resumed"  # and nothing that was already said
    assert seen[-1]["event"] == "done"
    assert next(e["step"] for e in seen if e["event"] == "step") == seen[0]["step"] + 1
    lines = map(json.loads, (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines())
    assert [e["step"] for e in lines if e["event"] == "step"] == list(range(1, 301))
    files = [tmp_path / name / "final" / "model.safetensors" for name in ("calm", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_sigterm_saves_and_exits_143(make_job, write_job, start):
    job = make_job("pretrain", **LONG)
    process = start(write_job(job))
    wait_for(lambda: last_step(job) >= 3)
    process.terminate()
    assert process.wait(timeout=60) == 143
    (saved,) = checkpoints(job)
    assert int(saved.name.removeprefix("step-")) == last_step(job)
    assert all(torch.isfinite(t).all() for t in load_file(saved / "model.safetensors").values())


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_a_trainer_dies_with_its_parent_and_saves_first(make_job, write_job, popen):
    job = make_job("pretrain", **LONG)
    path = write_job(job)
    code = f"from model.process import run_job; run_job({str(path)!r})"
    parent = popen("-c", code)
    wait_for(lambda: last_step(job) >= 3)
    trainers = [pid for pid in trainers_of(path) if pid != parent.pid]
    assert len(trainers) == 1
    parent.kill()
    parent.wait()
    wait_for(lambda: not is_running(trainers[0]))
    assert len(checkpoints(job)) == 1


def test_a_trainer_whose_parent_is_already_dead_does_not_begin(make_job, write_job, start):
    process = start(write_job(make_job("pretrain")), BLOOMERY_PARENT_PID="1")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert b"parent process is gone" in error


class Cancelled(BaseException):
    """As Prefect throws into the main thread."""


def test_an_exception_in_the_parent_leaves_no_trainer(make_job, write_job):
    job = make_job("pretrain", **LONG)
    path = write_job(job)

    def cancel(event):
        if event["event"] == "step":
            raise Cancelled

    with pytest.raises(Cancelled):
        run_job(path, on_event=cancel)
    assert trainers_of(path) == []
    assert len(checkpoints(job)) == 1


def test_asked_to_stop_it_stops_and_says_so(make_job, write_job):
    job = make_job("pretrain", **LONG)
    path = write_job(job)
    with pytest.raises(TrainingStopped, match="on request"):
        run_job(path, should_stop=lambda: last_step(job) >= 3)
    assert trainers_of(path) == []
    assert len(checkpoints(job)) == 1


def test_a_heartbeat_that_ceases_stops_the_trainer(make_job, write_job, tmp_path):
    job = make_job(
        "pretrain",
        heartbeat_path=str(tmp_path / "heartbeat"),
        heartbeat_timeout_seconds=1,
        **LONG,
    )
    with pytest.raises(TrainingStopped, match="something else"):
        run_job(write_job(job))  # nobody touches the file
    assert len(checkpoints(job)) == 1


def test_a_failure_shows_the_end_of_the_log(make_job, write_job):
    path = write_job(make_job("pretrain", tokenizer="/nowhere/tokenizer.json"))
    with pytest.raises(RuntimeError, match=r"exit code 2.*\n.*no tokenizer at /nowhere"):
        run_job(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="out_dir"):
        run_job(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("{", "not JSON"), ('{"steps": 1}', "missing key"), ('{"stepz": 1}', "unknown key 'stepz'")],
)
def test_a_bad_job_is_one_line_and_exit_2(tmp_path, capsys, monkeypatch, content, complaint):
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest keeps its own handlers
    path = tmp_path / "job.json"
    path.write_text(content)
    assert launch.main([str(path)]) == launch.EXIT_BAD_JOB
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


@pytest.fixture
def run_here(monkeypatch, write_job, capsys):
    """A job in this process: its exit code, and what it says on stderr."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest keeps its own handlers

    def run(job) -> tuple[int, str]:
        return launch.main([str(write_job(job))]), capsys.readouterr().err

    return run


def test_an_out_dir_that_is_none_is_one_line_and_exit_2(make_job, run_here, tmp_path):
    (tmp_path / "file").write_text("")
    code, error = run_here(make_job("pretrain", out_dir=str(tmp_path / "file")))
    assert code == launch.EXIT_BAD_JOB
    assert str(tmp_path / "file") in error
    assert error.count("error: ") == 1
    assert "Traceback" not in error


def test_what_a_user_can_mend_on_the_way_is_one_line_and_exit_2(make_job, run_here):
    job = make_job("pretrain", early_stop_patience=3)
    assert run_here(job)[0] == 0
    shutil.rmtree(Path(job.out_dir) / "best")
    code, error = run_here(job)
    assert code == launch.EXIT_BAD_JOB
    assert "the best model of this run, is gone" in error
    assert "Traceback" not in error


def test_a_bug_is_a_traceback(make_job, run_here, monkeypatch):
    monkeypatch.setattr("model.trainer.learning_rate", lambda *_: int("a bug"))
    with pytest.raises(ValueError, match="invalid literal"):
        run_here(make_job("pretrain"))


def test_whoever_asks_three_times_does_not_wait(monkeypatch):
    handlers = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    stop = launch.StopSignal()
    handlers[signal.SIGINT](signal.SIGINT, None)
    assert stop()
    assert handlers[signal.SIGINT] == stop._on_signal
    handlers[signal.SIGINT](signal.SIGINT, None)
    assert handlers[signal.SIGINT] == signal.SIG_DFL


def test_two_processes_take_the_step_that_one_takes(make_job, write_job, tmp_path):
    finals = []
    for processes in (1, 2):
        job = make_job("dpo", out_dir=str(tmp_path / str(processes)), batch_size=3, steps=4)
        if processes == 1:
            train(job)
        else:
            run_job(write_job(job), num_processes=2)
        finals.append(load_file(Path(job.out_dir) / "final" / "model.safetensors"))
    for name, tensor in finals[0].items():
        torch.testing.assert_close(finals[1][name], tensor, rtol=0, atol=5e-5)


def test_the_tail_gives_whole_lines_of_the_new_file_only(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "step", "step": 1}\n')
    tail = EventTail(path)
    assert list(tail.new()) == []
    new = tmp_path / "new"
    new.write_text('{"event": "step", "step": 1}\n{"event": "resumed", "step": 1}\n{"event": "st')
    new.replace(path)
    assert list(tail.new()) == [{"event": "resumed", "step": 1}]
    with path.open("a") as file:
        file.write('ep", "step": 2}\n')
    assert list(tail.new()) == [{"event": "step", "step": 2}]
    assert list(tail.new()) == []
