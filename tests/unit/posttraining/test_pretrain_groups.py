"""Pretraining on a mixture: a group too small for a window is left out, no reason to stop."""

import json

import pytest

from model.schedule import learning_rate
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


def _pretrain(machine, folder, sizes, num_validation=20, phases=None, config=CONFIG):
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
    inputs = {"tokens": [tokens], "checkpoint": []}
    return materialise(pretrain.STAGE, config, inputs, machine)[0]


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


WSD = PretrainConfig(seq_len=8, decay="wsd", warmup_steps=50)
ANNEALED = [("main", 0.8, ["web", "best"]), ("anneal", 0.2, ["best"])]


def test_the_rate_anneals_with_the_mixture(machine, tmp_path, jobs, store):
    made = _pretrain(machine, tmp_path / "a", {"web": 50, "best": 50}, phases=ANNEALED, config=WSD)
    (job,) = jobs
    (anneal,) = job.data.phases
    assert job.optim.wsd_first_decay_step == anneal.first_step == 800
    rates = [learning_rate(step, job.steps, job.optim) for step in range(job.steps)]
    assert rates[799] == WSD.lr > rates[800]
    table = store.open(made.ref).fetch("summary.md").read_text()
    assert "| 50 to 799 | 96,000 | 0.002 → 0.002 | main: best 50.0%, web 50.0% |" in table
    assert "| 800 to 999 | 25,600 | 0.00199 → 0.0002 | anneal: best 100.0% |" in table


def test_without_later_phases_the_share_is_the_engines(machine, tmp_path, jobs):
    _pretrain(machine, tmp_path / "a", {"web": 50}, config=WSD)
    (job,) = jobs
    assert job.optim.wsd_first_decay_step is None


@pytest.mark.parametrize(("share", "first"), [(0.2, 800), (0.195, 800), (0.4, 600), (0.001, 999)])
def test_a_share_of_ones_own_is_heeded_and_said_when_apart(
    machine, tmp_path, jobs, caplog, share, first
):
    own = WSD.model_copy(update={"decay_share": share})
    sizes = {"web": 50, "best": 50}
    _pretrain(machine, tmp_path / "a", sizes, phases=ANNEALED, config=own)
    (job,) = jobs
    assert job.optim.wsd_first_decay_step == first
    warned = f"falls from step {first} on, but the mixture changes at step 800 (anneal)"
    assert (warned in caplog.text) == (first != 800)


def test_of_two_later_phases_the_share_chooses_one(machine, tmp_path, jobs, caplog):
    phases = [("main", 0.7, ["web"]), ("long", 0.2, ["web"]), ("anneal", 0.1, ["best"])]
    own = WSD.model_copy(update={"decay_share": 0.1})
    _pretrain(machine, tmp_path / "a", {"web": 50, "best": 50}, phases=phases, config=own)
    assert jobs[0].optim.wsd_first_decay_step == 900
    assert "falls from step" not in caplog.text


def test_a_decay_before_the_warm_up_ends_is_said_with_the_remedy(machine, tmp_path, jobs):
    own = WSD.model_copy(update={"warmup_steps": 900})
    with pytest.raises(ValueError, match=r"lower train\.warmup_steps"):
        _pretrain(machine, tmp_path / "a", {"web": 50, "best": 50}, phases=ANNEALED, config=own)


def test_a_share_of_decay_without_wsd_is_refused():
    with pytest.raises(ValueError, match="decay_share goes with decay = wsd, not with cosine"):
        PretrainConfig(decay_share=0.1)
