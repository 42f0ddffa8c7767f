"""A full disk is one line that says what, where and how much; what was whole stays whole.

The disks here are real: a mount of a few kilobytes where this user may make one, and the limit of
``ulimit -f``, which any user may set, and at which writes fail just so.
"""

import json
import resource
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from model import launch
from model.checkpoint import export_model, find_damage, latest_checkpoint, save_checkpoint
from model.decoder import Decoder
from model.disk import DiskFullError, room_for
from model.metrics import MetricsLog
from model.optim import make_optimizer
from model.options import OptimConfig
from model.process import run_job
from model.trainer import train


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of so many bytes; skipped where one may not."""
    mounted = []

    def mount(num_bytes: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(folder)]
        found = shutil.which("mount") and subprocess.run(command, capture_output=True).returncode
        if found != 0:
            pytest.skip("this user may not mount a small file system")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def files_of_at_most(num_bytes: int):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def make_trained(config):
    torch.manual_seed(0)
    model = Decoder(config)
    optimizer = make_optimizer(model, OptimConfig())
    model(torch.randint(config.vocab_size, (1, 8))).square().mean().backward()
    optimizer.step()
    return model, optimizer


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_checkpoint_is_not_begun_without_room(small_disk, tmp_path, tiny):
    trained = make_trained(tiny)
    one = size_of(save_checkpoint(tmp_path / "roomy", 1, *trained, {}))
    disk = small_disk(int(1.6 * one))
    save_checkpoint(disk, 5, *trained, {})
    with pytest.raises(DiskFullError) as caught:
        save_checkpoint(disk, 10, *trained, {})
    free = shutil.disk_usage(disk).free
    said = str(caught.value)
    assert f"a checkpoint: {disk / 'step-00000010'} needs " in said
    assert f"{free:,} are free" in said
    needed = int(said.split("needs ")[1].split(" bytes")[0].replace(",", ""))
    assert one <= needed <= 1.5 * one
    assert [path.name for path in disk.iterdir()] == ["step-00000005"]
    assert find_damage(disk / "step-00000005") is None


@pytest.mark.parametrize("room", [0.05, 0.3, 0.6])
def test_a_disk_that_fills_up_half_way_leaves_nothing_half_made(
    small_disk, tmp_path, tiny, tokenizer_path, monkeypatch, room
):
    """Somebody else has taken the room that was there when we looked."""
    trained = make_trained(tiny)
    one = size_of(save_checkpoint(tmp_path / "roomy", 1, *trained, {}))
    disk = small_disk(int((1 + room) * one) + 65_536)
    save_checkpoint(disk, 5, *trained, {})
    monkeypatch.setattr("model.disk._free_bytes", lambda path: 10**12)
    with pytest.raises(DiskFullError, match=r"No space left on device"):
        save_checkpoint(disk, 10, *trained, {})
    assert [path.name for path in disk.iterdir()] == ["step-00000005"]
    assert latest_checkpoint(disk).name == "step-00000005"
    (disk / "filler").write_bytes(b"\0" * (shutil.disk_usage(disk).free - 8192))
    with pytest.raises(DiskFullError, match="the finished model"):
        export_model(disk / "final", trained[0], tokenizer_path)
    assert sorted(path.name for path in disk.iterdir()) == ["filler", "step-00000005"]


@pytest.mark.parametrize("limit_bytes", [1, 40_000, 90_000])
def test_files_that_may_not_grow_are_a_full_disk(tmp_path, tiny, tokenizer_path, limit_bytes):
    trained = make_trained(tiny)
    save_checkpoint(tmp_path, 5, *trained, {})
    largest = max(p.stat().st_size for p in (tmp_path / "step-00000005").iterdir())
    assert limit_bytes < largest
    with files_of_at_most(limit_bytes):
        with pytest.raises(DiskFullError, match=r"a checkpoint: .*File too large"):
            save_checkpoint(tmp_path, 10, *trained, {})
        with pytest.raises(DiskFullError, match=r"the finished model: .*File too large"):
            export_model(tmp_path / "final", trained[0], tokenizer_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000005"]
    assert save_checkpoint(tmp_path, 10, *trained, {}) == latest_checkpoint(tmp_path)


def test_the_log_says_so_too_and_is_whole_again_after(tmp_path):
    log = MetricsLog(tmp_path, 0)
    log.write("step", step=1)
    with files_of_at_most((tmp_path / "metrics.jsonl").stat().st_size + 10):
        with pytest.raises(DiskFullError, match=r"the log: .*metrics\.jsonl needs"):
            log.write("step", step=2)
        log.close()
        with pytest.raises(DiskFullError, match="the log"):
            MetricsLog(tmp_path, 1)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["metrics.jsonl", "tensorboard"]
    resumed = MetricsLog(tmp_path, 1)
    resumed.write("step", step=2)
    resumed.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(e["event"], e["step"]) for e in lines] == [("step", 1), ("resumed", 1), ("step", 2)]


def test_a_folder_that_is_copied_onto_a_full_disk_says_so(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "big").write_bytes(b"x" * 9_000)
    with (
        files_of_at_most(5_000),
        pytest.raises(DiskFullError, match="no room on the disk for a copy"),
        room_for("a copy", tmp_path / "copy", 9_000),
    ):
        shutil.copytree(source, tmp_path / "copy")


def test_dev_full_is_full():
    with pytest.raises(DiskFullError, match=r"it: /dev/full needs 3 bytes"):
        with room_for("it", Path("/dev/full"), 3), open("/dev/full", "wb", buffering=0) as file:
            file.write(b"abc")
    with pytest.raises(PermissionError), room_for("it", Path("/dev"), 0):
        raise PermissionError  # other errors stay what they are


def test_a_run_on_a_full_disk_ends_with_3_and_its_user_is_told(small_disk, make_job, write_job):
    """From the first bytes to those who call: the run is whole up to its last checkpoint, and goes
    on to the same bits once there is room."""
    calm = make_job("pretrain", steps=8, checkpoint_every_steps=2)
    train(calm)
    one = size_of(Path(calm.out_dir) / "checkpoints" / "step-00000008")
    disk = small_disk(int(2.5 * one))
    job = make_job("pretrain", steps=8, checkpoint_every_steps=2, out_dir=str(disk / "out"))
    path = write_job(job)
    with pytest.raises(RuntimeError) as caught:
        run_job(path)
    assert "training failed (exit code 3): the disk is full" in str(caught.value)
    assert "no room on the disk for a checkpoint" in str(caught.value)
    assert "Make room and run the same again" in str(caught.value)
    folder = Path(job.out_dir) / "checkpoints"
    assert [p.name for p in sorted(folder.iterdir())] == ["step-00000002", "step-00000004"]
    assert latest_checkpoint(folder).name == "step-00000004"
    subprocess.run(["mount", "-o", f"remount,size={8 * one}", str(disk)], check=True)
    train(job)
    finals = [Path(j.out_dir) / "final" / "model.safetensors" for j in (calm, job)]
    assert finals[0].read_bytes() == finals[1].read_bytes()


def test_a_limit_on_files_ends_a_run_with_3(make_job, write_job, capsys, monkeypatch):
    """As above where one may not mount: the limit is on each file, and the largest is the first."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest keeps its own handlers
    job = make_job("pretrain", steps=4, checkpoint_every_steps=2)
    path = write_job(job)
    with files_of_at_most(50_000):
        assert launch.main([str(path)]) == launch.EXIT_DISK_FULL
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: no room on the disk for a checkpoint")
    assert "File too large" in error
    assert list((Path(job.out_dir) / "checkpoints").glob("*")) == []
    assert launch.main([str(path)]) == 0
