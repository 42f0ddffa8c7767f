"""The commands that take one model: each is the engine's program, its mistakes said in our way."""

import importlib
import sys

import pytest
import torch
from click.testing import CliRunner

from flows import models
from flows.cli import main
from model.adapters import add_adapters
from model.architectures import EncoderConfig, LstmConfig, ModelConfig
from model.chat import prepare_tokenizer
from model.checkpoint import export_model, load_model
from model.decoder import Decoder
from model.encoder import Encoder
from model.language_model import make_model
from model.options import FinetuneConfig
from tasks.tokenizer.bpe import train_bpe
from tasks.tokenizer.config import TokenizerConfig

SHAPE = {"width": 16, "n_layers": 1, "n_heads": 2, "max_seq_len": 32, "mlp_width": 16}


@pytest.fixture
def tokenizer_path(tmp_path):
    tokenizer = prepare_tokenizer(train_bpe(["a 1 2 3"], TokenizerConfig(vocab_size=320)))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json", tokenizer.get_vocab_size()


@pytest.fixture
def bloomery(monkeypatch, tmp_path):
    """Runs a command, its program in this process."""

    def here(module, *arguments):
        sys.exit(importlib.import_module(module).main(list(arguments)))

    monkeypatch.setattr(models, "_run_model", here)
    monkeypatch.setenv("BLOOMERY_STORE", str(tmp_path / "store"))
    return lambda *arguments: CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def decoder(tmp_path, tokenizer_path):
    """A run's folder, its model in ``final``, trained beside a LoRA."""
    path, vocab_size = tokenizer_path
    torch.manual_seed(0)
    model = Decoder(ModelConfig(vocab_size=vocab_size, n_kv_heads=2, **SHAPE))
    export_model(tmp_path / "base", model, path)
    add_adapters(model, FinetuneConfig(rank=2))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    (tmp_path / "run").mkdir()
    return export_model(tmp_path / "run/final", model, path)


def test_an_encoder_fills_masks_and_names_classes(bloomery, tmp_path, tokenizer_path):
    path, vocab_size = tokenizer_path
    for name, more in (("plain", {}), ("judge", {"num_classes": 2, "labels": ("ore", "ash")})):
        model = Encoder(EncoderConfig(vocab_size=vocab_size, **SHAPE, **more))
        export_model(tmp_path / name, model, path)
    filled = bloomery("fill-mask", tmp_path / "plain", "--text", "a <|mask|> 2", "--candidates", 3)
    assert filled.exit_code == 0, filled.output
    assert len(filled.stdout.splitlines()) == 3
    named = bloomery(
        "classify", tmp_path / "judge", "--text", "1", "--text", "2", "--device", "cpu"
    )
    assert named.exit_code == 0, named.output
    assert sorted(line.split()[2] for line in named.stdout.splitlines()) == [
        *("ash", "ash", "ore", "ore")
    ]


def test_a_lora_is_taken_out_and_put_back(bloomery, decoder, tmp_path):
    out = bloomery("unmerge-adapter", decoder, "--output", tmp_path / "without")
    back = bloomery(
        *("merge-adapter", tmp_path / "without", decoder / "adapter", "--output", tmp_path / "with")
    )
    assert (out.exit_code, back.exit_code) == (0, 0), (out.output, back.output)
    base, without, final, with_it = (
        load_model(folder)[0].blocks[0].attention.to_qkv.weight
        for folder in (tmp_path / "base", tmp_path / "without", decoder, tmp_path / "with")
    )
    torch.testing.assert_close(without, base)
    torch.testing.assert_close(with_it, final)
    assert not torch.allclose(base, final)


def test_a_model_speaks_on_a_device_and_in_a_type_that_are_chosen(bloomery, decoder):
    ask = ("generate", decoder, "--prompt", "1", "--max-new-tokens", 2)
    done = bloomery(*ask, "--device", "cpu", "--dtype", "bfloat16")
    assert done.exit_code == 0, done.output
    for option, value, said in (
        ("--device", "gpu", "'gpu' is none of auto, cpu, cuda, cuda:N"),
        ("--dtype", "int3", "int3"),
    ):
        wrong = bloomery(*ask, option, value)
        assert wrong.exit_code == 2 and said in wrong.stderr


def test_an_lstm_is_not_exported_and_the_remedy_is_said(bloomery, tmp_path, tokenizer_path):
    path, vocab_size = tokenizer_path
    model = make_model(LstmConfig(vocab_size=vocab_size, width=16, n_layers=1, max_seq_len=32))
    export_model(tmp_path / "lstm", model, path)
    done = bloomery("export-hf", tmp_path / "lstm", "--output", tmp_path / "out")
    assert done.exit_code == 2
    assert "no architecture for an lstm" in done.stderr and "train a llama" in done.stderr


def test_a_folder_without_a_model_is_said_with_the_one_that_is_meant(bloomery, decoder, tmp_path):
    done = bloomery("generate", decoder.parent, "--prompt", "1")
    assert done.exit_code == 2
    assert f"no model.safetensors in it; did you mean {decoder}?" in done.stderr
    (tmp_path / "nothing").mkdir()
    done = bloomery("generate", tmp_path / "nothing", "--prompt", "1")
    assert done.stderr.strip().endswith("no model.safetensors in it")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--lengths", "abc", "'abc' is not a number"),
        ("--lengths", "0,8", "0 is not between"),
        ("--depths", "0,2", "2 is not between 0 and 1"),
    ],
)
def test_what_is_no_length_is_said_as_an_option_of_ours(bloomery, decoder, option, value, said):
    text = decoder / "tokenizer.json"
    done = bloomery("needle", decoder, "--text", text, option, value)
    assert done.exit_code == 2
    assert "Usage: main needle" in done.stderr and said in done.stderr
