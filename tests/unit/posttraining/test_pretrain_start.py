"""Pretraining from a model: whose lineage it is, whose tokenizer, what changes its identity."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel
from tokenizers import Tokenizer

from model.architectures import PRESETS, ModelConfig
from model.chat import SPECIAL_TOKENS, encode_document, load_tokenizer
from model.checkpoint import export_model, load_model
from model.decoder import Decoder
from model.schedule import learning_rate
from model.tokens import TokenWriter
from tasks.common.finetune import FinetuneParams
from tasks.common.robustness import RobustnessConfig
from tasks.common.stage import Machine, Outcome, materialise
from tasks.common.training_machine import TrainingMachine
from tasks.common.watching import WatchOptions
from tasks.dpo.config import DpoConfig
from tasks.evaluate.config import EvaluateConfig, NeedleOptions
from tasks.pretrain import stage as pretrain
from tasks.pretrain.config import (
    MODELS,
    LossOptions,
    OptimizerOptions,
    PretrainConfig,
    StartOptions,
)
from tasks.pretrain.start import check_folder
from tasks.sft.config import SftConfig
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig
from tasks.tokenizer.stage import STAGE as TOKENIZER
from tests.stages import given
from tests.unit.posttraining.checkpoint import COPY, Folder

TEXT = "iron and coal and the flux in the kiln make bloom and ash and ember "
FORMS = (
    *(PretrainConfig, OptimizerOptions, LossOptions, StartOptions, SftConfig, DpoConfig),
    *(FinetuneParams, RobustnessConfig, WatchOptions, EvaluateConfig, NeedleOptions, Machine),
    TrainingMachine,
)
SIZES = {"steps": 2, "batch_size": 2, "seq_len": 32, "warmup_steps": 1, "eval_batches": 1}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A checkpoint folder of an untrained model with a context of 32 tokens."""
    vocabulary = train_bpe([TEXT], TokenizerConfig(vocab_size=320))
    vocabulary.save(str(tmp_path / "own.json"))
    torch.manual_seed(0)
    model = Decoder(
        ModelConfig(
            vocab_size=vocabulary.get_vocab_size(),
            width=16,
            n_layers=1,
            n_heads=2,
            n_kv_heads=2,
            max_seq_len=32,
            mlp_width=16,
        )
    )
    return export_model(tmp_path / "base", model, tmp_path / "own.json")


def tokens_of(tokenizer: Path, folder: Path, machine):
    """Token shards as the tokens stage leaves them."""
    vocabulary = load_tokenizer(tokenizer)
    with TokenWriter(folder / "train/web", "part-00000", vocabulary.get_vocab_size()) as out:
        out.add(encode_document(vocabulary, TEXT * 40))
    portion = {"name": "web", "folder": "web", "tokens": out.num_tokens}
    row = {"group": "web", "folder": "web", "portions": [portion], "validation_tokens": 0}
    phase = {"name": "main", "share": 1.0, "target_tokens": 10_000, "weights": {"web": 1.0}}
    (folder / "mixture.json").write_text(json.dumps({"groups": [row], "phases": [phase]}))
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    return materialise(COPY, Folder(path=str(folder)), {}, machine)[0].ref


@pytest.fixture
def shards(base, tmp_path, machine):
    return tokens_of(base / "tokenizer.json", tmp_path / "tokens", machine)


@pytest.fixture
def jobs(monkeypatch):
    """The jobs that would have been run."""
    found = []
    monkeypatch.setattr(
        pretrain, "train", lambda context, job: [found.append(job), Outcome()].pop()
    )
    return found


def run(machine, shards, config, checkpoint=()):
    inputs = {"tokens": [shards], "checkpoint": list(checkpoint)}
    return materialise(pretrain.STAGE, config, inputs, machine)[0]


def from_folder(folder: Path, **changes) -> PretrainConfig:
    options = {n: changes.pop(n) for n in ("positions", "warmup_from") if n in changes}
    return PretrainConfig(**(SIZES | changes), start=StartOptions(folder=str(folder), **options))


def test_a_model_is_trained_on_and_is_an_input_of_what_comes_of_it(base, shards, machine, store):
    first = run(machine, shards, from_folder(base))
    before, after = (load_model(f)[0].state_dict() for f in (base, store.open(first.ref).folder()))
    moved = [(after[name] - value).abs().max().item() for name, value in before.items()]
    assert 0 < max(moved) < 0.1  # two steps away from the base, and not somewhere else
    said = store.open(first.ref).fetch("summary.md").read_text()
    assert said.startswith("| steps | tokens | learning rate | mixture |\n")
    assert "2 steps on 128 tokens" in said

    named = PretrainConfig(**SIZES, start=StartOptions(checkpoint=str(first.ref)))
    second = run(machine, shards, named, [first.ref])
    assert second.identity.inputs["checkpoint"] == [str(first.ref)]
    assert second.ref != first.ref


def test_the_identity_is_of_what_the_folder_holds_and_not_of_where_it_is(base, tmp_path):
    inputs = {"tokens": [], "checkpoint": []}

    def ref(folder, **changes):
        return pretrain.STAGE.identify(from_folder(folder, **changes), inputs).ref()

    moved = Path(shutil.copytree(base, tmp_path / "elsewhere"))
    (moved / "notes.txt").write_text("mine")
    assert ref(base) == ref(moved)
    assert ref(base, model="gpt2-demo") == ref(base)  # the model given has its own shape
    torch.manual_seed(1)
    other = Decoder(load_model(base)[0].config)
    assert ref(export_model(tmp_path / "other", other, base / "tokenizer.json")) != ref(base)
    assert pretrain.STAGE.identify(PretrainConfig(**SIZES), inputs).ref() != ref(base)


def test_a_folder_that_is_no_checkpoint_is_said_before_any_work(tmp_path):
    with pytest.raises(ValueError, match=r"lacks config\.json, .*import-hf"):
        inputs = {"tokens": [], "checkpoint": []}
        pretrain.STAGE.identify(from_folder(tmp_path), inputs)


def test_tokens_of_another_tokenizer_are_refused_with_the_remedy(base, tmp_path, machine, jobs):
    foreign = train_bpe([TEXT[::-1]], TokenizerConfig(vocab_size=320))
    foreign.save(str(tmp_path / "foreign.json"))
    shards = tokens_of(tmp_path / "foreign.json", tmp_path / "foreign", machine)
    with pytest.raises(ValueError, match=r"another tokenizer .*set tokenizer\.adopt"):
        run(machine, shards, from_folder(base))
    assert not jobs


def test_the_rate_is_warmed_up_again_from_where_it_ended(base, shards, machine, jobs):
    run(machine, shards, from_folder(base, steps=100, warmup_steps=10, lr=0.1))
    run(machine, shards, from_folder(base, steps=100, warmup_steps=10, lr=0.1, warmup_from=0.5))
    run(machine, shards, PretrainConfig(**(SIZES | {"steps": 100, "warmup_steps": 10, "lr": 0.1})))
    firsts = [learning_rate(0, job.steps, job.optim) for job in jobs]
    assert firsts == pytest.approx([0.01 + 0.009, 0.05 + 0.005, 0.01])


def test_a_longer_context_is_asked_for_by_name(base, shards, machine, jobs):
    with pytest.raises(ValueError, match=r"exceeds .* 32 tokens: set start\.positions"):
        run(machine, shards, from_folder(base, seq_len=64))
    run(machine, shards, from_folder(base, seq_len=64, positions="yarn"))
    run(machine, shards, from_folder(base, seq_len=16))
    assert [job.context and job.context.max_seq_len for job in jobs] == [64, None]
    with pytest.raises(ValueError, match=r"stretches a context, but seq_len=16 is within"):
        run(machine, shards, from_folder(base, seq_len=16, positions="yarn"))


def test_weights_that_are_cut_short_are_said_before_any_work(base):
    path = base / "model.safetensors"
    whole = path.read_bytes()
    check_folder(str(base))
    for part in (whole[:-1], whole[:20], b"", b"\xff" * 40):
        path.write_bytes(part)
        with pytest.raises(ValueError, match="cut short"):
            check_folder(str(base))


def test_every_option_reaches_the_engine(shards, machine, jobs):
    config = PretrainConfig(
        **SIZES,
        micro_batch_size=1,
        optimizer=OptimizerOptions(
            kind="muon",
            beta1=0.8,
            beta2=0.99,
            eps=1e-6,
            clip_norm=0.5,
            muon_momentum=0.9,
            adamw_lr_ratio=0.3,
            width_base=64,
        ),
        loss={"document_mask": False, "z_loss": 1e-4},
    )
    run(machine, shards, config)
    (job,) = jobs
    optim = job.optim
    assert (optim.kind, optim.betas, optim.eps) == ("muon", (0.8, 0.99), 1e-6)
    assert (optim.clip_norm, optim.muon_momentum, optim.adamw_lr_ratio) == (0.5, 0.9, 0.3)
    assert (job.document_mask, job.z_loss, job.micro_batch_size) == (False, 1e-4, 1)
    assert job.model.width_base == 64


def test_the_form_offers_the_models_that_there_are():
    field = PretrainConfig.model_json_schema()["properties"]["model"]
    assert field["enum"] == MODELS
    assert set(MODELS) == {n for n, own in PRESETS.items() if own.get("architecture") != "encoder"}
    assert all(PretrainConfig(model=name).model == name for name in MODELS)
    with pytest.raises(ValueError, match="there is no model 'bert-base'; known: llama-tiny"):
        PretrainConfig(model="bert-base")


def test_every_field_of_the_form_has_a_title():
    for form in FORMS:
        assert form.model_config["title"]
        for name, field in form.model_fields.items():
            assert field.title or is_group(field), (form, name)
            assert field.description or is_group(field), (form, name)


def is_group(field) -> bool:
    return isinstance(field.default, BaseModel) and bool(field.default.model_config["title"])


def test_two_models_to_start_from_are_one_too_many():
    with pytest.raises(ValueError, match=r"start\.checkpoint or start\.folder, not both"):
        StartOptions(checkpoint="pretrain/00", folder="x")


def test_a_tokenizer_of_ones_own_is_adopted_byte_for_byte(base, machine, store):
    documents = {"documents": [given(machine)]}
    for path in (base, base / "tokenizer.json"):
        config = TokenizerConfig(adopt=str(path), vocab_size=400)
        made, _ = materialise(TOKENIZER, config, documents, machine)
        adopted = store.open(made.ref).fetch("tokenizer.json")
        assert adopted.read_bytes() == (base / "tokenizer.json").read_bytes()
        refs = [made.ref, TOKENIZER.identify(TokenizerConfig(adopt=str(base)), documents).ref()]
        assert refs[0] == refs[1]  # neither the path nor what is not heeded is of the identity
    assert TOKENIZER.identify(TokenizerConfig(), documents).ref() != made.ref


def test_a_tokenizer_without_our_special_tokens_is_not_adopted(tmp_path, base, machine):
    content = json.loads((base / "tokenizer.json").read_text())
    content["added_tokens"] = []
    for token in SPECIAL_TOKENS:
        content["model"]["vocab"].pop(token)
    (tmp_path / "raw.json").write_text(json.dumps(content))
    Tokenizer.from_file(str(tmp_path / "raw.json"))
    config = TokenizerConfig(adopt=str(tmp_path / "raw.json"))
    with pytest.raises(ValueError, match="lacks the special tokens"):
        materialise(TOKENIZER, config, {"documents": [given(machine)]}, machine)
    with pytest.raises(ValueError, match=r"there is no tokenizer; name a tokenizer\.json"):
        nowhere = TokenizerConfig(adopt=str(tmp_path / "nowhere"))
        TOKENIZER.identify(nowhere, {"documents": []})
