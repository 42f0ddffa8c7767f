"""Pretraining on a mixture: a group too small for a window is left out, no reason to stop."""

import json

import pytest

from model.tokens import TokenWriter
from tasks.common.stage import Outcome, materialise
from tasks.pretrain import stage as pretrain
from tasks.pretrain.config import PretrainConfig
from tests.unit.posttraining.checkpoint import COPY, Folder

CONFIG = PretrainConfig(seq_len=8)


@pytest.fixture
def jobs(monkeypatch):
    """The jobs that would have been run."""
    found = []
    monkeypatch.setattr(
        pretrain, "train", lambda context, job: [found.append(job), Outcome()].pop()
    )
    return found


def _pretrain(machine, folder, sizes, num_validation=20, phases=None):
    rows = []
    for group, size in sizes.items():
        for split, count in (("train", size), ("validation", num_validation)):
            if count:
                with TokenWriter(folder / split / group, "part-00000", 100) as out:
                    out.add(range(count))
        portions = [{"name": group, "folder": group, "tokens": size}]
        rows.append(
            {
                "group": group,
                "folder": group,
                "portions": portions,
                "validation_tokens": num_validation,
            }
        )
    phases = phases or [("main", 1.0, list(sizes))]
    table = [
        {
            "name": name,
            "share": share,
            "target_tokens": round(share * 1_000_000),
            "weights": {group: 1 / len(own) for group in own},
        }
        for name, share, own in phases
    ]
    (folder / "mixture.json").write_text(json.dumps({"groups": rows, "phases": table}))
    (folder / "tokenizer.json").write_text("{}")
    tokens = materialise(COPY, Folder(path=str(folder)), {}, machine)[0].ref
    materialise(pretrain.STAGE, CONFIG, {"tokens": [tokens]}, machine)


def test_groups_that_fill_no_window_are_left_out(machine, tmp_path, jobs):
    _pretrain(machine, tmp_path / "tokens", {"empty": 0, "small": 8, "window": 9, "large": 50})
    (job,) = jobs
    assert set(job.data.groups) == set(job.data.weights) == {"window", "large"}
    assert all(job.data.groups.values())


def test_validation_that_fills_no_window_is_left_out(machine, tmp_path, jobs):
    _pretrain(machine, tmp_path / "one", {"a": 50, "b": 50}, num_validation=4)
    _pretrain(machine, tmp_path / "two", {"a": 50, "b": 50}, num_validation=5)
    assert [len(job.data.val) for job in jobs] == [0, 2]


def test_no_group_at_all_is_said_with_the_remedy(machine, tmp_path, jobs):
    with pytest.raises(ValueError, match=r"lower pretrain\.seq_len"):
        _pretrain(machine, tmp_path / "tokens", {"empty": 0, "small": 8})


def test_phases_begin_at_their_shares_of_the_steps(machine, tmp_path, jobs):
    sizes = {"web": 50, "best": 50, "small": 5}
    phases = [("main", 0.7, ["web", "best"]), ("anneal", 0.2, ["best", "small"])]
    _pretrain(machine, tmp_path / "a", sizes, phases=[*phases, ("long", 0.1, ["web"])])
    (job,) = jobs
    assert set(job.data.weights) == {"web", "best"}
    assert [(p.first_step, set(p.weights)) for p in job.data.phases] == [
        (700, {"best"}),
        (900, {"web"}),
    ]
    assert set(job.data.groups) == {"web", "best"}


def test_a_run_longer_than_its_mixture_is_said(machine, tmp_path, jobs, caplog):
    sizes, tokens = {"web": 50}, CONFIG.train_tokens / 1_000_000
    _pretrain(machine, tmp_path / "a", sizes, phases=[("main", tokens, ["web"])])
    assert "mix.max_epochs" not in caplog.text
    _pretrain(machine, tmp_path / "b", sizes, phases=[("main", tokens / 2, ["web"])])
    assert f"on {CONFIG.train_tokens} tokens, the mixture is for" in caplog.text


def test_a_phase_without_anything_is_said_with_the_remedy(machine, tmp_path, jobs):
    phases = [("main", 0.7, ["web"]), ("anneal", 0.3, ["small"])]
    with pytest.raises(ValueError, match=r"phase anneal: .*choose less narrowly"):
        _pretrain(machine, tmp_path / "a", {"web": 50, "small": 5}, phases=phases)
