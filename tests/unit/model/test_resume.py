"""In every mode a run that is stopped and resumed ends with the bits of one that was not.

What may differ between modes is what is in the checkpoint: place in a mixture of phases, epochs,
hidden tokens, dropout's generator, moments of either optimizer, averages, a guard's window.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.adapters import trained_state
from model.architectures import EncoderConfig, LstmConfig
from model.checkpoint import latest_checkpoint
from model.job import MixturePhase, PretrainData
from model.options import FinetuneConfig, GuardConfig, OptimConfig
from model.trainer import Trainer, train

STEPS = 12
WATCHFUL = GuardConfig(on_spike="skip", window_steps=4, spike_sigmas=0.5, max_skips_in_a_row=STEPS)
TINY_LSTM = LstmConfig(vocab_size=320, width=16, n_layers=1, max_seq_len=64)
MUON = OptimConfig(lr=3e-3, warmup_steps=2, kind="muon")
LORA = FinetuneConfig(rank=2, dropout=0.5)
# Mode → objective and what is set; "borders" has a change of mixture after 6 batches, and the code
# goes round three times.
MODES = {
    "pretrain": ("pretrain", {}),
    "borders": ("pretrain", {"seq_len": 64}),
    "muon": ("pretrain", {"optim": MUON}),
    "lstm": (
        "pretrain",
        {"model": TINY_LSTM},
    ),
    "ema": ("pretrain", {"ema_decay": 0.9}),
    "guarded": (
        "pretrain",
        {"guard": WATCHFUL},
    ),
    "mlm": (
        "mlm",
        {
            "model": EncoderConfig(
                vocab_size=320, width=16, n_layers=1, n_heads=2, max_seq_len=64, mlp_width=32
            )
        },
    ),
    "sft": ("sft", {"batch_size": 7}),
    "lora": ("sft", {"finetune": LORA, "ema_decay": 0.5}),
    "dpo": ("dpo", {"batch_size": 5, "dpo_sft_weight": 0.2}),
    "dpo-lora": ("dpo", {"finetune": LORA, "batch_size": 5}),
}


class StopAfter:
    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.fixture
def mode_job(make_job, data, tmp_path):
    def make(mode: str, name: str):
        objective, fields = MODES[mode]
        if mode == "borders":
            groups = {"web": [str(data / "web.bin")], "code": [str(data / "code.bin")]}
            late = MixturePhase(first_step=6, weights={"code": 1.0})
            fields = fields | {
                "data": PretrainData(
                    groups=groups, weights={"web": 1.0, "code": 3.0}, phases=[late]
                )
            }
        return make_job(
            objective, out_dir=str(tmp_path / name), steps=STEPS, eval_every_steps=STEPS, **fields
        )

    return make


def state(job) -> dict[str, torch.Tensor]:
    """Weights and the optimizer's moments, after the last step."""
    folder = latest_checkpoint(Path(job.out_dir) / "checkpoints")
    assert folder.name == f"step-{STEPS:08d}"
    return load_file(folder / "model.safetensors") | load_file(folder / "trainer.safetensors")


@pytest.mark.parametrize("mode", MODES)
def test_a_run_in_pieces_is_the_run_in_one(mode_job, mode):
    whole = mode_job(mode, "whole")
    assert train(whole) == "done"
    wanted = state(whole)
    for pieces in (1, 5):
        cut = mode_job(mode, f"cut{pieces}")
        stops = 0
        while train(cut, StopAfter(pieces)) == "stopped":
            torch.manual_seed(stops)  # another process would begin with other numbers
            stops += 1
        assert stops == (STEPS - 1) // pieces
        found = state(cut)
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            assert torch.equal(found[name], tensor), (name, pieces)


def test_the_modes_cover_what_they_say(mode_job):
    trainer = Trainer(mode_job("borders", "out"))
    trainer.run(lambda: False)
    trainer.close()
    assert trainer.loader.epochs()["code"] > 2
    guarded = Trainer(mode_job("guarded", "guarded"))
    guarded.run(lambda: False)
    guarded.close()
    assert 0 < len(guarded.guard.left_out) < STEPS


@pytest.mark.parametrize("lost", ["moments", "generator", "averages"])
def test_the_comparison_sees_what_is_lost(mode_job, lost):
    """Leave out one thing in resuming, and the bits differ."""
    whole = mode_job("lora", "whole")
    train(whole)
    cut = mode_job("lora", "cut")
    train(cut, StopAfter(5))
    trainer = Trainer(cut)
    if lost == "moments":
        trainer.optimizer.state.clear()
    elif lost == "generator":
        torch.manual_seed(99)
    else:
        trainer.average.load(trained_state(trainer.model), 0)
    trainer.run(lambda: False)
    trainer.close()
    one, other = state(whole), state(cut)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_stop_in_the_middle_of_accumulation_finishes_the_step(mode_job, replace, tmp_path):
    """The request comes between two micro-batches; the step is whole when it is heeded."""
    job = replace(mode_job("pretrain", "out"), micro_batch_size=1)
    trainer = Trainer(job)
    sums, asked, calls = trainer.criterion.sums, [False], [0]

    def sums_with_a_signal(model, batch):
        calls[0] += 1
        asked[0] = asked[0] or calls[0] == 4 * job.batch_size + 2
        return sums(model, batch)

    trainer.criterion.sums = sums_with_a_signal
    assert trainer.run(lambda: asked[0]) == "stopped"
    trainer.close()
    assert trainer.step == 5
    assert calls[0] == 5 * job.batch_size
    assert train(job) == "done"
    whole = replace(job, out_dir=str(tmp_path / "whole"))
    train(whole)
    one, other = state(whole), state(job)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_damaged_checkpoint_is_passed_over_and_that_is_said(make_job, replace, tmp_path):
    """The newest whole one gives the same bits a few steps later; with none, nobody guesses."""
    job = make_job("pretrain", steps=STEPS, eval_every_steps=STEPS, checkpoint_every_steps=4)
    train(job, StopAfter(10))
    saved = sorted((tmp_path / "out" / "checkpoints").iterdir())
    assert [path.name for path in saved] == ["step-00000008", "step-00000010"]
    newest = saved[-1] / "trainer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-7])
    assert train(job) == "done"
    lines = map(json.loads, (tmp_path / "out" / "metrics.jsonl").read_text().splitlines())
    told = [e for e in lines if e["event"] in ("resumed", "damaged_checkpoint")]
    assert [(e["event"], e["step"]) for e in told] == [("resumed", 8), ("damaged_checkpoint", 8)]
    assert told[1]["path"] == str(saved[-1])
    assert "trainer.safetensors does not match" in told[1]["damage"]
    whole = replace(job, out_dir=str(tmp_path / "whole"))
    train(whole)
    one, other = state(whole), state(job)
    assert all(torch.equal(one[name], other[name]) for name in one)
    for path in (tmp_path / "out" / "checkpoints").iterdir():
        (path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"is whole .*config\.json is missing.*start from the beg"):
        Trainer(job)


def test_a_stop_saves_before_it_evaluates_and_whoever_goes_on_makes_up_for_it(
    make_job, tmp_path, monkeypatch
):
    settings = {"early_stop_patience": 2, "early_stop_min_delta": 10.0, "eval_every_steps": 2}
    calm, stopped = (
        make_job("pretrain", out_dir=str(tmp_path / name), sample_prompts=["ash"], **settings)
        for name in ("calm", "stopped")
    )
    train(calm)
    with monkeypatch.context() as patch:
        patch.setattr("model.evaluation.evaluate", lambda trainer: pytest.fail("no time for that"))
        assert train(stopped, [True, False].pop) == "stopped"
    assert train(stopped, [True, False].pop) == "stopped"  # at step 4, where it owes another
    for _ in range(2):  # and when all is done, it says nothing twice
        assert train(stopped) == "done"
        told = [
            [event for event in logged(job) if event["event"] in ("eval", "samples", "early_stop")]
            for job in (calm, stopped)
        ]
        assert told[0] == told[1]
        assert [event["step"] for event in told[0] if event["event"] == "eval"] == [2, 4, 6]
    names = [tmp_path / name / "final" / "model.safetensors" for name in ("calm", "stopped")]
    assert names[0].read_bytes() == names[1].read_bytes()


def logged(job) -> list[dict]:
    lines = (Path(job.out_dir) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_an_export_on_the_way_draws_nothing_from_training(make_job, tmp_path):
    trainer = Trainer(make_job("sft", finetune=FinetuneConfig(rank=2, dropout=0.5)))
    before = torch.get_rng_state()
    trainer._export(tmp_path / "exported")
    trainer.close()
    assert torch.equal(before, torch.get_rng_state())
