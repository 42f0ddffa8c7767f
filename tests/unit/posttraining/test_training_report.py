"""A training stage's own report: what the run said, in pictures, tables and sentences."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from flows.cli import main
from model.architectures import ModelConfig
from model.chat import prepare_tokenizer
from model.language_model import make_model
from tasks.common.report_markdown import plots_of, stage_markdown
from tasks.common.robustness import RobustnessConfig
from tasks.common.stage import materialise
from tasks.common.store import Store
from tasks.common.training_log import TrainingLog, skipped_rows, summary_markdown
from tasks.common.training_plots import training_png
from tasks.common.watching import WatchOptions, first_questions, watch_settings
from tasks.report.gather import training_table
from tasks.sft.config import SftConfig
from tasks.sft.stage import STAGE as SFT
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig
from tests.unit.posttraining.checkpoint import COPY, Folder, checkpoint_and_tokens

EVENTS = [
    {"event": "start", "step": 0, "steps": 90},
    *(
        {
            **{"event": "step", "step": n, "steps": 90, "loss": 3 / n, "lr": 1e-3 * n},
            **{"grad_norm": 1.0, "tokens_per_second": None if n == 1 else 100 * n, "mfu": 0.5},
            **{"data_wait_share": 0.001, "peak_memory_bytes": 7 << 20},
        }
        for n in range(1, 7)
    ),
    *(
        {
            **{"event": "eval", "step": step, "val_loss": loss, "val_bits_per_byte": loss / 2},
            "val_bits_per_byte_by_group": {"web|x": loss / 2, "code": loss},
        }
        for step, loss in ((2, 2.0), (4, 1.5), (6, 1.75))
    ),
    {
        "event": "samples",
        "step": 6,
        "samples": [{"prompt": "", "greedy": "# not a title\n```", "sampled": ""}],
    },
    {"event": "early_stop", "step": 6, "best_step": 4},
    {
        **{"event": "done", "step": 6, "best_step": 4, "stopped_early": True, "val_loss": 1.5},
        **{"tokens": {"web": 3_000, "code": 1_000}, "epochs": {"web": 0.25, "code": 2.0}},
    },
]


def test_the_summary_tells_the_run_in_words_and_tables():
    text = summary_markdown(TrainingLog(EVENTS))
    for told in (
        "6 steps on 4,000 tokens; held-out loss 1.500 nats; 400 tokens a second; MFU 50.0%",
        "0.10% of the time waiting for data; 7 MiB at peak.",
        "**Stopped early** at step 6 of 90",
        "The model is that of step 4",
        "| web\\|x | 1.000 | 0.750 | 0.875 |",
        "| code | 2.000 | 1.500 | 1.750 |",
        "| code | 1,000 | 2.00 |\n| web | 3,000 | 0.25 |",
        "greedy:\n\n    # not a title\n    ```",
    ):
        assert told in text, told


def test_a_run_that_measured_little_is_told_as_far_as_it_goes():
    few = [e for e in EVENTS if e["event"] in ("start", "step")]
    done = {"event": "done", "step": 6, "tokens": {}, "epochs": {}}
    text = summary_markdown(TrainingLog([*few, done]))
    assert text.startswith("6 steps on 0 tokens; 400 tokens a second")
    assert summary_markdown(TrainingLog([])) == "\n"


def test_steps_that_were_taken_back_are_not_told(tmp_path):
    events = [
        *({"event": "step", "step": step, "loss": 1.0} for step in (1, 2, 3, 4)),
        {"event": "rolled_back", "step": 2, "from_step": 4},
        *({"event": "step", "step": step, "loss": 2.0} for step in (3, 4, 5)),
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    steps = TrainingLog.read(path).of("step")
    assert [(event["step"], event["loss"]) for event in steps] == [
        *((1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0))
    ]


def test_an_averaged_model_is_told_by_the_averages_numbers(tmp_path):
    averaged = []
    for event in EVENTS:
        own = {k.replace("val_", "val_ema_"): v for k, v in event.items() if k.startswith("val_")}
        averaged.append({k: 9.0 if k == "val_loss" else v for k, v in event.items()} | own)
        for name in ("val_bits_per_byte", "val_bits_per_byte_by_group"):
            averaged[-1].pop(name, None)
    log = TrainingLog(averaged)
    plain = TrainingLog(EVENTS)
    assert summary_markdown(log) == summary_markdown(plain)
    (row,), (same,) = (training_table({"pretrain": each}) for each in (log, plain))
    assert row == same
    assert training_png(log) == training_png(plain)
    assert log.of_kept(log.last("done"))["val_loss"] == 1.5


def test_rollbacks_are_counted_as_the_engine_counts_them(tmp_path):
    skipped = {"event": "skipped", "why": "a leap", "documents": {"a.bin": [1]}}
    events = [
        {"event": "rolled_back", "step": 4, "from_step": 6},
        {**skipped, "step": 5},
        {"event": "rolled_back", "step": 2, "from_step": 8},
        {**skipped, "step": 5},
        {"event": "done", "step": 9, "rollbacks": 2, "skipped_batches": 1},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    log = TrainingLog.read(path)
    assert len(log.of("rolled_back")) == 2
    assert skipped_rows(log)[0].startswith("Of 1 batch no update was made, after 2 rollbacks; ")
    path.write_text("".join(json.dumps(event) + "\n" for event in events[:2]))
    assert (
        "Of 1 batch no update was made, after 1 rollback; "
        in skipped_rows(TrainingLog.read(path))[0]
    )


def test_the_same_log_is_the_same_picture():
    pictures = [training_png(TrainingLog(EVENTS)) for _ in range(2)]
    assert pictures[0] == pictures[1]
    assert pictures[0].startswith(b"\x89PNG")
    assert training_png(TrainingLog([])).startswith(b"\x89PNG")


def test_samples_are_of_the_first_questions_unless_told_otherwise():
    records = [
        {"messages": [{"role": role, "content": f"{role} {n}"}]}
        for n, role in enumerate(("user", "system", "user", "user"))
    ]
    questions = first_questions(records, "messages")
    assert questions == ["user 0", "user 2"]
    assert watch_settings(WatchOptions(), questions)["sample_prompts"] == questions
    own = WatchOptions(sample_prompts=["Why?"])
    assert watch_settings(own, questions)["sample_prompts"] == ["Why?"]
    assert watch_settings(WatchOptions(sample_tokens=0), questions)["sample_prompts"] == []


@pytest.fixture
def checkpoint(machine):
    """An untrained model."""
    tokenizer = prepare_tokenizer(train_bpe(["a 1 2 3"], TokenizerConfig(vocab_size=320)))
    torch.manual_seed(0)
    model = make_model(
        ModelConfig(
            **{"vocab_size": 320, "width": 32, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2},
            **{"max_seq_len": 64, "mlp_width": 64},
        )
    )
    return checkpoint_and_tokens(machine, model, tokenizer, "a 1 2 3", [])["checkpoint"][0]


@pytest.fixture
def instructions(machine, tmp_path):
    """Conversations whose answers cannot be learned."""
    folder = tmp_path / "instructions"
    folder.mkdir()
    for name, numbers in (("train", range(8)), ("validation", range(100, 108))):
        records = (
            {
                "id": str(n),
                "messages": [
                    {"role": "user", "content": f"{n}?"},
                    {"role": "assistant", "content": str(n * 7919 % 1009)},
                ],
            }
            for n in numbers
        )
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"sft-{name}.jsonl").write_text(lines)
    return materialise(COPY, Folder(path=str(folder)), {}, machine)[0].ref


@pytest.fixture
def tuned(machine, checkpoint, instructions):
    """A model fine-tuned until it overfits."""
    config = SftConfig(
        **{"steps": 400, "batch_size": 4, "max_tokens": 32, "lr": 0.02, "warmup_steps": 0},
        eval_every_steps=5,
        watch=WatchOptions(early_stop_patience=2, sample_tokens=4),
    )
    inputs = {"checkpoint": [checkpoint], "instructions": [instructions]}
    manifest, _ = materialise(SFT, config, inputs, machine)
    return manifest, Store(machine.store).open(manifest.ref)


def test_the_metrics_of_an_averaged_model_are_its_own(machine, checkpoint, instructions):
    config = SftConfig(
        **{"steps": 6, "batch_size": 4, "max_tokens": 32, "lr": 0.02, "warmup_steps": 0},
        eval_every_steps=3,
        robustness=RobustnessConfig(ema_decay=0.9),
    )
    inputs = {"checkpoint": [checkpoint], "instructions": [instructions]}
    manifest, _ = materialise(SFT, config, inputs, machine)
    artifact = Store(machine.store).open(manifest.ref)
    done = TrainingLog.read(artifact.fetch("metrics.jsonl")).last("done")
    assert manifest.metrics["val_loss"] == done["val_ema_loss"] != done["val_loss"]
    assert f"held-out loss {done['val_ema_loss']:.3f}" in artifact.fetch("summary.md").read_text()
    assert not any(name.startswith("val_ema_") for name in manifest.metrics)


def test_a_stage_that_stopped_early_says_so_and_can_be_tried_at_other_rates(
    tuned, machine, tmp_path
):
    manifest, artifact = tuned
    assert manifest.metrics["stopped_early"]
    assert manifest.metrics["best_step"] < manifest.metrics["step"] < 400
    names = {file.name for file in manifest.files}
    assert {"training.png", "summary.md", "metrics.jsonl", "job.json"} <= names
    assert any(name.startswith("tensorboard/events.out.tfevents") for name in names)
    summary = artifact.fetch("summary.md").read_text()
    assert "**Stopped early**" in summary
    assert "100?" in summary
    report = stage_markdown(manifest, was_cached=False, plots=plots_of(artifact))
    assert "![training.png](data:image/png;base64," in report
    assert Path(json.loads(artifact.fetch("job.json").read_text())["init_from"]).is_dir()
    found = tmp_path / "rates"
    command = ["find-lr", str(manifest.ref), "--store", machine.store, "--output", str(found)]
    rates = ["--sweep", "1e-3", "--sweep", "1e-2"]
    assert CliRunner().invoke(main, [*command, "--steps", "10", *rates]).exit_code == 0
    runs = json.loads((found / "lr_finder.json").read_text())["runs"]
    assert [run["lr"] for run in runs] == [1e-3, 1e-2]
    assert Store(machine.store).verify(manifest.ref) == []
