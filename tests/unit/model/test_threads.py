"""Threads: the cores that are ours, fewer where fewer are faster, and the same to the end."""

import json
import os
from pathlib import Path

import pytest
import torch

from model import threads
from model.threads import choose_threads, own_cores, products_per_second
from model.trainer import Trainer


@pytest.fixture
def machine(tmp_path):
    """Eight hardware threads on four cores, as Linux tells of them, under a cgroup's quota."""

    def make(quota: str | None) -> dict[str, Path]:
        for cpu in range(8):
            folder = tmp_path / "cpus" / f"cpu{cpu}" / "topology"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "thread_siblings_list").write_text(f"{cpu % 4},{cpu % 4 + 4}\n")
        (tmp_path / "cgroup").mkdir(exist_ok=True)
        if quota is not None:
            (tmp_path / "cgroup" / "cpu.max").write_text(quota + "\n")
        return {"cpus": tmp_path / "cpus", "cgroups": tmp_path / "cgroup"}

    return make


@pytest.mark.parametrize(
    ("quota", "allowed", "cores"),
    [
        (None, range(8), 4),  # two hardware threads of a core count once
        ("max 100000", range(8), 4),
        ("200000 100000", range(8), 2),  # a container with two CPUs' time
        ("150000 100000", range(8), 2),
        ("50000 100000", range(8), 1),
        ("max 100000", {1, 2, 5}, 2),  # 1 and 5 are the same core
        ("max 100000", {77}, 1),  # one that the machine does not describe
    ],
)
def test_cores_are_those_of_the_affinity_and_the_quota(machine, quota, allowed, cores):
    assert own_cores(**machine(quota), allowed=frozenset(allowed)) == cores


def test_the_older_kind_of_quota_counts_too(machine):
    folders = machine(None)
    (folders["cgroups"] / "cpu").mkdir()
    (folders["cgroups"] / "cpu" / "cpu.cfs_quota_us").write_text("300000\n")
    (folders["cgroups"] / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert own_cores(**folders, allowed=frozenset(range(8))) == 3


def test_this_machine_has_cores_and_they_multiply():
    assert 1 <= own_cores() <= (os.cpu_count() or 1)
    before = torch.get_num_threads()
    try:
        assert 0 < products_per_second(1, 64, 64, 64) < 1e9
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({8: 8.0, 4: 4.0, 2: 2.0, 1: 1.0}, 8),
        ({8: 1.0, 4: 1.1, 2: 1.2, 1: 0.9}, 8),  # differences that noise makes decide nothing
        ({8: 1.0, 4: 2.0, 2: 2.2, 1: 1.0}, 4),
        ({8: 1.0, 4: 2.0, 2: 4.0, 1: 8.0}, 1),
    ],
)
def test_fewer_threads_only_where_they_are_clearly_faster(monkeypatch, rates, chosen):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "own_cores", lambda: 8)
    monkeypatch.setattr(threads, "products_per_second", lambda n, *shape: rates[n])
    before = torch.get_num_threads()
    assert choose_threads(8, 8, 8) == chosen
    assert torch.get_num_threads() == before


def test_what_somebody_has_set_is_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert choose_threads(8, 8, 8) == torch.get_num_threads()


def test_a_resumed_run_keeps_its_threads_and_the_log_tells_them(make_job):
    job = make_job("pretrain", steps=2, threads=2)
    trainer = Trainer(job)
    trainer.run(lambda: True)
    trainer.close()
    first = json.loads((Path(job.out_dir) / "metrics.jsonl").read_text().splitlines()[0])
    assert first["threads"] == 2
    torch.set_num_threads(1)
    Trainer(make_job("pretrain", steps=2, threads=None)).close()
    assert torch.get_num_threads() == 2
    Trainer(make_job("pretrain", steps=2, threads=1)).close()
    assert torch.get_num_threads() == 1


def test_a_cpu_s_peak_is_that_of_the_threads_that_train(make_job, monkeypatch):
    monkeypatch.setattr("model.flops.measured_peak", lambda num_threads: 1e9 * num_threads)
    torch.set_num_threads(1)
    trainer = Trainer(make_job("pretrain", threads=2))
    trainer.close()
    assert trainer.meter.peak == 2e9
