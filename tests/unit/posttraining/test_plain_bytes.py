"""Text as bytes: every text comes back, a token is a byte, and a model is trained on them."""

import json
import math
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given as given_values
from hypothesis import strategies as st
from tokenizers import Tokenizer

from model import chat
from model.architectures import PRESETS
from model.checkpoint import load_model
from model.generate import generate_text
from model.huggingface_folder import export_folder
from model.sampling import Sampling
from model.trainer import Trainer
from model.trainer import train as train_here
from tasks.common.stage import Outcome, materialise
from tasks.mix.config import MixConfig
from tasks.mix.stage import STAGE as MIX
from tasks.pretrain import stage as pretrain
from tasks.pretrain.config import PretrainConfig
from tasks.tokenizer.config import TokenizerConfig
from tasks.tokenizer.plain_bytes import byte_tokenizer
from tasks.tokenizer.stage import STAGE as TOKENIZE
from tasks.tokens.config import TokensConfig
from tasks.tokens.stage import STAGE as ENCODE
from tests.stages import given

TOKENIZER = chat.prepare_tokenizer(Tokenizer.from_str(byte_tokenizer().to_str()))
NUM_SPECIAL = len(chat.SPECIAL_TOKENS)


@given_values(st.text())
def test_every_text_comes_back_and_is_its_bytes(text):
    ids = chat.encode_text(TOKENIZER, text)
    assert bytes(token_id - NUM_SPECIAL for token_id in ids) == text.encode()
    assert chat.decode(TOKENIZER, ids) == text


@given_values(st.binary())
def test_any_bytes_decode_as_python_decodes_them(data):
    ids = [NUM_SPECIAL + byte for byte in data]
    assert chat.decode(TOKENIZER, ids) == data.decode(errors="replace")


def test_a_special_token_in_a_text_is_letters_and_a_token_is_a_byte():
    assert len(chat.encode_text(TOKENIZER, "<|eos|>")) == 7
    lengths = chat.token_byte_lengths(TOKENIZER)
    assert lengths.tolist() == [0] * NUM_SPECIAL + [1] * 256
    ids, mask = chat.encode_conversation(TOKENIZER, [{"role": "user", "content": "é"}])
    assert len(ids) == len(mask) == 5


def test_what_bytes_do_not_heed_makes_no_other_tokenizer():
    made = [TokenizerConfig(kind="bytes", vocab_size=size) for size in (500, 600)]
    assert TOKENIZE.identity(made[0]) == TOKENIZE.identity(made[1])
    learned = TOKENIZE.identity(TokenizerConfig())
    assert learned != TOKENIZE.identity(made[0])
    assert "kind" not in learned  # artifacts of before there was a choice are found


@pytest.fixture
def job(machine, monkeypatch, tmp_path):
    """A short pretraining, as the stages make it of documents in several scripts."""
    texts = ["iron ore ", "Gußeisen naïve ", "漢字かな ", "🜛 "]
    rows = [
        {"id": str(n), "text": texts[n % 4] * (20 + n % 7), "source": "web"} for n in range(120)
    ]
    mixing = MixConfig(token_budget=4_000, validation_share=0.2, bytes_per_token=1.0)
    mixed = materialise(MIX, mixing, {"documents": [given(machine, [rows])]}, machine)[0].ref
    config = TokenizerConfig(kind="bytes")
    made = materialise(TOKENIZE, config, {"documents": [mixed]}, machine)[0]
    assert made.metrics["vocab_size"] == 263
    inputs = {"documents": [mixed], "tokenizer": [made.ref]}
    encoded = materialise(ENCODE, TokensConfig(), inputs, machine)[0]
    assert encoded.metrics["bytes_per_token"] == pytest.approx(1, abs=0.02)  # and two ends a text
    found = []
    monkeypatch.setattr(
        pretrain, "train", lambda context, job: [found.append(job), Outcome()].pop()
    )
    monkeypatch.setitem(PRESETS, "bytes-demo", PRESETS["llama-tiny"])  # the same, but smaller
    settings = PretrainConfig(
        model="bytes-demo",
        steps=20,
        batch_size=4,
        seq_len=128,
        lr=5e-3,
        warmup_steps=2,
        eval_every_steps=10,
    )
    inputs = {"tokens": [encoded.ref], "checkpoint": []}
    materialise(pretrain.STAGE, settings, inputs, machine)
    fields = {"out_dir": str(tmp_path / "out"), "device": "cpu", "threads": 1}
    return type(found[0]).from_json_dict(found[0].to_json_dict() | fields)


def test_a_model_is_trained_on_bytes_from_end_to_end(job, tmp_path):
    assert train_here(job) == "done"
    lines = (Path(job.out_dir) / "metrics.jsonl").read_text().splitlines()
    first, last = (e for e in map(json.loads, lines) if e["event"] == "eval")
    assert last["val_bits_per_byte"] < first["val_bits_per_byte"] < 8  # 8 is knowing nothing
    final = Path(job.out_dir) / "final"
    model, tokenizer = load_model(final)
    prompt = [chat.special_id(tokenizer, chat.BOS), *chat.encode_text(tokenizer, "iron")]
    sampling = Sampling(temperature=1.0, seed=1)
    (answer,) = generate_text(model, tokenizer, [prompt], 40, sampling)
    assert answer.text == chat.decode(tokenizer, answer.token_ids)
    folder = export_folder(final, tmp_path / "hf")
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    ids = [chat.special_id(tokenizer, chat.BOS), *chat.encode_text(tokenizer, "Gußeisen 🜛\n")]
    assert theirs("Gußeisen 🜛\n")["input_ids"] == ids
    assert theirs.decode(ids, skip_special_tokens=True) == "Gußeisen 🜛\n"


@torch.no_grad()
def test_bits_per_byte_are_the_losss_bits_over_bytes_that_were_asked_for(job):
    trainer = Trainer(job)
    trainer.close()
    found = trainer.evaluate()
    nats, num_bytes = 0.0, 0
    for batch in trainer.val_loader.sweep(job.eval_batches):
        documents_BT = (batch.inputs_BT == 0).cumsum(dim=1)
        hidden_BTD = trainer.model.hidden(batch.inputs_BT, documents_BT=documents_BT)
        logprobs_BTV = trainer.model.head(hidden_BTD).log_softmax(dim=-1)
        asked_BT = batch.targets_BT != 0  # all but a document's first, <|bos|>
        own_BT = logprobs_BTV.gather(2, batch.targets_BT[..., None])[..., 0]
        nats -= float(own_BT[asked_BT].sum())
        num_bytes += int((batch.targets_BT >= NUM_SPECIAL).sum())
    assert found["val_bits_per_byte"] == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-5)
