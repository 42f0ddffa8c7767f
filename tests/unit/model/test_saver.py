"""Saving goes on while training does, and what is saved is what was there."""

import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model import saver as saver_module
from model.checkpoint import find_damage, latest_checkpoint
from model.decoder import Decoder
from model.optim import make_optimizer
from model.options import OptimConfig
from model.saver import Saver
from model.snapshot import Layout
from model.trainer import train


@pytest.fixture
def trained(tiny):
    torch.manual_seed(0)
    model = Decoder(tiny)
    optimizer = make_optimizer(model, OptimConfig())
    train_a_step(model, optimizer)
    return model, optimizer


def train_a_step(model, optimizer):
    model(torch.randint(model.config.vocab_size, (1, 8))).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.fixture
def slow_disk(monkeypatch):
    """Nothing is written before the event is set."""
    go_on = threading.Event()
    write = saver_module.write_snapshot

    def slowly(*arguments):
        assert go_on.wait(30)
        return write(*arguments)

    monkeypatch.setattr(saver_module, "write_snapshot", slowly)
    yield go_on
    go_on.set()


def test_the_step_does_not_wait_for_the_disk_and_the_bits_are_of_their_step(
    tmp_path, trained, slow_disk
):
    saved = []
    saver = Saver(tmp_path, Layout())
    before = {name: t.clone() for name, t in trained[0].state_dict().items()}
    moment = trained[1].state_dict()["state"][0]["exp_avg"].clone()
    saver.save(1, *trained, {}, on_saved=saved.append)
    train_a_step(*trained)  # while nothing is on the disk
    saver.check()
    assert saved == []
    assert latest_checkpoint(tmp_path) is None
    slow_disk.set()
    saver.wait()
    assert saved == [latest_checkpoint(tmp_path)]
    written = load_file(tmp_path / "step-00000001" / "model.safetensors")
    assert all(torch.equal(written[name], t) for name, t in before.items())
    assert not torch.equal(written["embed.weight"], trained[0].embed.weight)
    moments = load_file(tmp_path / "step-00000001" / "trainer.safetensors")
    assert torch.equal(moments["optimizer.0.exp_avg"], moment)


def test_one_save_is_under_way_at_most(tmp_path, trained, slow_disk):
    saver = Saver(tmp_path, Layout())
    saver.save(1, *trained, {})
    second = threading.Thread(target=saver.save, args=(2, *trained, {}))
    second.start()
    second.join(0.3)
    assert second.is_alive()  # it waits for the first, which waits for the disk
    slow_disk.set()
    second.join()
    assert (tmp_path / "step-00000001").exists()
    saver.wait()
    assert latest_checkpoint(tmp_path).name == "step-00000002"


def test_what_goes_wrong_in_the_thread_is_raised_at_the_next_question(tmp_path, trained):
    (tmp_path / "file").write_text("in the way of a folder")
    saver = Saver(tmp_path / "file", Layout())
    saver.save(1, *trained, {})
    saver._thread.join()
    with pytest.raises(OSError, match="file"):
        saver.check()
    saver.check()  # it is told once


@pytest.mark.parametrize("in_background", [False, True])
def test_a_run_leaves_the_same_checkpoint_either_way(make_job, tmp_path, in_background):
    job = make_job("pretrain", checkpoint_every_steps=4, checkpoint_in_background=in_background)
    other = make_job("pretrain", out_dir=str(tmp_path / "plain"), checkpoint_every_seconds=1000)
    for each in (job, other):
        train(each)
    ours, theirs = (Path(each.out_dir) / "checkpoints" / "step-00000010" for each in (job, other))
    assert find_damage(ours) is None
    for name in ("model.safetensors", "trainer.safetensors", "trainer.json"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
