"""A model to train on, named in the parameters, brings its tokenizer along."""

import pytest
import torch

from flows.planning import plan_flow
from flows.takedown import _roads
from model.architectures import ModelConfig
from model.checkpoint import export_model
from model.decoder import Decoder
from tasks.common.stage import Stage, materialise
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig
from tests.integration.small import small_params, write_package
from tests.unit.posttraining.checkpoint import COPY, Folder


@pytest.fixture
def base(tmp_path):
    train_bpe(["a b c"], TokenizerConfig(vocab_size=320)).save(str(tmp_path / "own.json"))
    shape = {"width": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "mlp_width": 16}
    torch.manual_seed(0)
    model = Decoder(ModelConfig(vocab_size=320, max_seq_len=64, **shape))
    return export_model(tmp_path / "base", model, tmp_path / "own.json")


def planned(tmp_path, machine, *changes):
    write_package(tmp_path)
    stages = plan_flow("pipeline", small_params(tmp_path, *changes), machine).stages
    return {stage.identity.stage: stage.identity for stage in stages}


def test_a_model_of_the_store_is_an_input_and_gives_the_tokenizer(tmp_path, machine, base):
    given = Stage("pretrain", 0, Folder, (), COPY.run)
    made, _ = materialise(given, Folder(path=str(base)), {}, machine)
    stages = planned(tmp_path, machine, f"train.start.checkpoint={made.ref}")
    assert stages["pretrain"].inputs["checkpoint"] == [str(made.ref)]
    assert stages["tokens"].inputs["tokenizer"] == [str(made.ref)]
    assert "tokenizer" not in stages


def test_a_model_that_is_not_there_is_a_mistake_before_any_work(tmp_path, machine):
    with pytest.raises(ValueError, match=r"pretrain/0123 is not in the store .*; there: none"):
        planned(tmp_path, machine, "train.start.checkpoint=pretrain/0123")


def test_a_folder_gives_the_tokenizer_that_is_adopted(tmp_path, machine, base):
    stages = planned(tmp_path, machine, f"train.start.folder={base}")
    from_nothing = planned(tmp_path, machine)
    assert stages["tokenizer"].config.keys() == {"adopt"}
    assert stages["pretrain"].inputs["checkpoint"] == []
    assert set(stages["pretrain"].config["start"]["folder"]) == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    for name in ("tokenizer", "tokens", "pretrain", "sft"):
        assert stages[name].ref() != from_nothing[name].ref()


def test_a_takedown_finds_its_roads_without_a_tokenizer(tmp_path, machine, base):
    given = Stage("pretrain", 0, Folder, (), COPY.run)
    made, _ = materialise(given, Folder(path=str(base)), {}, machine)
    write_package(tmp_path)
    params = small_params(tmp_path, f"train.start.checkpoint={made.ref}")
    roads = _roads(params, machine)
    assert roads["curate"][-1].identity.stage == "mix"
    assert [stage.identity.stage for stage in roads["train"]][-1] == "dpo"
