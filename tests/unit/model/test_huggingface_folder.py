"""Folders in and out: transformers loads what is written, and what it writes is read, with the
same logits, ids and text."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from model import chat
from model.architectures import ModelConfig
from model.checkpoint import export_model, load_model
from model.decoder import Decoder
from model.generate import generate
from model.huggingface_folder import export_folder, import_folder, main

TEXTS = ["the iron bloom glows in the coal", "draw the ore, feed the flux", "Gußeisen ✓ naïve"]
SHAPE = {"width": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "mlp_width": 48}


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture
def ours(tmp_path: Path, tiny: ModelConfig, tokenizer_path: Path) -> Path:
    return export_model(tmp_path / "ours", shaken(Decoder(tiny)), tokenizer_path)


def llama_tokenizer() -> Tokenizer:
    """As LLaMA 2's: BPE over ▁ words with byte fallback, ``<s>`` and ``</s>``."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    specials = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[*specials, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS[:2], trainer)
    values = json.loads(tokenizer.to_str())
    values["added_tokens"] = [t for t in values["added_tokens"] if t["content"] in specials]
    return Tokenizer.from_str(json.dumps(values))


def gpt2_tokenizer() -> Tokenizer:
    """As GPT-2's: byte-level, one token for both ends of a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def foreign_folder(folder: Path, kind: str, **save: object) -> transformers.PreTrainedModel:
    """A folder as transformers itself writes it."""
    if kind == "llama":
        tokenizer, ends = llama_tokenizer(), {"bos_token": "<s>", "eos_token": "</s>"}
    else:
        tokenizer = gpt2_tokenizer()
        ends = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    vocab_size = tokenizer.get_vocab_size()
    if kind == "llama":
        config = transformers.LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            intermediate_size=48,
            max_position_embeddings=64,
        )
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.GPT2Config(
            vocab_size=vocab_size, n_embd=32, n_layer=2, n_head=4, n_positions=64
        )
        model = transformers.GPT2LMHeadModel(config)
    shaken(model).save_pretrained(folder, **save)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **ends).save_pretrained(folder)
    return model


@pytest.mark.parametrize("sharded", [False, True])
@torch.no_grad()
def test_transformers_loads_an_exported_folder_and_says_the_same(ours, tmp_path, sharded):
    folder = export_folder(ours, tmp_path / "hf", max_shard_bytes=5_000 if sharded else 10**9)
    assert (folder / "model.safetensors.index.json").exists() == sharded
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report.values()), report
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model, tokenizer = load_model(ours)
    for text in TEXTS:
        ids = [chat.special_id(tokenizer, chat.BOS), *chat.encode_text(tokenizer, text)]
        x_BT = torch.tensor([ids])
        assert their_tokenizer(text)["input_ids"] == ids
        torch.testing.assert_close(model(x_BT), theirs(x_BT).logits, rtol=0, atol=1e-4)
        stop_ids = {chat.special_id(tokenizer, t) for t in (chat.END, chat.EOS)}
        answer = generate(model, [ids], max_new_tokens=12, stop_ids=stop_ids)[0]
        found = theirs.generate(x_BT, max_new_tokens=12)[0, len(ids) :]
        text = their_tokenizer.decode(found, skip_special_tokens=True)
        assert text == chat.decode(tokenizer, answer)


def test_the_chat_template_writes_conversations_as_training_does(ours, tmp_path):
    pytest.importorskip("jinja2")
    folder = export_folder(ours, tmp_path / "hf")
    tokenizer = load_model(ours)[1]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "ore?"},
        {"role": "assistant", "content": "iron"},
        {"role": "user", "content": "coal?"},
    ]
    found = transformers.AutoTokenizer.from_pretrained(folder).apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False
    )
    assert found == chat.encode_prompt(tokenizer, messages)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("save", [{}, {"max_shard_size": "10KB"}])
@torch.no_grad()
def test_a_folder_of_transformers_comes_in_with_its_logits(tmp_path, kind, save):
    theirs = foreign_folder(tmp_path / "hf", kind, **save)
    model, tokenizer = load_model(import_folder(tmp_path / "hf", tmp_path / "ours"))
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    for text in TEXTS:
        ids = their_tokenizer(text, add_special_tokens=False)["input_ids"]
        assert chat.encode_text(tokenizer, text) == ids
        expected = theirs(torch.tensor([ids])).logits
        found = model(torch.tensor([ids]))[..., : expected.shape[-1]]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert chat.special_id(tokenizer, chat.EOS) == their_tokenizer.eos_token_id


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_byte_lengths_of_a_foreign_vocabulary_add_up_to_the_text(tmp_path, kind):
    foreign_folder(tmp_path / "hf", kind)
    _, tokenizer = load_model(import_folder(tmp_path / "hf", tmp_path / "ours"))
    lengths = chat.token_byte_lengths(tokenizer)
    for text in TEXTS:
        before = 1 if kind == "llama" else 0  # the blank that SentencePiece puts in front
        ids = chat.encode_text(tokenizer, text)
        assert lengths[ids].sum() == len(text.encode()) + before


@torch.no_grad()
def test_new_tokens_begin_where_the_model_knows_something(tmp_path):
    theirs = foreign_folder(tmp_path / "hf", "gpt2")
    model, tokenizer = load_model(import_folder(tmp_path / "hf", tmp_path / "ours"))
    embed = model.embed.weight
    bos, eos, user = (chat.special_id(tokenizer, t) for t in (chat.BOS, chat.EOS, chat.USER))
    assert bos != eos
    assert torch.equal(embed[bos], embed[eos])  # GPT-2 has one token for both ends
    mean = theirs.transformer.wte.weight.mean(dim=0)
    torch.testing.assert_close(embed[user], mean)


def test_rows_to_spare_are_set_for_the_new_tokens(tmp_path):
    theirs = foreign_folder(tmp_path / "hf", "llama")
    num_old = theirs.config.vocab_size
    theirs.resize_token_embeddings(num_old + 64)
    shaken(theirs).save_pretrained(tmp_path / "hf")
    model, tokenizer = load_model(import_folder(tmp_path / "hf", tmp_path / "ours"))
    assert model.config.vocab_size == num_old + 64
    known = theirs.get_input_embeddings().weight[:num_old]
    row = model.embed.weight[chat.special_id(tokenizer, chat.USER)]
    torch.testing.assert_close(row, known.mean(dim=0))


def test_out_and_in_again_is_bit_equal(ours, tmp_path):
    export_folder(ours, tmp_path / "hf")
    back = import_folder(tmp_path / "hf", tmp_path / "back")
    before, after = (load_file(folder / "model.safetensors") for folder in (ours, back))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert load_model(back)[0].config == load_model(ours)[0].config


def test_bfloat16_halves_the_folder(ours, tmp_path):
    whole = export_folder(ours, tmp_path / "a") / "model.safetensors"
    half = export_folder(ours, tmp_path / "b", dtype="bfloat16") / "model.safetensors"
    assert half.stat().st_size < 0.6 * whole.stat().st_size


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "save_pretrained"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), "damaged"),
        (lambda folder: (folder / "config.json").unlink(), "config.json"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "not a tokenizer"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(tmp_path, capsys, break_it, says):
    foreign_folder(tmp_path / "hf", "llama")
    break_it(tmp_path / "hf")
    assert main(["import", str(tmp_path / "hf"), str(tmp_path / "ours")]) == 2
    assert says in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_nothing_is_written_over(ours, tmp_path, capsys):
    (tmp_path / "hf").mkdir()
    assert main(["export", str(ours), str(tmp_path / "hf")]) == 2
    assert "is there already" in capsys.readouterr().err
