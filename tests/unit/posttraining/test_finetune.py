"""Fine-tuning's settings reach the engine, and what comes out goes on to the next stage."""

import json
from typing import get_args

import pytest
from pydantic import ValidationError

from flows.presets import DEMO
from model import chat
from model.architectures import ModelConfig
from model.checkpoint import load_model
from model.decoder import Decoder
from model.job import TrainJob
from model.options import PROJECTIONS, FinetuneConfig
from model.trainer import train
from tasks.common.finetune import FinetuneParams, Projection, identity
from tasks.common.stage import Outcome, materialise
from tasks.dpo import stage as dpo
from tasks.dpo.config import DpoConfig
from tasks.sft import stage as sft
from tasks.sft.config import SftConfig
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig
from tests.stages import given
from tests.unit.posttraining.checkpoint import COPY, Folder, checkpoint_and_tokens

TEXT = "Open a file and read the lines of it. " * 20
SAID = [{"role": "user", "content": "file?"}, {"role": "assistant", "content": "read it"}]
PAIR = {"prompt": SAID[:1], "chosen": "read the lines", "rejected": "open"}
RUN = {"steps": 4, "batch_size": 2, "max_tokens": 32, "warmup_steps": 1, "eval_every_steps": 2}


def test_every_projection_and_method_is_the_engines():
    assert get_args(Projection) == PROJECTIONS
    assert FinetuneParams().as_job() is None
    for method in ("lora", "bitfit", "adapter", "prefix"):
        assert FinetuneParams(method=method).as_job() == FinetuneConfig(method=method)
    assert FinetuneParams(method="qlora").as_job() == FinetuneConfig(base="nf4")
    chosen = FinetuneParams(method="lora", rank=2, alpha=4, targets=["q_proj"], dropout=0.1)
    assert chosen.as_job() == FinetuneConfig(rank=2, alpha=4, targets=("q_proj",), dropout=0.1)


def test_settings_that_nothing_heeds_make_no_other_artifact():
    plain = identity(SftConfig())
    assert identity(SftConfig(finetune=FinetuneParams(rank=3))) == plain
    assert "finetune" not in plain
    ranks = [identity(SftConfig(finetune=FinetuneParams(method="lora", rank=r))) for r in (2, 3)]
    assert ranks[0] != ranks[1] != plain


def test_what_preferences_cannot_go_on_from_is_refused_before_any_work():
    values = DEMO.model_dump()
    values["sft"]["finetune"]["method"] = "prefix"
    with pytest.raises(ValidationError, match="dpo cannot train on"):
        type(DEMO).model_validate(values)
    values["sft"]["finetune"]["method"] = "qlora"
    type(DEMO).model_validate(values)


@pytest.mark.parametrize("method", ["lora", "none"])
def test_what_lora_trains_goes_on_to_preferences(machine, monkeypatch, tmp_path, method):
    tokenizer = chat.prepare_tokenizer(train_bpe([TEXT], TokenizerConfig(vocab_size=320)))
    shape = {"width": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "mlp_width": 16}
    model = Decoder(ModelConfig(vocab_size=320, max_seq_len=64, **shape))
    inputs = checkpoint_and_tokens(machine, model, tokenizer, TEXT, [])
    jobs: list[TrainJob] = []

    def train_here(context, job):
        fields = {"out_dir": str(tmp_path / job.objective), "device": "cpu", "threads": 1}
        jobs.append(TrainJob.from_json_dict(job.to_json_dict() | fields))
        assert train(jobs[-1]) == "done"
        return Outcome()

    settings = FinetuneParams(method=method, rank=2)
    for stage, config, name, record in (
        (sft, SftConfig(**RUN, finetune=settings), "instructions", {"messages": SAID}),
        (dpo, DpoConfig(**RUN, finetune=settings), "preferences", PAIR),
    ):
        monkeypatch.setattr(stage, "train", train_here)
        lines = "\n".join(json.dumps({"id": str(n), **record}) for n in range(6))
        kind = "sft" if stage is sft else "preferences"
        files = {f"{kind}-{split}.jsonl": lines for split in ("train", "validation")}
        own = {"checkpoint": inputs["checkpoint"], name: [given(machine, files=files)]}
        materialise(stage.STAGE, config, own, machine)
        final = tmp_path / jobs[-1].objective / "final"
        inputs["checkpoint"] = [materialise(COPY, Folder(path=str(final)), {}, machine)[0].ref]
        assert load_model(final)[0].finetune is None
        assert (final / "adapter").exists() == (method == "lora")
    assert [job.finetune for job in jobs] == [settings.as_job()] * 2
